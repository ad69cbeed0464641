//! RingMQ's client library: producers, consumers, workers, administration. Runs on tokio.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod admin;
mod client;
mod consumer;
mod core;
mod error;
mod message;
mod name_servers;
mod producer;
mod route;
mod transport;
mod worker;

pub use admin::{
    Admin, ClusterStatus, FoundMessage, GroupDescription, GroupMember, GroupQueue, GroupSummary,
    OffsetSpec, QueueDescription, QueueReset, ShardState, ShardStatus, TopicDescription, TopicSpec,
    TopicSummary, TopicUpdate,
};
pub use client::{Client, ClientBuilder, DEFAULT_NAME_SERVER};
pub use consumer::{
    Assignment, Consumer, ConsumerBuilder, ConsumerControl, Queue, QueuePosition, Received, StartAt,
};
pub use error::{Error, ErrorKind, Refusal};
pub use message::Message;
pub use producer::{Acks, Compression, Delivery, Producer, ProducerBuilder, Receipt, SendError};
pub use ringmq_wire::codes::ErrorCode;
pub use worker::Worker;
