//! 14: where a group is in a queue.
//!
//! A group that never committed there is told 22 and begins where it is configured to: by default at the end. It is
//! told 0 where that would lose messages that were sent while the group was there or came up: where the queue was made
//! after the group, has no message yet, or its first one is still in memory.

use super::{Answer, Caller, Refused, Request, queues};
use crate::handler::records::{range, settled};
use crate::shard::Shard;
use ringmq_storage_engine::position::QueueOffset;
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::remoting::response_code;
use std::rc::Rc;

pub async fn handle<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    _caller: &Rc<Caller<D>>,
    request: &Request,
) -> Result<Answer, Refused> {
    let command = &request.command;
    let group: String = command.required("consumerGroup")?;
    let topic: String = command.required("topic")?;
    let queue_id: i32 = command.required("queueId")?;
    let zero_allowed = command.optional("setZeroIfNotFound")?.unwrap_or(true);
    let not_found = || {
        Refused::new(
            response_code::QUERY_NOT_FOUND,
            format!("group {group} has no offset in queue {queue_id} of topic {topic}"),
        )
    };
    let handle = queues::find(shard, &topic, queue_id).ok_or_else(not_found)?;
    let pending = shard.with_commits(|commits| commits.get(&group, handle));
    let committed = pending.or_else(|| shard.with_state(|state| state.committed(&group, handle)));
    let (range, is_younger) = shard.with_state(|state| {
        let settings = state.group_settings(&group);
        let is_younger = settings.is_some_and(|settings| settings.is_younger(handle));
        (range(shard, state, handle), is_younger)
    });
    settled(shard).await?;
    if let Some(offset) = committed {
        return Ok(Answer::ok().field("offset", offset.0));
    }
    let young = || {
        let first = QueueOffset(0);
        let is_new = range.min == first
            && (range.visible == first || shard.store().is_cached(handle, first));
        is_new || is_younger
    };
    if zero_allowed && young() {
        return Ok(Answer::ok().field("offset", 0));
    }
    Err(not_found())
}
