//! RingMQ's client library: producers, consumers, workers, administration. Runs on tokio; needs Rust 1.88.
//!
//! ```no_run
//! use ringmq::{Client, Message, StartAt};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::builder().namesrv(["127.0.0.1:9876"]).build().await?;
//!
//! let producer = client.producer().build();
//! let receipt = producer.send(Message::new("orders", "hello").key("order-17")).await?;
//! println!("queue {} offset {:?}", receipt.queue, receipt.offset);
//!
//! let mut consumer = client
//!     .consumer()
//!     .topic("orders")
//!     .group("audit")
//!     .start_at(StartAt::Earliest)
//!     .build()
//!     .await?;
//! while let Some(message) = consumer.next().await {
//!     let message = message?;
//!     println!("{:?}", message.body());
//!     message.ack();
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What you can rely on
//! - A message for which [`Producer::send`] returned `Ok` is on the broker's disk (with the default [`Acks::Durable`]).
//! - Messages of one producer to one queue are stored in the order of `enqueue`, each once, through refusals, lost
//!   connections and restarts of the broker. Where that cannot be settled before the deadline, [`SendError`] says so
//!   ([`SendError::maybe_stored`]) and gives the message back.
//! - A consumer sees what is on disk only, in order within each queue. Batches that do not match their checksums are
//!   reported as [`ErrorKind::Damaged`], never delivered and never skipped.
//! - With a group every message is delivered at least once: again after a crash, if it had not been acknowledged and
//!   committed. A queue is read by one member at a time, fenced by a lease at the queue's shard.
//! - Every operation has a deadline, and everything that is kept in memory has a bound.
//! - Any name server will do. While all are down, work goes on with the routes that are known.
//!
//! # Where things are
//! | | |
//! |---|---|
//! | [`Client`] | the connection to a cluster; everything starts here |
//! | [`Producer`], [`Message`], [`Receipt`], [`Delivery`], [`SendError`] | sending |
//! | [`Consumer`], [`Received`], [`ConsumerControl`] | reading |
//! | [`Worker`] | a handler for each message, several at a time, in order for each key |
//! | [`Admin`] | topics, groups, offsets, single messages, the cluster |
//!
//! Logs go through `tracing`, under the target `ringmq`.
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
