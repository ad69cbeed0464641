//! Delivering what is due: one task a shard.
//!
//! The task looks at the head of each level's queue, sleeps until the first of them is due, and is woken when a level
//! gains messages. Due messages go out in frames of many, level by level, each with the level's new offset.

use super::DUE;
use super::due::Latest;
use crate::shard::Shard;
use crate::shard::counters::count;
use crate::state::record::GroupOffsets;
use crate::state::system::{SCHEDULE_GROUP, SCHEDULE_TOPIC};
use crate::state::{ControlRecord, ShardState};
use futures_lite::future::or;
use ringmq_storage_engine::disk::Disk;
use ringmq_storage_engine::mark;
use ringmq_storage_engine::position::{Position, QueueHandle, QueueOffset};
use ringmq_storage_engine::runtime::Runtime;
use ringmq_storage_engine::store::{
    Append, AppendError, ReadBatches, ReadError, ReadLimits, Urgency,
};
use ringmq_wire::batch::{BatchBuilder, BatchOptions, BatchView, Record, RecordView};
use ringmq_wire::remoting::properties::{self, name};
use std::collections::BTreeMap;
use std::time::Duration;

/// What one look at a level reads.
const READ: ReadLimits = ReadLimits {
    max_bytes: 512 << 10,
    max_batches: 256,
};
/// Messages of one frame.
const FRAME_MESSAGES_MAX: usize = 256;
/// Longest sleep while something waits: the wall clock may jump ahead.
const SLEEP_MS_MAX: i64 = 10_000;
/// What looks damaged for as long counts as damaged: a read may fail for a moment, and what is passed over is lost.
const DAMAGE_PATIENCE: Duration = Duration::from_secs(5);
/// Wait after an error that may pass: no space, a read that failed.
const RETRY: Duration = Duration::from_secs(1);

/// A level's queue, as the task knows it.
#[derive(Debug, Default)]
struct Level {
    latest: Latest,
    /// The head that waits: offset, due, and where its batch is.
    head: Option<(QueueOffset, i64, Position)>,
    /// Since when its messages look damaged.
    damaged_since: Option<Duration>,
}

/// What a look at a level came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// Nothing waits.
    Empty,
    /// The head is due then.
    DueAt(i64),
    /// Something was delivered; there may be more.
    Delivered,
    /// Nothing can be done for a while.
    Blocked,
}

/// The log takes no more records, for good.
#[derive(Debug)]
struct Ended;

/// Delivers until the shard stops or its log does.
pub async fn run<D: Disk, R: Runtime>(shard: Shard<D, R>) {
    let mut levels: BTreeMap<QueueHandle, Level> = BTreeMap::new();
    while !shard.is_stopping() {
        let Ok(wait) = round(&shard, &mut levels).await else {
            return;
        };
        let bell = shard.delay_bell();
        match wait {
            None => bell.heard().await,
            Some(wait) => or(bell.heard(), shard.runtime().sleep(wait)).await,
        }
    }
}

/// Messages that wait on this shard.
pub fn waiting(state: &ShardState) -> u64 {
    let Some(topic) = state.topic(SCHEDULE_TOPIC) else {
        return 0;
    };
    let of_queue = |handle: &QueueHandle| {
        let next = state.queue(*handle).map_or(0, |queue| queue.next_offset.0);
        let delivered = state.committed(SCHEDULE_GROUP, *handle).unwrap_or_default();
        next.saturating_sub(delivered.0)
    };
    topic.handles.iter().map(of_queue).sum()
}

/// Delivers all that is due; returns how long there is nothing to do, `None`: until something comes.
async fn round<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    levels: &mut BTreeMap<QueueHandle, Level>,
) -> Result<Option<Duration>, Ended> {
    loop {
        let handles = shard.with_state(|state| {
            let topic = state.topic(SCHEDULE_TOPIC);
            topic.map_or_else(Vec::new, |topic| topic.handles.clone())
        });
        shard.delay_bell().watch(&handles);
        levels.retain(|handle, _| handles.contains(handle));
        let mut delivered = false;
        let mut wait: Option<Duration> = None;
        for (queue, handle) in handles.into_iter().enumerate() {
            let level = levels.entry(handle).or_default();
            let after = match look(shard, queue, handle, level).await? {
                Look::Empty => continue,
                Look::Delivered => {
                    delivered = true;
                    continue;
                }
                Look::Blocked => RETRY,
                Look::DueAt(due_ms) => {
                    let in_ms = due_ms.saturating_sub(shard.runtime().wall_ms());
                    Duration::from_millis(in_ms.clamp(0, SLEEP_MS_MAX) as u64)
                }
            };
            wait = Some(wait.map_or(after, |wait| wait.min(after)));
        }
        if !delivered {
            keep(shard, levels);
            return Ok(wait);
        }
        shard.runtime().yield_now().await;
    }
}

/// Keeps from retention what waits.
fn keep<D: Disk, R: Runtime>(shard: &Shard<D, R>, levels: &BTreeMap<QueueHandle, Level>) {
    let heads = levels.values().filter_map(|level| level.head);
    let oldest = heads.map(|(_, _, position)| position).min();
    let everything_read = levels.iter().all(|(handle, level)| {
        let from = shard.with_state(|state| state.committed(SCHEDULE_GROUP, *handle));
        level.head.is_some() || from.unwrap_or_default() >= shard.visible_offset(*handle)
    });
    // A level whose head could not be read may hold anything.
    if everything_read {
        shard.store().keep_from(oldest);
    }
}

async fn look<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    queue: usize,
    handle: QueueHandle,
    level: &mut Level,
) -> Result<Look, Ended> {
    let from = shard.with_state(|state| state.committed(SCHEDULE_GROUP, handle));
    let from = from.unwrap_or_default();
    let visible = shard.visible_offset(handle);
    if from >= visible {
        level.head = None;
        return Ok(Look::Empty);
    }
    let now_ms = shard.runtime().wall_ms();
    let delay_ms = shard.settings().delay_levels.of_queue(queue);
    if let Some((offset, due_ms, position)) = level.head
        && offset == from
    {
        // Looked at again, so that a clock that went back is noticed.
        let due_ms = level
            .latest
            .due_ms(offset, due_ms, delay_ms, now_ms, visible);
        level.head = Some((offset, due_ms, position));
        if due_ms > now_ms {
            return Ok(Look::DueAt(due_ms));
        }
    }
    level.head = None;
    match shard.store().read(handle, from, READ).await {
        Ok(read) => {
            level.damaged_since = None;
            let scan = Scan {
                level: &mut *level,
                from,
                delay_ms,
                now_ms,
                visible,
            };
            let due = scan.due(&read);
            let looked = match level.head {
                Some((_, due_ms, _)) if due.is_empty() => Look::DueAt(due_ms),
                _ => deliver(shard, handle, &due).await?,
            };
            if looked == Look::Blocked {
                // The head is behind what could not be delivered.
                level.head = None;
            }
            Ok(looked)
        }
        Err(error) => unreadable(shard, handle, level, from, error),
    }
}

/// Goes on behind what cannot be read any more; waits for what may be read later.
fn unreadable<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    handle: QueueHandle,
    level: &mut Level,
    from: QueueOffset,
    error: ReadError,
) -> Result<Look, Ended> {
    let now = shard.runtime().now();
    let next = match &error {
        ReadError::OffsetOutOfRange { min, .. } if *min > from => Some(*min),
        ReadError::Corrupt { next_readable, .. } if *next_readable > from => {
            let since = *level.damaged_since.get_or_insert(now);
            (now - since >= DAMAGE_PATIENCE).then_some(*next_readable)
        }
        _ => None,
    };
    let Some(next) = next else {
        mark!("verdict: delayed messages wait for the disk");
        tracing::warn!(shard = shard.name(), %error, "delayed messages cannot be read now");
        return Ok(Look::Blocked);
    };
    mark!("verdict: delayed messages are passed over");
    level.damaged_since = None;
    let lost = next.0 - from.0;
    tracing::error!(shard = shard.name(), %error, lost, "delayed messages are lost");
    match shard
        .store()
        .append_control(&advance(handle, next).encode())
    {
        Ok(_) => {
            count(&shard.counters().delayed_lost, lost);
            Ok(Look::Delivered)
        }
        Err(error) => refused(&error),
    }
}

fn refused(error: &AppendError) -> Result<Look, Ended> {
    match error {
        AppendError::Failed(_) | AppendError::ReadOnly(_) | AppendError::Stopping => Err(Ended),
        AppendError::Busy | AppendError::NoSpace | AppendError::TooLarge { .. } => {
            Ok(Look::Blocked)
        }
    }
}

/// Where the level is once messages below `next` are delivered.
fn advance(handle: QueueHandle, next: QueueOffset) -> ControlRecord {
    ControlRecord::OffsetsPut(vec![GroupOffsets {
        group: SCHEDULE_GROUP.into(),
        offsets: vec![(handle, next)],
    }])
}

/// A message that is due.
#[derive(Debug)]
struct Due {
    offset: QueueOffset,
    /// `None`: it cannot be read, or does not say where it is to go.
    target: Option<Target>,
}

/// Where a message goes, and as what.
#[derive(Debug)]
struct Target {
    topic: String,
    queue: u32,
    /// One record, as it is to be stored.
    batch: Vec<u8>,
}

/// One look at what was read of a level.
struct Scan<'a> {
    level: &'a mut Level,
    from: QueueOffset,
    delay_ms: i64,
    now_ms: i64,
    visible: QueueOffset,
}

impl Scan<'_> {
    /// What is due, in order; notes the first message that is not.
    fn due<D: Disk>(mut self, read: &ReadBatches<D>) -> Vec<Due> {
        let mut due = Vec::new();
        for batch in &read.batches {
            let base = batch.header.base_offset;
            // A batch was checked when it was read; a record that cannot be understood all the same goes nowhere.
            let view = BatchView::parse_unverified(&batch.bytes).ok();
            let section = view.as_ref().and_then(|view| view.section().ok());
            let mut records = view
                .iter()
                .zip(&section)
                .flat_map(|(view, section)| view.records(section))
                .map(Result::ok);
            for offset in base..=base + u64::from(batch.header.last_offset_delta) {
                let record = records.next().flatten();
                if offset < self.from.0 {
                    continue;
                }
                let offset = QueueOffset(offset);
                let due_ms = self.due_ms(offset, record.as_ref());
                if due_ms > self.now_ms {
                    self.level.head = Some((offset, due_ms, batch.position));
                    return due;
                }
                let target = record.as_ref().and_then(target_of);
                due.push(Due { offset, target });
                if due.len() >= FRAME_MESSAGES_MAX {
                    return due;
                }
            }
        }
        due
    }

    fn due_ms(&mut self, offset: QueueOffset, record: Option<&RecordView<'_>>) -> i64 {
        let Some(due_ms) = record.and_then(due_ms_of) else {
            // None of ours: nothing to wait for.
            return self.now_ms;
        };
        let latest = &mut self.level.latest;
        latest.due_ms(offset, due_ms, self.delay_ms, self.now_ms, self.visible)
    }
}

fn due_ms_of(record: &RecordView<'_>) -> Option<i64> {
    record.properties.get(DUE)?.parse().ok()
}

/// The message as it is to be stored: all as it was, but for our mark.
fn target_of(record: &RecordView<'_>) -> Option<Target> {
    let envelope = record.envelope?;
    let topic = properties::get(envelope.properties, name::REAL_TOPIC)?.to_owned();
    let queue = properties::get(envelope.properties, name::REAL_QUEUE_ID)?;
    let queue = queue.parse().ok()?;
    let keys: Vec<&str> = record
        .keys
        .split(' ')
        .filter(|key| !key.is_empty())
        .collect();
    let properties = record.properties.iter().filter(|(name, _)| *name != DUE);
    let properties: Vec<(&str, &str)> = properties.collect();
    let copy = Record {
        born_time_ms: record.born_time_ms,
        keys: &keys,
        tag: record.tag,
        properties: &properties,
        envelope: Some(envelope),
        body: record.body,
    };
    let mut builder = BatchBuilder::new();
    // It was checked when it was sent, by the rules of then.
    builder.push_at(0, &copy).ok()?;
    let batch = builder.finish(&BatchOptions::default()).ok()?;
    Some(Target {
        topic,
        queue,
        batch,
    })
}

/// Appends what is due, with the level's new offset, in as few frames as the log takes.
async fn deliver<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    handle: QueueHandle,
    due: &[Due],
) -> Result<Look, Ended> {
    let mut rest = due;
    let mut most = rest.len();
    while !rest.is_empty() {
        let (now, later) = rest.split_at(most.min(rest.len()));
        match deliver_in_one_frame(shard, handle, now) {
            Ok(()) => rest = later,
            Err(AppendError::TooLarge { .. }) if now.len() > 1 => most = now.len() / 2,
            Err(AppendError::Busy) => {
                let bytes = now.iter().map(Due::bytes).sum();
                if shard.store().wait_room(bytes).await.is_err() {
                    return Err(Ended);
                }
            }
            Err(error) => return refused(&error),
        }
    }
    Ok(if due.is_empty() {
        Look::Blocked
    } else {
        Look::Delivered
    })
}

impl Due {
    fn bytes(&self) -> usize {
        self.target.as_ref().map_or(0, |target| target.batch.len())
    }
}

fn deliver_in_one_frame<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    handle: QueueHandle,
    messages: &[Due],
) -> Result<(), AppendError> {
    let Some(last) = messages.last() else {
        return Ok(());
    };
    let next = QueueOffset(last.offset.0 + 1);
    let advance = advance(handle, next).encode();
    let mut records = Vec::with_capacity(messages.len() + 1);
    let mut ends: BTreeMap<QueueHandle, QueueOffset> = BTreeMap::new();
    shard.with_state(|state| {
        for target in messages
            .iter()
            .filter_map(|message| message.target.as_ref())
        {
            let Some(queue) = place(state, target) else {
                continue;
            };
            let end = state
                .queue(queue)
                .map_or(QueueOffset(0), |queue| queue.next_offset);
            let end = ends.entry(queue).or_insert(end);
            records.push(Append::Batch {
                queue,
                base_offset: *end,
                batch: &target.batch,
            });
            end.0 += 1;
        }
    });
    let delivered = records.len();
    records.push(Append::Control(&advance));
    shard.store().append_atomic(&records, Urgency::Relieving)?;
    let gone = messages.len() - delivered;
    count(&shard.counters().delayed_delivered, delivered as u64);
    count(&shard.counters().delayed_gone, gone as u64);
    if gone > 0 {
        tracing::warn!(
            shard = shard.name(),
            messages = gone,
            "delayed messages go to no topic: theirs was deleted"
        );
    }
    Ok(())
}

/// The queue that a message is to go to. A topic that was made again with fewer queues takes it in one of those.
fn place(state: &ShardState, target: &Target) -> Option<QueueHandle> {
    let handles = &state.topic(&target.topic)?.handles;
    let queue = (target.queue as usize).checked_rem(handles.len())?;
    handles.get(queue).copied()
}
