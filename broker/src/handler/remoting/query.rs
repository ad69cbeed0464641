//! 12: messages of a topic by key, newest first. The key is a user's, or the unique key that a client gave.

use super::found::Finding;
use super::{Answer, Caller, Refused, Request};
use crate::shard::Shard;
use ringmq_storage_engine::position::{Position, QueueHandle};
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::batch::{RecordView, key_hash};
use ringmq_wire::remoting::message_id::MessageId;
use ringmq_wire::remoting::response_code;
use std::rc::Rc;

/// Messages of an answer to a query by unique key, whatever is asked for.
const UNIQUE_MAX: usize = 32;
/// Positions looked at for one message wanted: hashes of other keys collide.
const CANDIDATES_FACTOR: usize = 4;
/// Bytes of an answer after which no more is added.
const ANSWER_BYTES_MAX: usize = 4 << 20;

pub async fn handle<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    caller: &Rc<Caller<D>>,
    request: &Request,
) -> Result<Answer, Refused> {
    let command = &request.command;
    let topic: String = command.required("topic")?;
    let key: String = command.required("key")?;
    let wanted: i32 = command.required("maxNum")?;
    let from_ms: i64 = command.required("beginTimestamp")?;
    let to_ms: i64 = command.required("endTimestamp")?;
    let is_unique = command.optional("_UNIQUE_KEY_QUERY")?.unwrap_or(false);
    let max = if is_unique {
        UNIQUE_MAX
    } else {
        usize::try_from(wanted).unwrap_or(0).max(1)
    };
    let max = max.min(shard.limits().query_messages_max);
    let mut finding = Finding::new(shard, caller.store_host());
    for position in candidates(shard, &topic, &key, from_ms, to_ms, max).await? {
        if finding.messages >= max || finding.body.len() >= ANSWER_BYTES_MAX {
            break;
        }
        finding
            .add(position, |record| has_key(record, &key))
            .await?;
    }
    if finding.messages == 0 && is_unique {
        made_up(&mut finding, &key).await?;
    }
    let answer = if finding.messages == 0 {
        Answer::error(
            response_code::QUERY_NOT_FOUND,
            format!(
                "no message with key {key} in topic {topic} on {}",
                shard.name()
            ),
        )
    } else {
        Answer::ok()
    };
    Ok(answer
        .field("indexLastUpdateTimestamp", finding.last_time_ms)
        .field("indexLastUpdatePhyoffset", finding.last_position.0)
        .body(finding.body))
}

/// Newest first over all queues: positions are in the order of the log.
async fn candidates<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    topic: &str,
    key: &str,
    from_ms: i64,
    to_ms: i64,
    max: usize,
) -> Result<Vec<Position>, Refused> {
    let queues: Vec<QueueHandle> = shard.with_state(|state| {
        let topic = state.topic(topic);
        topic.map_or(Vec::new(), |topic| topic.handles.clone())
    });
    let hash = key_hash(key);
    let mut positions = Vec::new();
    for queue in queues {
        let store = shard.store();
        let found = store.find_key(queue, hash, from_ms, to_ms, max * CANDIDATES_FACTOR);
        positions.extend(found.await?);
    }
    positions.sort_unstable_by(|a, b| b.cmp(a));
    positions.dedup();
    Ok(positions)
}

/// Whether the record has that very key.
fn has_key(record: &RecordView<'_>, key: &str) -> bool {
    let unique = record.envelope.and_then(|envelope| envelope.unique_key());
    unique == Some(key) || record.keys.split(' ').any(|k| k == key)
}

/// A message of a native producer is delivered with a unique key made from its place: see `delivered.rs`.
async fn made_up<D: Disk, R: Runtime>(
    finding: &mut Finding<'_, D, R>,
    key: &str,
) -> Result<(), Refused> {
    if let Ok(id) = key.parse::<MessageId>()
        && let Ok(position) = u64::try_from(id.offset)
    {
        let is_native = |record: &RecordView<'_>| record.envelope.is_none();
        finding.add(Position(position), is_native).await?;
    }
    Ok(())
}
