//! Other servers through their own well-kept client libraries, each behind a feature of its own.
//!
//! A connection has as many workers as there may be unanswered batches; each sends a batch and waits until the server
//! has acknowledged every message of it. Peers share the schedule, the window and the report with our own protocols.

#[cfg(feature = "iggy")]
mod iggy;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "redis")]
mod redis;

#[cfg(feature = "iggy")]
pub(crate) use self::iggy::Iggy;
#[cfg(feature = "kafka")]
pub(crate) use self::kafka::Kafka;
#[cfg(feature = "nats")]
pub(crate) use self::nats::Nats;
#[cfg(feature = "redis")]
pub(crate) use self::redis::Redis;

use crate::BenchError;
use crate::args::{Consume, Load, Produce};
use crate::histogram::Latencies;
use crate::payload;
use crate::produce::gather;
use crate::progress::{Counters, Progress};
use crate::report::{Report, Throughput};
use crate::schedule::{Schedule, Window};
use crate::sender::Sent;
use crate::server_usage;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Different bodies that are sent in turn.
const BODIES: usize = 64;

/// Where a connection goes, and what it carries.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) address: &'a str,
    pub(crate) topic: &'a str,
    /// The one that this connection writes to or reads from.
    pub(crate) queue: u32,
    /// Messages of a send.
    pub(crate) batch: u32,
}

/// A client of another server, on one connection. Clones share the connection.
pub(crate) trait Peer: Clone + Send + Sync + 'static {
    /// Where a reader is.
    type Cursor: Send + 'static;
    /// Whether a connection may have several sends unanswered. Where not, each worker has a connection of its own.
    const PIPELINES: bool = true;
    /// Connects, if the library does not wait with that until it is used.
    fn connect(place: &Place<'_>) -> impl Future<Output = Result<Self, BenchError>> + Send;
    /// Makes the topic with its queues, once for a run.
    fn create(&self, queues: u32) -> impl Future<Output = Result<(), BenchError>> + Send;
    /// Sends all of them and returns when all are acknowledged.
    fn send(&self, bodies: &[Bytes]) -> impl Future<Output = Result<(), BenchError>> + Send;
    /// A reader from the queue's start.
    fn open(&self) -> impl Future<Output = Result<Self::Cursor, BenchError>> + Send;
    /// Messages and bytes of the next read; no messages at the end.
    fn read(
        &self,
        cursor: &mut Self::Cursor,
    ) -> impl Future<Output = Result<(u64, u64), BenchError>> + Send;
}

/// What a worker needs.
#[derive(Debug, Clone)]
struct Work {
    bodies: Arc<Vec<Bytes>>,
    load: Load,
    schedule: Schedule,
    /// The connection's next send.
    next: Arc<AtomicU64>,
    window: Window,
    started: Instant,
    counters: Arc<Counters>,
}

/// `produce` against a peer.
pub(crate) async fn produce<P: Peer>(arguments: &Produce) -> Result<Report, BenchError> {
    let (common, load) = (&arguments.common, &arguments.load);
    let address = common.name_servers().next().unwrap_or_default();
    let place = |queue| Place {
        address,
        topic: &common.topic,
        queue,
        batch: load.batch,
    };
    P::connect(&place(0)).await?.create(common.queues).await?;
    let mut connections = Vec::new();
    for number in 0..common.connections {
        connections.push(connect::<P>(&place(number % common.queues), load.in_flight).await?);
    }
    let bodies = (0..BODIES).map(|_| Bytes::from(payload::body(load)));
    let bodies = Arc::new(bodies.collect::<Vec<_>>());
    let counters = Arc::new(Counters::default());
    let window = Window::new(common.warm_up, common.duration);
    let (started, lanes) = (Instant::now(), connections.len());
    let mut workers = JoinSet::new();
    for (number, of_workers) in connections.into_iter().enumerate() {
        let work = Work {
            bodies: bodies.clone(),
            load: load.clone(),
            schedule: arguments.rate.map_or_else(Schedule::unlimited, |rate| {
                Schedule::at_rate(rate / f64::from(load.batch), number, lanes)
            }),
            next: Arc::default(),
            window,
            started,
            counters: counters.clone(),
        };
        for connection in of_workers {
            workers.spawn(send(connection, work.clone()));
        }
    }
    let watch = server_usage::Watch::start(common, &[], started, window);
    let progress = Progress::show(&counters, window.end);
    let sent = gather(&mut workers).await?;
    drop(progress);
    let mut report = Report::new("produce", arguments, common.queues, lanes);
    report.throughput = Some(Throughput::new(sent.messages, sent.bytes, common.duration));
    report.enter(&sent, window, started.elapsed());
    let (server, generator) = watch.finish().await?;
    report.charge(server, generator);
    Ok(report)
}

/// What the workers of a connection send on: all on one, if that is how the library works.
async fn connect<P: Peer>(place: &Place<'_>, workers: u32) -> Result<Vec<P>, BenchError> {
    let mut all = vec![P::connect(place).await?];
    for _ in 1..workers {
        all.push(if P::PIPELINES {
            all[0].clone()
        } else {
            P::connect(place).await?
        });
    }
    Ok(all)
}

async fn send<P: Peer>(peer: P, work: Work) -> Result<Sent, BenchError> {
    let mut sent = Sent::nothing();
    let batch = work.load.batch as usize;
    let messages = u64::from(work.load.batch);
    loop {
        let number = work.next.fetch_add(1, Ordering::Relaxed);
        let due = work.schedule.due(number);
        if let Some(due) = due {
            tokio::time::sleep_until((work.started + due).into()).await;
        }
        let now = work.started.elapsed();
        if now >= work.window.end {
            return Ok(sent);
        }
        let at = number as usize * batch;
        let bodies: Vec<Bytes> = (at..at + batch)
            .map(|index| work.bodies[index % work.bodies.len()].clone())
            .collect();
        peer.send(&bodies).await?;
        let bytes = messages * u64::from(work.load.message_bytes);
        let answered = work.started.elapsed();
        sent.acknowledge(work.window, due.unwrap_or(now), answered, messages);
        work.counters.add(messages, bytes);
        if work.window.contains(answered) {
            sent.messages += messages;
            sent.bytes += bytes;
        }
    }
}

/// `consume` against a peer: every queue from its start, a reader each, at most as many as connections were asked for.
pub(crate) async fn consume<P: Peer>(arguments: &Consume) -> Result<Report, BenchError> {
    let common = &arguments.common;
    let address = common.name_servers().next().unwrap_or_default().to_owned();
    let readers = common.connections.min(common.queues);
    let window = Window::new(Duration::ZERO, common.duration);
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for reader in 0..readers {
        let queues: Vec<u32> = (reader..common.queues).step_by(readers as usize).collect();
        let (address, topic) = (address.clone(), common.topic.clone());
        tasks.spawn(async move {
            let mut read = (0, 0, Latencies::new());
            for queue in queues {
                let place = Place {
                    address: &address,
                    topic: &topic,
                    queue,
                    batch: 1,
                };
                let peer = P::connect(&place).await?;
                let mut cursor = peer.open().await?;
                while started.elapsed() < window.end {
                    let asked = Instant::now();
                    let (messages, bytes) = peer.read(&mut cursor).await?;
                    if messages == 0 {
                        break;
                    }
                    read.0 += messages;
                    read.1 += bytes;
                    read.2.record(asked.elapsed());
                }
            }
            Ok::<_, BenchError>(read)
        });
    }
    let watch = server_usage::Watch::start(common, &[], started, window);
    let (mut messages, mut bytes, mut times) = (0, 0, Latencies::new());
    while let Some(read) = tasks.join_next().await {
        let read = read??;
        messages += read.0;
        bytes += read.1;
        times.add(&read.2);
    }
    let mut report = Report::new("consume", arguments, common.queues, readers as usize);
    report.throughput = Some(Throughput::new(messages, bytes, started.elapsed()));
    report.messages_in_all = messages;
    report.fetch_round_trip = times.summary();
    let (server, generator) = watch.finish().await?;
    report.charge(server, generator);
    Ok(report)
}

/// An error of a client library.
fn failed(operation: &'static str, error: impl std::fmt::Display) -> BenchError {
    BenchError::Cluster(format!("{operation}: {error}"))
}
