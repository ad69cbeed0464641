//! Requests: one file a kind, whatever the protocol that brought them.
//!
//! A handler is `async fn handle(shard, session, request) -> Result<response, Refusal>`. It decides on a short
//! borrow of the state, appends at most one outcome record, and before it answers waits until everything that
//! the answer exposes is durable. A handler never holds a borrow over an await.
//!
//! A new kind: add its file, and its row in `dispatch.rs`.

pub mod automatic;
mod dispatch;
pub mod fetch;
pub mod filter;
pub mod group_delete;
pub mod group_describe;
pub mod group_heartbeat;
pub mod group_join;
pub mod group_leave;
pub mod group_list;
pub mod hello;
pub mod lease_acquire;
pub mod lease_release;
pub mod message_query;
pub mod offset_commit;
pub mod offset_fetch;
pub mod offset_query;
pub mod offset_reset;
pub mod ping;
pub mod produce;
mod records;
mod refusal;
pub mod remoting;
pub mod retry;
pub mod shard_status;
pub mod topic_create;
pub mod topic_delete;
pub mod topic_describe;
pub mod topic_list;
pub mod topic_update;

#[cfg(test)]
mod model_tests;

pub use dispatch::{Answering, dispatch};
pub use refusal::Refusal;

use std::net::SocketAddr;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionInfo {
    /// Number of the connection within its shard, never reused; for logs.
    pub connection: u64,
    /// From Hello.
    pub client_id: String,
    pub peer: SocketAddr,
}
