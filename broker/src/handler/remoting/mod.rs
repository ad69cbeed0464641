//! Requests of RocketMQ's remoting protocol: one file a kind, translating to what the native handlers do.
//!
//! A handler is `async fn handle(shard, caller, &request) -> Result<Answer, Refused>`. As natively it decides on a
//! short borrow of the state, and waits until what it answers survives a power cut. Sends and pulls carry bulk
//! bytes and keep an order, so the session begins them itself ([`send`], [`pull`]); everything else is in
//! [`dispatch`]'s table: add a file, and its row there.

mod caller;
mod config_body;
pub mod delivered;
mod dispatch;
mod found;
mod group_config;
mod group_configs;
mod group_delete;
mod group_forbidden;
mod group_put;
pub mod groups;
pub mod incoming;
pub mod pull;
mod pulled;
mod query;
mod query_offset;
mod queue_offsets;
mod queues;
mod refused;
mod reply;
pub mod send;
mod send_back;
pub mod sent;
#[cfg(test)]
mod settings_tests;
mod stats;
pub mod subscription;
mod topic_config;
mod topic_configs;
mod topic_delete;
mod topic_put;
mod topic_put_list;
mod update_offset;
mod view;

pub use caller::{Caller, Channel, Origin};
pub use dispatch::dispatch;
pub use pulled::Pulled;
pub use refused::Refused;

use ringmq_wire::remoting::{Command, response_code};
use std::borrow::Cow;

/// A request off the hot path, owned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub command: Command,
    pub body: Vec<u8>,
}

/// What a request is answered with; the session adds what every answer has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// A [`response_code`].
    pub code: i32,
    /// For people.
    pub remark: Option<String>,
    pub fields: Vec<(Cow<'static, str>, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// Done, and nothing to say.
    pub fn ok() -> Self {
        Self {
            code: response_code::SUCCESS,
            remark: None,
            fields: Vec::new(),
            body: Vec::new(),
        }
    }

    /// Not done; `remark` says why.
    pub fn error(code: i32, remark: impl Into<String>) -> Self {
        Self {
            code,
            remark: Some(remark.into()),
            ..Self::ok()
        }
    }

    /// The same with one more field.
    #[must_use]
    pub fn field(mut self, name: &'static str, value: impl ToString) -> Self {
        self.fields.push((Cow::Borrowed(name), value.to_string()));
        self
    }

    /// The same with a body.
    #[must_use]
    pub fn body(mut self, body: Vec<u8>) -> Self {
        self.body = body;
        self
    }

    /// As a command that answers the request with this `opaque`, and its body.
    pub fn into_command(self, opaque: i32) -> (Command, Vec<u8>) {
        let command = Command {
            remark: self.remark,
            fields: self.fields,
            ..Command::response(self.code, opaque)
        };
        (command, self.body)
    }
}

impl From<Refused> for Answer {
    fn from(refused: Refused) -> Self {
        Self {
            fields: refused.fields,
            ..Self::error(refused.code, refused.remark)
        }
    }
}
