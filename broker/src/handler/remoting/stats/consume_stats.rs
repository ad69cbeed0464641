//! 208: how far a group is in each queue of its topics.

use super::super::{Answer, Caller, Refused, Request};
use super::queue_table::QueueTable;
use super::queues::{self, LocalQueue};
use crate::handler::records::settled;
use crate::shard::Shard;
use ringmq_storage_engine::position::QueueOffset;
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use serde_json::json;
use std::rc::Rc;

/// A group's place in a queue.
pub(super) struct Place {
    pub(super) topic: String,
    pub(super) queue: LocalQueue,
    pub(super) committed: Option<QueueOffset>,
}

pub async fn handle<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    _caller: &Rc<Caller<D>>,
    request: &Request,
) -> Result<Answer, Refused> {
    let group: String = request.command.required("consumerGroup")?;
    let topic: Option<String> = request.command.optional("topic")?;
    let more: Option<String> = request.command.optional("topicList")?;
    let mut topics: Vec<String> = topic.into_iter().filter(|name| !name.is_empty()).collect();
    let listed = more.iter().flat_map(|names| names.split(';'));
    topics.extend(listed.filter(|name| !name.is_empty()).map(str::to_owned));
    shard.flush_commits();
    let places = places(shard, &group, &topics);
    settled(shard).await?;
    Ok(Answer::ok().body(stats(shard, &group, &places).await.into_bytes()))
}

/// The group's places in the queues of `topics`, or of all topics in which it committed something. Empty for a group or
/// topics that are not here.
pub(super) fn places<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    group: &str,
    topics: &[String],
) -> Vec<Place> {
    shard.with_state(|state| {
        let known = queues::topics_of_group(state, group);
        let wanted = known
            .into_iter()
            .filter(|name| topics.is_empty() || topics.contains(name));
        let mut places = Vec::new();
        for name in wanted {
            let Some(topic) = state.topic(&name) else {
                continue;
            };
            for queue in queues::of_topic(shard, state, topic) {
                places.push(Place {
                    topic: name.clone(),
                    queue,
                    committed: state.committed(group, queue.handle),
                });
            }
        }
        places
    })
}

/// The JSON of a group's places.
pub(super) async fn stats<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    group: &str,
    places: &[Place],
) -> String {
    let mut table = QueueTable::new(shard.name());
    let mut rate = 0.0;
    let mut last_topic = None;
    for place in places {
        let consumed = place.committed.unwrap_or(QueueOffset(0));
        let last = match consumed.0.checked_sub(1) {
            Some(offset) => queues::store_time(shard, &place.queue, QueueOffset(offset)).await,
            None => 0,
        };
        let pulled = shard.with_traffic(|traffic, _| {
            let flows = traffic.group(&place.topic, group)?;
            flows.pulled(place.queue.id as i32)
        });
        // Nothing was pulled since the start: it would go on from there.
        let pulled = pulled.unwrap_or(consumed.0);
        let stats = json!({
            "brokerOffset": place.queue.range.visible.0,
            "consumerOffset": consumed.0,
            "lastTimestamp": last,
            "pullOffset": pulled,
        });
        table.push(&place.topic, place.queue.id, &stats);
        if last_topic != Some(&place.topic) {
            rate += shard.with_traffic(|traffic, clock| {
                let flows = traffic.group(&place.topic, group);
                flows.map_or(0.0, |flows| {
                    flows.read.messages.minute(clock.monotonic).rate
                })
            });
            last_topic = Some(&place.topic);
        }
    }
    let table = table.finish();
    format!(r#"{{"consumeTps":{rate:?},"offsetTable":{table}}}"#)
}
