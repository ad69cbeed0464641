//! What a heartbeat says to the directory, and who says it.

use std::fmt;
use std::net::SocketAddr;

use ringmq_wire::remoting::Language;
use ringmq_wire::remoting::body::heartbeat::{
    ConsumeFrom, ConsumeType, MessageModel, Subscription,
};

/// A connection within the node: a shard's connections are numbered, never anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId {
    /// Index of the shard.
    pub shard: usize,
    pub number: u64,
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.shard, self.number)
    }
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientInfo {
    /// `ip@instance`; two processes may share one.
    pub client_id: Box<str>,
    pub address: SocketAddr,
    pub language: Language,
    /// Ordinal of the client's version.
    pub version: i32,
}

/// How a group consumes; the last heartbeat of any member decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConsumerSettings {
    pub consume_type: ConsumeType,
    pub message_model: MessageModel,
    pub consume_from: ConsumeFrom,
    /// Whether members are told of changes; a setting of the group, not of its clients.
    pub notify: bool,
}

/// One consumer group of a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerBeat {
    pub group: String,
    pub settings: ConsumerSettings,
    /// `None`: as sent before.
    pub subscriptions: Option<Vec<Subscription>>,
    /// Names the content of the last whole heartbeat; 0 if the client does not use it.
    pub fingerprint: i32,
}

/// A whole heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    pub connection: ConnectionId,
    pub client: ClientInfo,
    pub consumers: Vec<ConsumerBeat>,
    pub producers: Vec<String>,
}
