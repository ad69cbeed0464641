//! A log in memory with the live state beside it, and what a restart makes of it.

use crate::state::entries::GroupQueue;
use crate::state::topics::{self, TopicRules, TopicSpec};
use crate::state::{ControlRecord, ShardState, StateLimits, TopicSettings};
use ringmq_storage_engine::position::{Position, QueueHandle, QueueOffset};
use ringmq_storage_engine::state_machine::{RecordRef, StateMachine};
use ringmq_wire::batch::{BatchHeader, Compression};
use std::collections::BTreeMap;

pub const SHARD: &str = "s00-a";

#[derive(Debug, Clone)]
pub enum Logged {
    Batch(BatchHeader),
    Control(Vec<u8>),
}

/// Chunks with their stamps.
pub type Snapshot = Vec<(Position, Vec<u8>)>;

#[derive(Debug)]
pub struct World {
    pub state: ShardState,
    pub limits: StateLimits,
    pub log: Vec<(Position, Logged)>,
    pub end: Position,
    pub store_time_ms: i64,
}

/// A batch as a producer sends it.
pub fn batch(producer_id: u64, epoch: u32, base_sequence: u32, record_count: u32) -> BatchHeader {
    BatchHeader {
        batch_bytes: 1_000,
        compression: Compression::None,
        flags: 0,
        base_offset: 0,
        store_time_ms: 0,
        queue_handle: 0,
        record_count,
        last_offset_delta: record_count - 1,
        records_bytes: 0,
        born_time_ms: 0,
        producer_id,
        producer_epoch: epoch,
        base_sequence,
        key_count: 0,
    }
}

pub fn spec(name: &str, incarnation: u128, queues: u32, placement: &[&str]) -> TopicSpec {
    TopicSpec {
        name: name.to_owned(),
        incarnation,
        queues,
        placement: placement.iter().map(|s| (*s).to_owned()).collect(),
        settings: TopicSettings::default(),
    }
}

pub const RULES: TopicRules<'static> = TopicRules {
    shard: SHARD,
    retention_ms: Some(1_000_000),
};

impl World {
    pub fn new(limits: StateLimits) -> Self {
        Self {
            state: ShardState::new(limits),
            limits,
            log: Vec::new(),
            end: Position(8_192),
            store_time_ms: 1_000,
        }
    }

    fn push(&mut self, bytes: u64, logged: Logged) -> Position {
        let position = self.end;
        apply(&mut self.state, position, &logged);
        assert_eq!(self.state.defect(), None);
        self.log.push((position, logged));
        self.end = Position(position.0 + bytes.next_multiple_of(8));
        position
    }

    pub fn control(&mut self, record: &ControlRecord) -> Position {
        let bytes = record.encode();
        self.push(16 + bytes.len() as u64, Logged::Control(bytes))
    }

    /// Appends at the queue's next offset, as the engine does.
    pub fn batch(&mut self, handle: QueueHandle, header: BatchHeader) -> Position {
        let base = self.state.next_offset(handle).expect("the queue exists");
        let placed = BatchHeader {
            base_offset: base.0,
            queue_handle: handle.0,
            store_time_ms: self.store_time_ms,
            ..header
        };
        self.push(8 + u64::from(header.batch_bytes), Logged::Batch(placed))
    }

    /// Makes a topic here and returns the handles of its queues.
    pub fn topic(&mut self, name: &str, queues: u32) -> Vec<QueueHandle> {
        let spec = spec(name, u128::from(self.end.0), queues, &[SHARD]);
        let record = topics::create(&self.state, RULES, &spec);
        let record = record.expect("valid").expect("new");
        self.control(&record);
        self.state.topic(name).expect("made").handles.clone()
    }

    /// The state after a restart from a snapshot (empty: from the log alone).
    pub fn replay(&self, snapshot: &Snapshot) -> ShardState {
        self.replay_below(snapshot, self.end)
    }

    /// As [`Self::replay`], with the log up to `end` only.
    pub fn replay_below(&self, snapshot: &Snapshot, end: Position) -> ShardState {
        let mut state = ShardState::new(self.limits);
        for (stamp, chunk) in snapshot {
            state.restore_chunk(*stamp, chunk).expect("a good chunk");
        }
        state.restore_finished();
        let from = snapshot.iter().map(|&(stamp, _)| stamp).min();
        let from = from.unwrap_or_default();
        for (position, logged) in &self.log {
            if (from..end).contains(position) {
                apply(&mut state, *position, logged);
            }
        }
        assert_eq!(state.defect(), None);
        state
    }

    /// Loses the log from `end` on and restarts.
    pub fn crash(&mut self, end: Position) {
        self.log.retain(|(position, _)| *position < end);
        self.end = end;
        self.state = self.replay(&Vec::new());
    }

    /// A whole snapshot, taken in one go.
    pub fn snapshot(&self, bytes_max: usize) -> Snapshot {
        let mut chunks = Vec::new();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let chunk = self.state.snapshot_chunk(after.as_deref(), bytes_max);
            chunks.push((self.end, chunk.bytes));
            match chunk.next {
                Some(next) => after = Some(next),
                None => return chunks,
            }
        }
    }
}

pub fn apply(state: &mut ShardState, position: Position, logged: &Logged) {
    match logged {
        Logged::Batch(header) => {
            state.apply(position, header.store_time_ms, RecordRef::Batch(header));
        }
        Logged::Control(bytes) => state.apply(position, 0, RecordRef::Control(bytes)),
    }
}

pub fn offset(value: u64) -> QueueOffset {
    QueueOffset(value)
}

/// What is derived from the entries equals what they say.
pub fn assert_derived(state: &ShardState) {
    let entries: usize = state.groups.values().map(|g| g.queues.len()).sum();
    assert_eq!(state.group_queues, entries);
    for group in state.groups.values() {
        assert!(!group.queues.is_empty());
        let mut holders = BTreeMap::new();
        for queue in group.queues.values() {
            assert_ne!(*queue, GroupQueue::default());
            if let Some(lease) = &queue.lease {
                *holders.entry(lease.member.clone()).or_insert(0) += 1;
            }
        }
        assert_eq!(group.holders, holders);
    }
    let order: BTreeMap<_, _> = state
        .producers
        .iter()
        .map(|(&key, producer)| (producer.last().position, key))
        .collect();
    assert_eq!(state.producer_order, order);
    for (name, topic) in state.topics() {
        for (number, handle) in topic.local() {
            let queue = state.queue(handle).expect("queues of a topic exist");
            assert_eq!((&*queue.topic, queue.queue), (name, number));
            assert!(handle.0 < state.meta.next_handle);
        }
    }
    assert_eq!(state.queue_count(), state.queues().count());
}
