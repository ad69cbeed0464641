//! The numbers of one shard, as its executor hands them out and `/metrics` prints them.

use ringmq_wire::codes::{ErrorCode, Kind};

/// Everything that a shard counts. Counters are since the start of the process.
#[derive(Debug, Clone, Default)]
pub struct ShardMetrics {
    /// Requests answered, by kind.
    pub requests: Vec<(Kind, u64)>,
    /// Refusals, by code.
    pub refusals: Vec<(ErrorCode, u64)>,
    pub produced_messages: u64,
    pub produced_bytes: u64,
    pub fetched_messages: u64,
    pub fetched_bytes: u64,
    pub connections: u64,
    pub connections_total: u64,
    /// Request bytes received and not answered yet, plus answer bytes not sent yet.
    pub in_flight_bytes: u64,
    pub topics: u64,
    pub queues: u64,
    pub appended: u64,
    pub durable: u64,
    pub visible: u64,
    pub log_start: u64,
    pub cache_hits: u64,
    pub cache_misses: u64,
    pub disk_total_bytes: u64,
    pub disk_free_bytes: u64,
    pub disk_used_bytes: u64,
    /// Appends are refused or the log stopped.
    pub healthy: bool,
    /// Time from handing a frame to the disk until it is durable.
    pub durable_write_us: Distribution,
    /// Bytes of a frame.
    pub frame_bytes: Distribution,
    /// Records of a frame.
    pub group_commit_records: Distribution,
}

/// A histogram with fixed bounds.
#[derive(Debug, Clone, Default)]
pub struct Distribution {
    /// `(upper bound, values at or below it and above the bound before)`, ascending.
    pub buckets: Vec<(u64, u64)>,
    /// Values above the last bound.
    pub above: u64,
    /// Sum of all values.
    pub sum: u64,
}
