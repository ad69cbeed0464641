//! The state of one shard: topics, queues, group offsets, leases, producers. State = snapshot + replay of the log.
//!
//! Invariants:
//! - Nothing changes but by [`StateMachine::apply`]. Decisions ([`produce`], [`topics`], [`offsets`], [`leases`],
//!   [`groups`]) are pure functions of the state and the time they are given; they return the record to append.
//!   Deciding and appending happen without an await between them.
//! - Each entry (one row of one table) changes by the record and its own old value alone, never by another entry.
//!   So a snapshot may be taken in chunks while records go on being applied: each chunk is right at its own
//!   position, and replay brings every entry from there to the end.
//! - Ordered tables only; no clock, no randomness, no hash order.
//! - What is applied may not be durable yet: an answer that exposes state waits for durable past it.
//!
//! The log is read by releases that may know less than the one that wrote it. `apply` cannot fail, so the first
//! record that cannot be read, or that contradicts the state, freezes the state and is kept as
//! [`ShardState::defect`]; a shard with a defect must not serve.

mod apply;
pub mod attributes;
mod bytes;
mod codec;
pub mod entries;
pub mod group_settings;
pub mod groups;
mod handles;
mod keys;
pub mod leases;
pub mod limits;
pub mod offsets;
pub mod produce;
pub mod record;
pub mod retention;
mod snapshot;
pub mod system;
pub mod topics;

#[cfg(test)]
pub(crate) mod tests;

pub use bytes::DecodeError;
pub use entries::{
    Group, GroupQueue, Lease, Meta, Queue, QueuePlace, TableVersion, Topic, TopicSettings,
};
pub use group_settings::GroupSettings;
pub use limits::StateLimits;
pub use record::ControlRecord;

use entries::{Producer, ProducerKey};
use handles::HandleMap;
use ringmq_storage_engine::position::{Position, QueueHandle, QueueOffset};
use ringmq_storage_engine::state_machine::{RecordRef, SnapshotChunk, StateMachine};
use ringmq_wire::codes::ErrorCode;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Why a decision says no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refuse {
    pub code: ErrorCode,
    pub message: String,
    /// Producer errors: the epoch the shard knows.
    pub epoch: u32,
    /// Producer errors: the sequence the shard expects.
    pub sequence: u32,
}

impl Refuse {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            epoch: 0,
            sequence: 0,
        }
    }
}

/// Why a log cannot be replayed by this release.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplayDefect {
    #[error("control record at position {position}: {cause}")]
    Record {
        position: Position,
        cause: DecodeError,
    },
    #[error(
        "batch at position {position} starts at offset {found} of queue {queue}, which continues at {expected:?}",
        queue = queue.0
    )]
    Gap {
        position: Position,
        queue: QueueHandle,
        found: QueueOffset,
        expected: Option<QueueOffset>,
    },
    #[error("snapshot chunks end before the last key")]
    SnapshotIncomplete,
}

/// The state machine of a shard.
#[derive(Debug)]
pub struct ShardState {
    limits: StateLimits,
    topics: BTreeMap<Rc<str>, Topic>,
    queues: HandleMap<Queue>,
    groups: BTreeMap<Rc<str>, Group>,
    producers: BTreeMap<ProducerKey, Producer>,
    group_settings: BTreeMap<Rc<str>, GroupSettings>,
    meta: Meta,
    /// Producers by the position of their last batch, oldest first; derived from `producers`.
    producer_order: BTreeMap<Position, ProducerKey>,
    /// (group, queue) entries; derived from `groups`.
    group_queues: usize,
    /// What the chunks of the restored snapshot hold already.
    guards: keys::Guards,
    defect: Option<ReplayDefect>,
}

impl Default for ShardState {
    fn default() -> Self {
        Self::new(StateLimits::default())
    }
}

impl ShardState {
    pub fn new(limits: StateLimits) -> Self {
        Self {
            limits,
            topics: BTreeMap::new(),
            queues: HandleMap::new(),
            groups: BTreeMap::new(),
            producers: BTreeMap::new(),
            group_settings: BTreeMap::new(),
            meta: Meta {
                next_handle: 1,
                topics_version: TableVersion::default(),
                groups_version: TableVersion::default(),
            },
            producer_order: BTreeMap::new(),
            group_queues: 0,
            guards: keys::Guards::default(),
            defect: None,
        }
    }

    pub fn limits(&self) -> &StateLimits {
        &self.limits
    }

    /// Set once the log turned out to hold what this release cannot apply; the shard must not serve then.
    pub fn defect(&self) -> Option<&ReplayDefect> {
        self.defect.as_ref()
    }

    /// A topic's share on this shard.
    pub fn topic(&self, name: &str) -> Option<&Topic> {
        self.topics.get(name)
    }

    /// All shares, by name.
    pub fn topics(&self) -> impl Iterator<Item = (&str, &Topic)> {
        self.topics.iter().map(|(name, topic)| (&**name, topic))
    }

    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    pub fn queue(&self, handle: QueueHandle) -> Option<&Queue> {
        self.queues.get(handle)
    }

    /// All queues, by handle.
    pub fn queues(&self) -> impl Iterator<Item = (QueueHandle, &Queue)> {
        self.queues.iter_from(0)
    }

    pub fn queue_count(&self) -> usize {
        self.queues.len()
    }

    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.get(name)
    }

    /// All groups with a committed offset or a lease here, by name.
    pub fn groups(&self) -> impl Iterator<Item = (&str, &Group)> {
        self.groups.iter().map(|(name, group)| (&**name, group))
    }

    /// (group, queue) pairs with a committed offset or a lease.
    pub fn group_queue_count(&self) -> usize {
        self.group_queues
    }

    /// A group's entry for a queue.
    pub fn group_queue(&self, group: &str, handle: QueueHandle) -> Option<&GroupQueue> {
        self.groups.get(group)?.queues.get(&handle)
    }

    /// The offset that a group committed in a queue.
    pub fn committed(&self, group: &str, handle: QueueHandle) -> Option<QueueOffset> {
        self.group_queue(group, handle)?.committed
    }

    /// What RocketMQ's tools set for a group, or its first member brought about; `None`: native members only.
    pub fn group_settings(&self, group: &str) -> Option<&GroupSettings> {
        self.group_settings.get(group)
    }

    /// The settings of all groups that have some, by name.
    pub fn all_group_settings(&self) -> impl Iterator<Item = (&str, &GroupSettings)> {
        let all = self.group_settings.iter();
        all.map(|(name, settings)| (&**name, settings))
    }

    pub fn group_settings_count(&self) -> usize {
        self.group_settings.len()
    }

    /// Versions of the tables, and the next handle.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// What is known of a producer in a queue.
    pub fn producer(&self, queue: QueueHandle, producer_id: u64) -> Option<&Producer> {
        self.producers.get(&ProducerKey { queue, producer_id })
    }

    pub fn producer_count(&self) -> usize {
        self.producers.len()
    }
}

impl StateMachine for ShardState {
    fn apply(&mut self, position: Position, store_time_ms: i64, record: RecordRef<'_>) {
        if self.defect.is_some() {
            return;
        }
        if let Err(defect) = self.apply_record(position, store_time_ms, record) {
            self.defect = Some(defect);
        }
    }

    fn next_offset(&self, queue: QueueHandle) -> Option<QueueOffset> {
        Some(self.queues.get(queue)?.next_offset)
    }

    fn next_offsets(&self) -> Vec<(QueueHandle, QueueOffset)> {
        let used = self.queues().filter(|(_, queue)| queue.next_offset.0 > 0);
        used.map(|(handle, queue)| (handle, queue.next_offset))
            .collect()
    }

    fn trim_offset(&self, queue: QueueHandle) -> QueueOffset {
        let queue = self.queues.get(queue);
        queue.map_or(QueueOffset(0), |queue| queue.trim_offset)
    }

    fn snapshot_chunk(&self, after: Option<&[u8]>, bytes_max: usize) -> SnapshotChunk {
        snapshot::chunk(self, after, bytes_max)
    }

    fn restore_chunk(&mut self, stamp: Position, bytes: &[u8]) -> Result<(), String> {
        snapshot::restore(self, stamp, bytes).map_err(|error| error.to_string())
    }

    fn restore_finished(&mut self) {
        if !self.guards.is_complete() {
            self.defect = Some(ReplayDefect::SnapshotIncomplete);
        }
    }

    fn digest(&self) -> u64 {
        snapshot::digest(self)
    }
}
