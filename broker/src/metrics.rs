//! The numbers of one shard, as its executor hands them out and `/metrics` prints them.

use ringmq_storage_engine::position::Frontiers;
use ringmq_storage_engine::store::{Health, LogMode, StoreMetrics};
use ringmq_wire::codes::{ErrorCode, Kind};

/// Everything that a shard counts. Counters are since the start of the process.
#[derive(Debug, Clone)]
pub struct ShardMetrics {
    /// What the store counts.
    pub store: StoreMetrics,
    /// How far the log is.
    pub frontiers: Frontiers,
    /// Whether the log takes records.
    pub health: Health,
    /// What the sessions count.
    pub sessions: SessionMetrics,
    /// What became of messages to be delivered later.
    pub delayed: DelayMetrics,
    /// Topics with a share here, but for the broker's own.
    pub topics: u64,
    /// Queues of this shard.
    pub queues: u64,
}

/// What the sessions of a shard count.
#[derive(Debug, Clone, Default)]
pub struct SessionMetrics {
    /// Requests answered or refused, by kind.
    pub requests: Vec<(Kind, u64)>,
    /// Requests of RocketMQ clients, by request code and code of the answer; -1: nobody serves that code.
    pub remoting: Vec<((i32, i32), u64)>,
    /// Refusals, by code.
    pub refusals: Vec<(ErrorCode, u64)>,
    pub produced_messages: u64,
    /// Bytes of batches as received.
    pub produced_bytes: u64,
    pub fetched_messages: u64,
    /// Bytes of batches as sent.
    pub fetched_bytes: u64,
    /// Open now.
    pub connections: u64,
    /// Accepted since the start.
    pub connections_accepted: u64,
    /// Refused at the limit since the start.
    pub connections_refused: u64,
    /// Request bytes received and not answered yet, plus answer bytes not sent yet.
    pub in_flight_bytes: u64,
}

/// Messages to be delivered later.
#[derive(Debug, Clone, Copy, Default)]
pub struct DelayMetrics {
    /// Stored to be delivered later.
    pub parked: u64,
    pub delivered: u64,
    /// Dropped because their topic was deleted.
    pub gone: u64,
    /// Lost to damage.
    pub lost: u64,
    /// Waiting now.
    pub waiting: u64,
}

impl Default for ShardMetrics {
    fn default() -> Self {
        Self {
            store: StoreMetrics::default(),
            frontiers: Frontiers::default(),
            health: Health {
                mode: LogMode::Serving,
                reason: None,
                warnings: Vec::new(),
            },
            sessions: SessionMetrics::default(),
            delayed: DelayMetrics::default(),
            topics: 0,
            queues: 0,
        }
    }
}
