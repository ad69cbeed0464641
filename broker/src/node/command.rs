//! What goes through the mailboxes between shards and the control plane.

use std::sync::Arc;
use std::time::Duration;

use ringmq_wire::codes::ErrorCode;
use ringmq_wire::native::schema::{
    GroupJoinResponseT, GroupMemberT, ShardStatusResponseT, SubscriptionT, TopicCreateResponseT,
    TopicRecordT,
};
use ringmq_wire::remoting::Command;

use crate::directory::clients::{ConnectionId, Heartbeat, ProducerListing};
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

/// Why a client did not answer a request of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The connection is closed, or closed before the answer came.
    #[error("the client's connection is closed")]
    Closed,
    #[error("the client did not answer in time")]
    TimedOut,
    /// Too many requests to that client are unanswered, or its shard has too much to do.
    #[error("too many requests to this client are unanswered; try again later")]
    Busy,
}

/// A client's answer: its header and its body.
pub type ClientAnswer = Result<(Command, Vec<u8>), CallError>;

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
    /// Send a request to the client of one of the shard's connections; without a reply, one that is not answered.
    CallClient {
        connection: u64,
        command: Command,
        body: Vec<u8>,
        reply: Option<(Duration, Reply<ClientAnswer>)>,
    },
    /// Tell these of the shard's connections that the members of a consumer group changed.
    ConsumersChanged {
        group: Arc<str>,
        connections: Vec<u64>,
    },
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
    /// A RocketMQ client's heartbeat that says something new; answered when all shards can see it.
    ClientRegister {
        beat: Heartbeat,
        reply: Reply<Result<(), ControlError>>,
    },
    /// A RocketMQ client's heartbeat that says nothing new.
    ClientBeat {
        connection: ConnectionId,
        consumers: Vec<Arc<str>>,
        producers: Vec<Arc<str>>,
    },
    /// A RocketMQ client leaves one group of each kind that is given.
    ClientUnregister {
        connection: ConnectionId,
        consumer_group: Option<String>,
        producer_group: Option<String>,
        reply: Reply<()>,
    },
    /// The connection of a RocketMQ client is gone.
    ClientClosed {
        connection: ConnectionId,
    },
    /// List the connections of RocketMQ producers with their last heartbeats.
    Producers {
        reply: Reply<Vec<ProducerListing>>,
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
