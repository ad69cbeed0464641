//! What the tables of a shard hold.

use super::limits::PRODUCER_RESULTS;
use ringmq_storage_engine::position::{Position, QueueHandle, QueueOffset};
use ringmq_wire::batch::BatchHeader;
use ringmq_wire::native::schema;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Settings of a topic; absent ones are the broker's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicSettings {
    /// -1: the broker's.
    pub retention_ms: i64,
    /// 0: the broker's.
    pub message_bytes_max: u32,
    pub readable: bool,
    pub writable: bool,
}

impl Default for TopicSettings {
    fn default() -> Self {
        Self {
            retention_ms: -1,
            message_bytes_max: 0,
            readable: true,
            writable: true,
        }
    }
}

impl TopicSettings {
    pub fn from_wire(wire: &schema::TopicSettingsT) -> Self {
        Self {
            retention_ms: wire.retention_ms,
            message_bytes_max: wire.message_bytes_max,
            readable: wire.readable,
            writable: wire.writable,
        }
    }

    pub fn to_wire(self) -> schema::TopicSettingsT {
        schema::TopicSettingsT {
            retention_ms: self.retention_ms,
            message_bytes_max: self.message_bytes_max,
            readable: self.readable,
            writable: self.writable,
        }
    }
}

/// This shard's share of a topic. Queue q lives on shard `placement[q % len]` with local id `q / len`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Random id of this making of the topic; a topic deleted and made again has another.
    pub incarnation: u128,
    /// Queues over all shards.
    pub queues: u32,
    /// Shard names.
    pub placement: Vec<Box<str>>,
    /// This shard's place in `placement`.
    pub placement_index: u32,
    pub settings: TopicSettings,
    /// Raised by each update; 1 at first.
    pub version: u64,
    /// The handles of the queues here, by local id.
    pub handles: Vec<QueueHandle>,
}

/// Where a queue of a topic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueuePlace {
    Here(QueueHandle),
    /// On another shard of the topic.
    Elsewhere,
    /// The topic has fewer queues.
    Nowhere,
}

impl Topic {
    /// How many of `queues` queues live on the shard at `placement_index` of `shards`.
    pub fn local_queues(queues: u32, shards: usize, placement_index: u32) -> usize {
        let (queues, index) = (queues as usize, placement_index as usize);
        queues.saturating_sub(index).div_ceil(shards.max(1))
    }

    /// Finds a queue by its topic-wide number.
    pub fn place(&self, queue: u32) -> QueuePlace {
        if queue >= self.queues {
            return QueuePlace::Nowhere;
        }
        let shards = (self.placement.len() as u32).max(1);
        if queue % shards != self.placement_index {
            return QueuePlace::Elsewhere;
        }
        self.handles
            .get((queue / shards) as usize)
            .map_or(QueuePlace::Nowhere, |&handle| QueuePlace::Here(handle))
    }

    /// The handle of a queue that lives here.
    pub fn handle(&self, queue: u32) -> Option<QueueHandle> {
        match self.place(queue) {
            QueuePlace::Here(handle) => Some(handle),
            QueuePlace::Elsewhere | QueuePlace::Nowhere => None,
        }
    }

    /// (topic-wide number, handle) of the queues here, in order.
    pub fn local(&self) -> impl Iterator<Item = (u32, QueueHandle)> + '_ {
        let shards = self.placement.len() as u32;
        let number = move |local: u32| local * shards + self.placement_index;
        (0u32..)
            .zip(&self.handles)
            .map(move |(local, &handle)| (number(local), handle))
    }

    /// As told to clients and name servers.
    pub fn to_wire(&self, name: &str) -> schema::TopicRecordT {
        schema::TopicRecordT {
            name: name.to_owned(),
            incarnation_high: (self.incarnation >> 64) as u64,
            incarnation_low: self.incarnation as u64,
            queues: self.queues,
            placement: Some(self.placement.iter().map(|s| s.to_string()).collect()),
            settings: Some(Box::new(self.settings.to_wire())),
            version: self.version,
        }
    }
}

/// A queue that lives on this shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    pub topic: Rc<str>,
    /// Topic-wide number.
    pub queue: u32,
    /// The offset that the next message gets.
    pub next_offset: QueueOffset,
    /// Messages below are gone by the topic's own retention; the log may have lost more.
    pub trim_offset: QueueOffset,
    /// Store time of the last batch; 0 before the first.
    pub last_store_time_ms: i64,
}

/// A consumer group on this shard: what it committed and who owns which queue.
#[derive(Debug, Default)]
pub struct Group {
    pub(super) queues: BTreeMap<QueueHandle, GroupQueue>,
    /// How many leases each member holds; derived from `queues`.
    pub(super) holders: BTreeMap<Rc<str>, usize>,
}

impl Group {
    pub fn queue(&self, handle: QueueHandle) -> Option<&GroupQueue> {
        self.queues.get(&handle)
    }

    /// All queues with a committed offset or a lease, by handle.
    pub fn queues(&self) -> impl Iterator<Item = (QueueHandle, &GroupQueue)> {
        self.queues.iter().map(|(&handle, queue)| (handle, queue))
    }

    /// Whether the member holds a lease on this shard.
    pub fn is_holder(&self, member: &str) -> bool {
        self.holders.contains_key(member)
    }
}

/// A group's place in one queue. Exists while it has a committed offset or a lease.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GroupQueue {
    pub committed: Option<QueueOffset>,
    pub lease: Option<Lease>,
}

/// A member's right to a queue. Ends by release, by another grant, or by a reset; the time after which another
/// member may be granted the queue lives outside the log ([`super::leases::Deadlines`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The position of the grant.
    pub id: Position,
    pub member: Rc<str>,
    pub term_ms: u32,
}

/// One producer's writes to one queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProducerKey {
    pub queue: QueueHandle,
    pub producer_id: u64,
}

/// The result of a stored batch, kept to answer a repeated send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoredResult {
    pub base_sequence: u32,
    pub record_count: u32,
    pub base_offset: QueueOffset,
    pub position: Position,
    pub store_time_ms: i64,
}

/// What is known of a producer in a queue: results oldest first, at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Producer {
    pub epoch: u32,
    /// The sequence that the next batch must start with; wraps.
    pub next_sequence: u32,
    results: [StoredResult; PRODUCER_RESULTS],
    len: u8,
}

impl Producer {
    pub(super) fn new(epoch: u32, next_sequence: u32) -> Self {
        Self {
            epoch,
            next_sequence,
            results: [StoredResult::default(); PRODUCER_RESULTS],
            len: 0,
        }
    }

    /// The remembered results, oldest first.
    pub fn results(&self) -> &[StoredResult] {
        &self.results[..usize::from(self.len)]
    }

    pub(super) fn push(&mut self, result: StoredResult) {
        if usize::from(self.len) == PRODUCER_RESULTS {
            self.results.rotate_left(1);
            self.results[PRODUCER_RESULTS - 1] = result;
        } else {
            self.results[usize::from(self.len)] = result;
            self.len += 1;
        }
    }

    /// The newest result.
    pub fn last(&self) -> StoredResult {
        self.results().last().copied().unwrap_or_default()
    }

    /// Takes in a stored batch.
    pub(super) fn record(&mut self, position: Position, header: &BatchHeader) {
        if header.producer_epoch != self.epoch {
            *self = Self::new(header.producer_epoch, 0);
        }
        self.next_sequence = header.base_sequence.wrapping_add(header.record_count);
        self.push(StoredResult {
            base_sequence: header.base_sequence,
            record_count: header.record_count,
            base_offset: QueueOffset(header.base_offset),
            position,
            store_time_ms: header.store_time_ms,
        });
    }
}
