//! What most handlers share: appending an outcome, waiting until an answer may show what it shows, finding queues.

use super::Refusal;
use crate::shard::Shard;
use crate::state::offsets::QueueRange;
use crate::state::{ControlRecord, QueuePlace, ShardState, Topic, topics};
use ringmq_storage_engine::position::{Position, QueueHandle, QueueOffset};
use ringmq_storage_engine::store::{Append, Urgency};
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::codes::ErrorCode;

/// Entries of one control record that a handler appends; more become several records.
pub(super) const ENTRIES_MAX: usize = 4_096;

/// Appends a record; it is in the state when this returns, and durable after [`settled`].
pub(super) fn append<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    record: &ControlRecord,
) -> Result<Position, Refusal> {
    let appended = shard.store().append_control(&record.encode())?;
    Ok(appended.position)
}

/// Appends records that belong together: all of them, or none.
pub(super) fn append_all<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    records: &[ControlRecord],
) -> Result<(), Refusal> {
    let records: Vec<Vec<u8>> = records.iter().map(ControlRecord::encode).collect();
    let appends: Vec<Append<'_>> = records.iter().map(|bytes| Append::Control(bytes)).collect();
    shard.store().append_atomic(&appends, Urgency::Ordinary)?;
    Ok(())
}

/// Waits until everything appended so far is durable. To be called right after looking at the state, without an
/// await in between; then whatever was seen, or found missing, survives a crash.
pub(super) async fn settled<D: Disk, R: Runtime>(shard: &Shard<D, R>) -> Result<(), Refusal> {
    let end = shard.store().frontiers().appended;
    Ok(shard.store().durable(end).await?)
}

/// The share of a topic, or the refusal.
pub(super) fn topic<'a>(state: &'a ShardState, name: &str) -> Result<&'a Topic, Refusal> {
    let topic = state.topic(name);
    topic.ok_or_else(|| topics::not_found(name).into())
}

/// The handle of a topic's queue, or the code to answer for it.
pub(super) fn local_queue(topic: &Topic, queue: u32) -> Result<QueueHandle, ErrorCode> {
    match topic.place(queue) {
        QueuePlace::Here(handle) => Ok(handle),
        QueuePlace::Elsewhere => Err(ErrorCode::WrongShard),
        QueuePlace::Nowhere => Err(ErrorCode::QueueNotFound),
    }
}

/// What a queue holds for consumers now: the log may have lost the oldest, the topic's retention more.
pub(super) fn range<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    state: &ShardState,
    handle: QueueHandle,
) -> QueueRange {
    let stored = shard.store().min_offset(handle).unwrap_or_default();
    let trimmed = state.queue(handle).map(|queue| queue.trim_offset);
    let visible = shard.visible_offset(handle);
    let min: QueueOffset = stored.max(trimmed.unwrap_or_default());
    QueueRange {
        min: min.min(visible),
        visible,
    }
}

/// The number of an error, 0 for none, as answers carry it for each entry.
pub(super) fn error_number<T>(outcome: &Result<T, ErrorCode>) -> u16 {
    outcome.as_ref().err().map_or(0, |code| code.number())
}

/// Tells the node what this shard serves under that name now, for registration with name servers. To be called
/// after [`settled`]; reading the state again makes the last of several changes win.
pub(super) fn publish_share<D: Disk, R: Runtime>(shard: &Shard<D, R>, name: &str) {
    let index = shard.settings().index;
    let topic = shard.with_state(|state| state.topic(name).map(|topic| topic.to_wire(name)));
    match topic {
        Some(topic) => shard.node().share_put(index, topic),
        None => shard.node().share_removed(index, name),
    }
}
