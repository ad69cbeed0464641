//! Storing messages that come from this shard or from a RocketMQ client: at once, or to be delivered later.

use super::DUE;
use crate::handler::Refusal;
use crate::shard::Shard;
use crate::shard::counters::count;
use crate::state::system::SCHEDULE_TOPIC;
use crate::state::{Refuse, topics};
use ringmq_storage_engine::disk::Disk;
use ringmq_storage_engine::position::{Position, QueueHandle, QueueOffset};
use ringmq_storage_engine::runtime::Runtime;
use ringmq_wire::batch::{BatchBuilder, BatchError, BatchOptions, Envelope, Record};
use ringmq_wire::codes::ErrorCode;
use ringmq_wire::limits::PROPERTIES_BYTES_MAX;
use ringmq_wire::remoting::properties::{self, name};

/// A message that entered the log. It survives a power cut once the store is durable up to `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    pub position: Position,
    pub end: Position,
    /// Place in the queue that it went to: a parked message's is that of its level.
    pub offset: QueueOffset,
    pub store_time_ms: i64,
}

/// Appends a message to a queue of a topic here; `queue` is RocketMQ's: local to the shard.
pub fn store<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    topic: &str,
    queue: u32,
    record: &Record<'_>,
) -> Result<Stored, Refusal> {
    let mut builder = BatchBuilder::new();
    builder.push(record).map_err(refused)?;
    let batch = builder.finish(&BatchOptions::default()).map_err(refused)?;
    let (handle, base_offset) = shard.with_state(|state| {
        let share = state.topic(topic).ok_or_else(|| topics::not_found(topic))?;
        let handle = share.handles.get(queue as usize).copied();
        let place = handle.and_then(|handle| Some((handle, state.queue(handle)?.next_offset)));
        place.ok_or_else(|| no_queue(topic, queue))
    })?;
    append(shard, handle, base_offset, &batch)
}

/// Appends a message to the queue of its delay level, to be delivered to `queue` of `topic`. `level` is as asked for: one
/// that is too high means the highest. `None`: it asks for no delay.
pub fn park<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    topic: &str,
    queue: u32,
    record: &Record<'_>,
    level: i32,
) -> Option<Result<Stored, Refusal>> {
    let (level, delay_ms) = shard.settings().delay_levels.resolve(level)?;
    let due_ms = shard.runtime().wall_ms().saturating_add(delay_ms);
    Some(park_until(shard, topic, queue, record, level, due_ms))
}

fn park_until<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    topic: &str,
    queue: u32,
    record: &Record<'_>,
    level: usize,
    due_ms: i64,
) -> Result<Stored, Refusal> {
    let due_ms = due_ms.to_string();
    let envelope = record.envelope.unwrap_or(PLAIN);
    let mut properties = envelope.properties.to_owned();
    properties::set(&mut properties, name::REAL_TOPIC, topic);
    properties::set(&mut properties, name::REAL_QUEUE_ID, &queue.to_string());
    if properties.len() > PROPERTIES_BYTES_MAX {
        return Err(Refusal::new(
            ErrorCode::NotCarryable,
            format!("properties are over {PROPERTIES_BYTES_MAX} bytes with those of a delay"),
        ));
    }
    let mut native = record.properties.to_vec();
    native.push((DUE, &due_ms));
    let parked = Record {
        properties: &native,
        envelope: Some(Envelope {
            properties: &properties,
            ..envelope
        }),
        ..*record
    };
    let stored = store(shard, SCHEDULE_TOPIC, level as u32 - 1, &parked)?;
    count(&shard.counters().delayed_parked, 1);
    Ok(stored)
}

const PLAIN: Envelope<'static> = Envelope {
    flag: 0,
    sys_flag: 0,
    reconsume_times: 0,
    body_crc: 0,
    prepared_position: 0,
    born_host: None,
    properties: "",
};

fn refused(error: BatchError) -> Refusal {
    let code = match error {
        BatchError::TooLarge { .. } => ErrorCode::MessageTooLarge,
        BatchError::NotCarryable(_) => ErrorCode::NotCarryable,
        _ => ErrorCode::BadBatch,
    };
    Refusal::new(code, error.to_string())
}

fn append<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    handle: QueueHandle,
    base_offset: QueueOffset,
    batch: &[u8],
) -> Result<Stored, Refusal> {
    let appended = shard.store().append_batch(handle, base_offset, batch)?;
    Ok(Stored {
        position: appended.position,
        end: appended.end,
        offset: base_offset,
        store_time_ms: appended.store_time_ms,
    })
}

fn no_queue(topic: &str, queue: u32) -> Refuse {
    Refuse::new(
        ErrorCode::QueueNotFound,
        format!("queue {queue} of topic {topic} is not on this shard"),
    )
}
