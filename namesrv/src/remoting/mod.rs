//! RocketMQ's remoting protocol on the same port: what its clients, tools and brokers ask of a name server.
//!
//! - [`connection`], [`frames`]: frames in and out.
//! - [`routes`]: where a topic is; [`clusters`]: which brokers there are; [`topics`]: which topics there are.
//! - [`brokers`]: registrations of RocketMQ brokers.
//! - [`pairs`]: pairs of strings and settings.
//!
//! To these clients every shard of ours is a broker of its own, number 0 of its name.

mod brokers;
mod clusters;
mod connection;
mod frames;
mod pairs;
mod routes;
mod topics;

use crate::connection::Shared;
use crate::watch::ConnectionId;
use ringmq_wire::remoting::{Command, FieldError, request_code as code, response_code};

pub(crate) use frames::RemotingFrame;

/// A request, and the connection that it came by.
struct Request<'a> {
    connection: ConnectionId,
    command: &'a Command,
    body: &'a [u8],
}

/// What is sent back beside the request's `opaque`.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    code: i32,
    remark: Option<String>,
    fields: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

/// A handler's result: an answer, or a field of the request that it could not read.
type Handled = Result<Answer, FieldError>;

impl Answer {
    fn ok() -> Self {
        Self {
            code: response_code::SUCCESS,
            remark: None,
            fields: Vec::new(),
            body: Vec::new(),
        }
    }
    fn error(code: i32, remark: impl Into<String>) -> Self {
        Self {
            code,
            remark: Some(remark.into()),
            ..Self::ok()
        }
    }
    fn json<T: serde::Serialize>(body: &T) -> Self {
        Self {
            body: ringmq_wire::remoting::body::encode(body),
            ..Self::ok()
        }
    }
    fn field(mut self, name: &'static str, value: impl ToString) -> Self {
        self.fields.push((name, value.to_string()));
        self
    }
}

/// Largest body of an answer; with its header it stays a frame that clients take.
const BODY_BYTES_MAX: usize = 15 << 20;

/// The answer to a request, and its body.
fn handle(
    shared: &Shared,
    connection: ConnectionId,
    command: &Command,
    body: &[u8],
) -> (Command, Vec<u8>) {
    let request = Request {
        connection,
        command,
        body,
    };
    let mut answer = dispatch(shared, &request)
        .unwrap_or_else(|error| Answer::error(response_code::SYSTEM_ERROR, error.to_string()));
    if answer.body.len() > BODY_BYTES_MAX {
        let remark = format!("an answer of {} bytes is over the limit", answer.body.len());
        answer = Answer::error(response_code::SYSTEM_ERROR, remark);
    }
    let mut response = Command::response(answer.code, command.opaque);
    response.remark = answer.remark;
    for (name, value) in answer.fields {
        response = response.field(name, value);
    }
    (response, answer.body)
}

fn dispatch(shared: &Shared, request: &Request<'_>) -> Handled {
    match request.command.code {
        code::GET_ROUTEINFO_BY_TOPIC => routes::route(shared, request),
        code::REGISTER_BROKER => brokers::register(shared, request),
        code::UNREGISTER_BROKER => brokers::unregister(shared, request),
        code::BROKER_HEARTBEAT => brokers::heartbeat(shared, request),
        code::QUERY_DATA_VERSION => brokers::query_version(shared, request),
        code::GET_BROKER_CLUSTER_INFO => clusters::info(shared),
        code::GET_BROKER_MEMBER_GROUP => clusters::members(shared, request),
        code::WIPE_WRITE_PERM_OF_BROKER => clusters::wipe(shared, request),
        code::ADD_WRITE_PERM_OF_BROKER => clusters::restore(shared, request),
        code::GET_ALL_TOPIC_LIST_FROM_NAMESERVER => topics::all(shared),
        code::GET_TOPICS_BY_CLUSTER => topics::of_cluster(shared, request),
        code::GET_SYSTEM_TOPIC_LIST_FROM_NS => topics::system(shared),
        code::GET_UNIT_TOPIC_LIST => topics::flagged(shared, |unit, _| unit),
        code::GET_HAS_UNIT_SUB_TOPIC_LIST => topics::flagged(shared, |_, sub| sub),
        code::GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST => {
            topics::flagged(shared, |unit, sub| sub && !unit)
        }
        code::DELETE_TOPIC_IN_NAMESRV => topics::delete(shared, request),
        code::REGISTER_TOPIC_IN_NAMESRV => topics::register(shared, request),
        code::PUT_KV_CONFIG => pairs::put(shared, request),
        code::GET_KV_CONFIG => pairs::get(shared, request),
        code::DELETE_KV_CONFIG => pairs::delete(shared, request),
        code::GET_KVLIST_BY_NAMESPACE => pairs::namespace(shared, request),
        code::GET_NAMESRV_CONFIG => Ok(pairs::settings(shared)),
        code::UPDATE_NAMESRV_CONFIG => Ok(pairs::no_settings()),
        unknown => Ok(Answer::error(
            response_code::REQUEST_CODE_NOT_SUPPORTED,
            format!(" request type {unknown} not supported"),
        )),
    }
}
