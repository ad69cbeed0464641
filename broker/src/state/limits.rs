//! Every bound of a shard's state.

use ringmq_wire::limits::PRODUCER_IN_FLIGHT_MAX;

/// Results kept for one producer and queue: as many as a producer may have unanswered.
pub const PRODUCER_RESULTS: usize = PRODUCER_IN_FLIGHT_MAX;
/// Shards that a topic may be placed on.
pub const PLACEMENT_MAX: usize = 1024;
/// Entries of one control record: the largest legal record (a topic with all its queues on one shard) fits.
pub const RECORD_ENTRIES_MAX: usize = 65_536;
/// Shortest and longest lease.
pub const LEASE_TERM_MS_MIN: u32 = 1_000;
pub const LEASE_TERM_MS_MAX: u32 = 600_000;
/// A lease request without a term gets this one.
pub const LEASE_TERM_MS_DEFAULT: u32 = 30_000;
/// Term of a RocketMQ client's queue lock; clients renew it every 20 s.
pub const LOCK_TERM_MS: u32 = 60_000;
/// Shortest retention that a topic may ask for.
pub const RETENTION_MS_MIN: i64 = 1_000;
/// Attributes of a topic.
pub const TOPIC_ATTRIBUTES_MAX: usize = 32;
/// Longest name or value of an attribute.
pub const ATTRIBUTE_BYTES_MAX: usize = 127;
/// Topics that a group may be kept from reading.
pub const GROUP_FORBIDDEN_MAX: usize = 1_000;
/// Further settings of a group.
pub const GROUP_MORE_BYTES_MAX: usize = 16 << 10;
/// Longest shard name: `sNN-` and a node name.
pub const SHARD_NAME_BYTES_MAX: usize = 64;

/// Sizes of the tables. Refusing at the limit is a decision; replay takes what the log holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateLimits {
    /// Topic shares of a shard.
    pub topics_max: usize,
    /// Queues of a shard.
    pub queues_max: usize,
    /// (group, queue) pairs with a committed offset or a lease.
    pub group_queues_max: usize,
    /// Groups with settings.
    pub groups_max: usize,
    /// (queue, producer) pairs that idempotence is kept for.
    pub producers_max: usize,
    /// A producer that wrote nothing for so long in log time may be forgotten.
    pub producer_idle_ms_max: i64,
    /// Producers forgotten by one record.
    pub evict_batch: usize,
}

impl Default for StateLimits {
    fn default() -> Self {
        Self {
            topics_max: 100_000,
            queues_max: 1_000_000,
            group_queues_max: 2_000_000,
            groups_max: 100_000,
            producers_max: 200_000,
            producer_idle_ms_max: 7 * 24 * 3_600_000,
            evict_batch: 1_000,
        }
    }
}

impl StateLimits {
    /// Limits that a test reaches in a few steps.
    pub const TEST_MIN: Self = Self {
        topics_max: 4,
        queues_max: 16,
        group_queues_max: 12,
        groups_max: 3,
        producers_max: 4,
        producer_idle_ms_max: 1_000,
        evict_batch: 2,
    };
}

const _: () = assert!(LEASE_TERM_MS_MIN < LEASE_TERM_MS_DEFAULT);
const _: () = assert!(LOCK_TERM_MS <= LEASE_TERM_MS_MAX);
const _: () = assert!(LEASE_TERM_MS_DEFAULT < LEASE_TERM_MS_MAX);
const _: () = assert!(ringmq_wire::limits::TOPIC_QUEUES_MAX as usize <= RECORD_ENTRIES_MAX);
