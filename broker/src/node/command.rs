//! What goes through the mailboxes between shards and the control plane.

use ringmq_wire::codes::ErrorCode;
use ringmq_wire::native::schema::{
    GroupJoinResponseT, GroupMemberT, ShardStatusResponseT, SubscriptionT, TopicCreateResponseT,
    TopicRecordT,
};

use crate::metrics::ShardMetrics;

/// Where one answer goes. The asker may have given up; that is no error of the answerer.
#[derive(Debug)]
pub struct Reply<T>(flume::Sender<T>);

impl<T> Reply<T> {
    /// Answers.
    pub fn send(self, answer: T) {
        // There is room for the one answer; a closed channel means that nobody waits any more.
        let _ = self.0.try_send(answer);
    }
}

/// A place for one answer and the end to wait at.
pub fn reply<T>() -> (Reply<T>, flume::Receiver<T>) {
    let (sender, receiver) = flume::bounded(1);
    (Reply(sender), receiver)
}

/// Why the control plane, or a shard asked by it, refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ControlError {
    /// What the client is told.
    pub code: ErrorCode,
    /// What happened, to what, and what to do.
    pub message: String,
}

impl ControlError {
    /// Any refusal.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
    /// A mailbox is full.
    pub fn busy(whose: &str) -> Self {
        Self::new(
            ErrorCode::Busy,
            format!("{whose} has too much to do; try again later"),
        )
    }
    /// The other side is gone.
    pub fn stopping() -> Self {
        Self::new(ErrorCode::Stopping, "the broker is stopping")
    }
}

/// What a shard is asked from outside its executor. Handled in order by one task of the shard, which spawns what
/// takes time; every reply may be dropped when the shard stops.
#[derive(Debug)]
pub enum ShardCommand {
    /// Create this shard's share of the topic, as a `TopicCreate` request with that placement would; answered when
    /// durable. An existing topic of another incarnation is `TopicExists`, of the same one is completed.
    TopicCreateShare {
        topic: TopicRecordT,
        reply: Reply<Result<TopicCreateResponseT, ControlError>>,
    },
    /// Numbers for `/metrics`.
    Metrics { reply: Reply<Box<ShardMetrics>> },
    /// What `ShardStatus` answers.
    Status { reply: Reply<ShardStatusResponseT> },
    /// From now on refuse (false) or accept new messages; reads go on.
    SetWritable(bool),
    /// Stop accepting, answer what is under way, flush, write a snapshot, answer, and end the executor.
    Stop { reply: Reply<Result<(), String>> },
}

/// A membership to be made or refreshed.
#[derive(Debug, Clone)]
pub struct Join {
    pub group: String,
    pub member: String,
    /// Peer address of the member's connection, for listings.
    pub client_address: String,
    pub subscriptions: Vec<SubscriptionT>,
    /// Silent for longer than this: dropped. Clamped to the node's bounds.
    pub session_timeout_ms: u32,
}

/// What the control task is asked.
#[derive(Debug)]
pub enum ControlCommand {
    Join {
        join: Join,
        reply: Reply<Result<GroupJoinResponseT, ControlError>>,
    },
    Heartbeat {
        group: String,
        member: String,
    },
    Leave {
        group: String,
        member: String,
        reply: Reply<()>,
    },
    Members {
        group: String,
        reply: Reply<(u64, Vec<GroupMemberT>)>,
    },
    CreateTopic {
        topic: TopicRecordT,
        reply: Reply<Result<TopicCreateResponseT, ControlError>>,
    },
    /// Answer when all reachable name servers hold this version of the shard's shares.
    Registered {
        shard: usize,
        version: u64,
        reply: Reply<Result<(), ControlError>>,
    },
}
