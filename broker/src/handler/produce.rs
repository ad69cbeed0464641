//! Produce: appends one batch to one queue.
//!
//! [`begin`] decides and appends without an await, so requests of one connection enter the log in the order in
//! which they arrived; what is left to do is to wait. Whether a batch is a duplicate is decided on applied state,
//! which may not be durable: a duplicate is answered when everything appended before it is.

use super::Refusal;
use super::records::topic;
use crate::shard::Shard;
use crate::state::entries::TopicSettings;
use crate::state::produce::{Produce, decide};
use crate::state::{ControlRecord, QueuePlace, Topic};
use ringmq_storage_engine::disk::Disk;
use ringmq_storage_engine::position::{Position, QueueHandle};
use ringmq_storage_engine::runtime::Runtime;
use ringmq_wire::batch::{BatchError, BatchHeader, BatchView, RecordView};
use ringmq_wire::codes::ErrorCode;
use ringmq_wire::native::schema::{Acks, ProduceRequest, ProduceResponseT};

/// A batch that entered the log, now or by an earlier send.
#[derive(Debug, Clone, PartialEq)]
pub struct Begun {
    pub response: ProduceResponseT,
    /// What must be durable before the answer; `None`: nothing.
    pub durable: Option<Position>,
    pub messages: u32,
}

/// Decides and appends. Nothing was done on a refusal.
pub fn begin<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    request: &ProduceRequest<'_>,
    payload: &[u8],
) -> Result<Begun, Refusal> {
    let acks = request.acks();
    if acks > Acks::None {
        return Err(Refusal::invalid(format!("acks {} are unknown", acks.0)));
    }
    if !shard.is_writable() {
        let message = format!("{} takes no new messages any more", shard.name());
        return Err(Refusal::new(ErrorCode::Stopping, message));
    }
    let target = shard.with_state(|state| {
        let topic = topic(state, request.topic())?;
        target(topic, request).map(|handle| (handle, topic.settings))
    });
    let (handle, settings) = target?;
    let batch = BatchView::parse(payload).map_err(|error| bad_batch(&error))?;
    check_sizes(shard, settings, &batch)?;
    append(shard, handle, payload, batch.header(), acks)
}

/// The queue, if it is here and the topic may be written.
fn target(topic: &Topic, request: &ProduceRequest<'_>) -> Result<QueueHandle, Refusal> {
    let name = request.topic();
    let known = request.incarnation();
    if known != 0 && known != topic.incarnation as u64 {
        return Err(Refusal::new(
            ErrorCode::StaleIncarnation,
            format!("topic {name} was deleted and made again; ask for its route"),
        ));
    }
    if !topic.settings.writable {
        return Err(Refusal::new(
            ErrorCode::TopicNotWritable,
            format!("topic {name} is set to take no messages"),
        ));
    }
    queue_here(topic, name, request.queue())
}

/// The handle of a queue that lives on this shard.
pub(super) fn queue_here(topic: &Topic, name: &str, queue: u32) -> Result<QueueHandle, Refusal> {
    match topic.place(queue) {
        QueuePlace::Here(handle) => Ok(handle),
        QueuePlace::Elsewhere => Err(Refusal::new(
            ErrorCode::WrongShard,
            format!("queue {queue} of topic {name} lives on another shard"),
        )),
        QueuePlace::Nowhere => Err(Refusal::new(
            ErrorCode::QueueNotFound,
            format!("topic {name} has {} queues, not {queue}", topic.queues),
        )),
    }
}

fn bad_batch(error: &BatchError) -> Refusal {
    Refusal::new(ErrorCode::BadBatch, error.to_string())
}

/// Refuses a message over the topic's limit. A batch below it cannot hold one, so records are rarely looked at.
fn check_sizes<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    settings: TopicSettings,
    batch: &BatchView<'_>,
) -> Result<(), Refusal> {
    let max = match settings.message_bytes_max {
        0 => shard.limits().message_bytes_max,
        bytes => bytes as usize,
    };
    if batch.header().records_bytes as usize <= max {
        return Ok(());
    }
    let section = batch.section().map_err(|error| bad_batch(&error))?;
    for record in batch.records(&section) {
        let bytes = message_bytes(&record.map_err(|error| bad_batch(&error))?);
        if bytes > max {
            let message = format!("message of {bytes} bytes is over the limit of {max}");
            return Err(Refusal::new(ErrorCode::MessageTooLarge, message));
        }
    }
    Ok(())
}

fn message_bytes(record: &RecordView<'_>) -> usize {
    let properties = record.properties.iter();
    let properties = properties
        .map(|(name, value)| name.len() + value.len())
        .sum::<usize>();
    record.body.len() + record.keys.len() + record.tag.len() + properties
}

fn append<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    handle: QueueHandle,
    payload: &[u8],
    header: &BatchHeader,
    acks: Acks,
) -> Result<Begun, Refusal> {
    let store = shard.store();
    let now_ms = store.store_time_ms();
    let answer = |base_offset, position, store_time_ms, duplicate, end| Begun {
        response: ProduceResponseT {
            base_offset,
            position,
            store_time_ms,
            duplicate,
        },
        durable: (acks == Acks::Durable).then_some(end),
        messages: header.record_count,
    };
    match shard.with_state(|state| decide(state, handle, header, now_ms)) {
        Produce::Refuse(refuse) => Err(refuse.into()),
        Produce::Duplicate {
            base_offset,
            position,
            store_time_ms,
        } => {
            let end = store.frontiers().appended;
            Ok(answer(base_offset.0, position.0, store_time_ms, true, end))
        }
        Produce::Append { base_offset, evict } => {
            if !evict.is_empty() {
                store.append_control(&ControlRecord::ProducersEvict(evict).encode())?;
            }
            let appended = store.append_batch(handle, base_offset, payload)?;
            let messages = u64::from(header.record_count);
            shard.count_stored(handle, messages, payload.len() as u64);
            Ok(answer(
                base_offset.0,
                appended.position.0,
                appended.store_time_ms,
                false,
                appended.end,
            ))
        }
    }
}
