//! The table of remoting requests.

use super::{Answer, Caller, Request, groups, stats};
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
        request_code::QUERY_MESSAGE => super::query::handle;
        request_code::VIEW_MESSAGE_BY_ID => super::view::handle;
        request_code::QUERY_CONSUMER_OFFSET => super::query_offset::handle;
        request_code::UPDATE_CONSUMER_OFFSET => super::update_offset::handle;
        request_code::SEARCH_OFFSET_BY_TIMESTAMP => super::queue_offsets::at_time;
        request_code::GET_MAX_OFFSET => super::queue_offsets::max;
        request_code::GET_MIN_OFFSET => super::queue_offsets::min;
        request_code::GET_EARLIEST_MSG_STORETIME => super::queue_offsets::earliest_time;
        request_code::SEND_REPLY_MESSAGE => super::reply::handle;
        request_code::SEND_REPLY_MESSAGE_V2 => super::reply::handle;
        request_code::HEART_BEAT => groups::heartbeat::handle;
        request_code::UNREGISTER_CLIENT => groups::unregister::handle;
        request_code::GET_CONSUMER_LIST_BY_GROUP => groups::consumer_list::handle;
        request_code::CHECK_CLIENT_CONFIG => groups::check_client::handle;
        request_code::LOCK_BATCH_MQ => groups::locks::lock;
        request_code::UNLOCK_BATCH_MQ => groups::locks::unlock;
        request_code::GET_CONSUMER_CONNECTION_LIST => groups::connections::handle;
        request_code::GET_PRODUCER_CONNECTION_LIST => groups::producers::of_group;
        request_code::GET_ALL_PRODUCER_INFO => groups::producers::all;
        request_code::INVOKE_BROKER_TO_RESET_OFFSET => groups::offset_reset::handle;
        request_code::INVOKE_BROKER_TO_GET_CONSUMER_STATUS => groups::consumer_status::handle;
        request_code::GET_CONSUMER_RUNNING_INFO => groups::running_info::handle;
        request_code::CONSUME_MESSAGE_DIRECTLY => groups::consume_directly::handle;
        request_code::CONSUMER_SEND_MSG_BACK => super::send_back::handle;
        request_code::UPDATE_AND_CREATE_TOPIC => super::topic_put::handle;
        request_code::UPDATE_AND_CREATE_TOPIC_LIST => super::topic_put_list::handle;
        request_code::DELETE_TOPIC_IN_BROKER => super::topic_delete::handle;
        request_code::GET_ALL_TOPIC_CONFIG => super::topic_configs::handle;
        request_code::GET_TOPIC_CONFIG => super::topic_config::handle;
        request_code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP => super::group_put::handle;
        request_code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST => super::group_put::handle;
        request_code::GET_ALL_SUBSCRIPTIONGROUP_CONFIG => super::group_configs::handle;
        request_code::GET_SUBSCRIPTIONGROUP_CONFIG => super::group_config::handle;
        request_code::DELETE_SUBSCRIPTIONGROUP => super::group_delete::handle;
        request_code::UPDATE_AND_GET_GROUP_FORBIDDEN => super::group_forbidden::handle;
        request_code::UPDATE_BROKER_CONFIG => stats::broker_config_update::handle;
        request_code::GET_BROKER_CONFIG => stats::broker_config::handle;
        request_code::GET_BROKER_RUNTIME_INFO => stats::broker_runtime::handle;
        request_code::GET_TOPIC_STATS_INFO => stats::topic_stats::handle;
        request_code::GET_CONSUME_STATS => stats::consume_stats::handle;
        request_code::QUERY_TOPIC_CONSUME_BY_WHO => stats::topic_consumers::handle;
        request_code::QUERY_CONSUME_TIME_SPAN => stats::consume_span::handle;
        request_code::GET_SYSTEM_TOPIC_LIST_FROM_BROKER => stats::system_topics::handle;
        request_code::CLONE_GROUP_OFFSET => stats::clone_offsets::handle;
        request_code::VIEW_BROKER_STATS_DATA => stats::broker_stats::handle;
        request_code::GET_BROKER_CONSUME_STATS => stats::broker_consume_stats::handle;
        request_code::QUERY_CONSUME_QUEUE => stats::queue_entries::handle;
        request_code::QUERY_TOPICS_BY_CONSUMER => stats::group_topics::handle;
        request_code::QUERY_SUBSCRIPTION_BY_CONSUMER => stats::group_subscription::handle;
    };
    answered.unwrap_or_else(Answer::from)
}

fn unsupported(code: i32) -> Answer {
    Answer::error(
        response_code::REQUEST_CODE_NOT_SUPPORTED,
        format!(" request type {code} not supported"),
    )
}
