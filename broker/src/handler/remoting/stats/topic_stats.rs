//! 202: first and last offset of each queue of a topic, and when its last message was stored.

use super::super::{Answer, Caller, Refused, Request};
use super::queue_table::QueueTable;
use super::{not_found, queues};
use crate::handler::records::settled;
use crate::shard::Shard;
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use serde_json::json;
use std::rc::Rc;

pub async fn handle<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    _caller: &Rc<Caller<D>>,
    request: &Request,
) -> Result<Answer, Refused> {
    let name: String = request.command.required("topic")?;
    let queues = shard.with_state(|state| {
        let topic = state.topic(&name)?;
        Some(queues::of_topic(shard, state, topic))
    });
    settled(shard).await?;
    let mut table = QueueTable::new(shard.name());
    for queue in queues.ok_or_else(|| not_found(&name))? {
        let has_messages = queue.range.visible > queue.range.min;
        let stats = json!({
            "lastUpdateTimestamp": if has_messages { queue.last_store_time_ms } else { 0 },
            "maxOffset": queue.range.visible.0,
            "minOffset": queue.range.min.0,
        });
        table.push(&name, queue.id, &stats);
    }
    let rate = shard.with_traffic(|traffic, clock| {
        let flows = traffic.topic(&name)?;
        Some(flows.messages.minute(clock.monotonic).rate)
    });
    let (table, rate) = (table.finish(), rate.unwrap_or(0.0));
    let body = format!(r#"{{"offsetTable":{table},"topicPutTps":{rate:?}}}"#);
    Ok(Answer::ok().body(body.into_bytes()))
}
