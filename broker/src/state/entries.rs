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
    /// A first message may make its topic after this one: RocketMQ's template.
    pub inherit: bool,
    /// Queues of this shard that RocketMQ clients read; `None`: all.
    pub read_queues: Option<u32>,
    /// Queues of this shard that RocketMQ clients write; `None`: all.
    pub write_queues: Option<u32>,
    /// RocketMQ's order flag, kept for its tools.
    pub order: bool,
    /// RocketMQ's filter type `MULTI_TAG`, kept for its tools.
    pub multi_tag: bool,
    /// Made by the broker itself for RocketMQ's clients: not listed, and left alone.
    pub system: bool,
    /// RocketMQ's topicSysFlag, kept for its tools.
    pub sys_flag: i32,
}

impl Default for TopicSettings {
    fn default() -> Self {
        Self {
            retention_ms: -1,
            message_bytes_max: 0,
            readable: true,
            writable: true,
            inherit: false,
            read_queues: None,
            write_queues: None,
            order: false,
            multi_tag: false,
            system: false,
            sys_flag: 0,
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
            inherit: wire.inherit,
            read_queues: u32::try_from(wire.read_queues).ok(),
            write_queues: u32::try_from(wire.write_queues).ok(),
            order: wire.order,
            multi_tag: wire.multi_tag,
            // Nobody outside says so.
            system: false,
            sys_flag: wire.sys_flag,
        }
    }

    pub fn to_wire(self) -> schema::TopicSettingsT {
        schema::TopicSettingsT {
            retention_ms: self.retention_ms,
            message_bytes_max: self.message_bytes_max,
            readable: self.readable,
            writable: self.writable,
            inherit: self.inherit,
            read_queues: queues_to_wire(self.read_queues),
            write_queues: queues_to_wire(self.write_queues),
            order: self.order,
            multi_tag: self.multi_tag,
            system: self.system,
            sys_flag: self.sys_flag,
        }
    }

    /// RocketMQ's permission bits: 4 read, 2 write, 1 inherit.
    pub fn perm(&self) -> i32 {
        let bit = |is_set, bit| if is_set { bit } else { 0 };
        bit(self.readable, 4) | bit(self.writable, 2) | bit(self.inherit, 1)
    }

    /// With these permission bits.
    pub fn with_perm(self, perm: i32) -> Self {
        Self {
            readable: perm & 4 != 0,
            writable: perm & 2 != 0,
            inherit: perm & 1 != 0,
            ..self
        }
    }
}

/// -1: all.
fn queues_to_wire(queues: Option<u32>) -> i32 {
    queues.map_or(-1, |queues| i32::try_from(queues).unwrap_or(i32::MAX))
}

/// RocketMQ's topic attributes, by rising name.
pub type Attributes = Vec<(Box<str>, Box<str>)>;

/// When a table was changed last; RocketMQ's tools and brokers compare it to see whether they are up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TableVersion {
    /// Changes so far.
    pub counter: u64,
    /// Store time of the last one; 0: none yet.
    pub time_ms: i64,
}

impl TableVersion {
    pub(super) fn changed(&mut self, time_ms: i64) {
        self.counter += 1;
        self.time_ms = time_ms;
    }
}

/// What is one for the whole shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// The handle that the next new queue gets.
    pub next_handle: u32,
    pub topics_version: TableVersion,
    /// Of the groups' settings.
    pub groups_version: TableVersion,
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
    /// RocketMQ's attributes (`message.type` and the like), kept for its tools.
    pub attributes: Attributes,
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

    /// Queues here that RocketMQ clients read: their queue ids are 0 up to this.
    pub fn read_queues(&self) -> u32 {
        let all = self.handles.len() as u32;
        self.settings.read_queues.map_or(all, |some| some.min(all))
    }

    /// Queues here that RocketMQ clients write.
    pub fn write_queues(&self) -> u32 {
        let all = self.handles.len() as u32;
        self.settings.write_queues.map_or(all, |some| some.min(all))
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
