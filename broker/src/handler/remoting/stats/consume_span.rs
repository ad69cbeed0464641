//! 303: how old the messages are that a group has read, and those that it has not.

use super::super::{Answer, Caller, Refused, Request};
use super::{consume_stats, json, queues};
use crate::handler::records::settled;
use crate::shard::Shard;
use ringmq_storage_engine::position::QueueOffset;
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use serde_json::json;
use std::rc::Rc;

pub async fn handle<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    _caller: &Rc<Caller<D>>,
    request: &Request,
) -> Result<Answer, Refused> {
    let group: String = request.command.required("group")?;
    let topic: String = request.command.required("topic")?;
    shard.flush_commits();
    let places = consume_stats::places(shard, &group, std::slice::from_ref(&topic));
    settled(shard).await?;
    let now = shard.store().store_time_ms();
    let mut spans = Vec::with_capacity(places.len());
    for place in places {
        let queue = &place.queue;
        let oldest = queues::store_time(shard, queue, queue.range.min).await;
        // The message that was consumed last, or the oldest that could be.
        let consumed = place.committed.and_then(|offset| offset.0.checked_sub(1));
        let consumed = match consumed {
            Some(offset) => queues::store_time(shard, queue, QueueOffset(offset)).await,
            None => oldest,
        };
        let next = place.committed.unwrap_or(queue.range.min);
        let waiting = queues::store_time(shard, queue, next).await;
        spans.push(json!({
            "consumeTimeStamp": consumed,
            "delayTime": if waiting == 0 { 0 } else { (now - waiting).max(0) },
            "maxTimeStamp": queue.last_store_time_ms,
            "messageQueue": {
                "brokerName": shard.name(),
                "queueId": queue.id,
                "topic": topic,
            },
            "minTimeStamp": oldest,
        }));
    }
    Ok(json(&json!({ "consumeTimeSpanSet": spans })))
}
