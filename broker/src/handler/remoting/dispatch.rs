//! The table of remoting requests.

use super::{Answer, Caller, Request};
use crate::shard::Shard;
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::remoting::{request_code, response_code};
use std::rc::Rc;

/// `code => handler;` where the handler is
/// `async fn(&Shard<D, R>, &Rc<Caller<D>>, &Request) -> Result<Answer, Refused>`.
macro_rules! table {
    ($shard:ident, $caller:ident, $request:ident; $($code:path => $handle:path;)+) => {
        match $request.command.code {
            $($code => $handle($shard, $caller, &$request).await,)+
            other => return unsupported(other),
        }
    };
}

/// Answers a request that is not a send or a pull. A connection is never closed for a code that nobody here knows.
pub async fn dispatch<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    caller: &Rc<Caller<D>>,
    request: Request,
) -> Answer {
    let answered = table! { shard, caller, request;
        request_code::QUERY_CONSUMER_OFFSET => super::query_offset::handle;
        request_code::UPDATE_CONSUMER_OFFSET => super::update_offset::handle;
        request_code::SEARCH_OFFSET_BY_TIMESTAMP => super::queue_offsets::at_time;
        request_code::GET_MAX_OFFSET => super::queue_offsets::max;
        request_code::GET_MIN_OFFSET => super::queue_offsets::min;
        request_code::GET_EARLIEST_MSG_STORETIME => super::queue_offsets::earliest_time;
    };
    answered.unwrap_or_else(Answer::from)
}

fn unsupported(code: i32) -> Answer {
    Answer::error(
        response_code::REQUEST_CODE_NOT_SUPPORTED,
        format!(" request type {code} not supported"),
    )
}
