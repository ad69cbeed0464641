//! `consume`: reads a topic, either what is stored or what comes.

use crate::BenchError;
use crate::args::Consume;
use crate::cluster::{self, Lane};
use crate::connection::Connection;
use crate::fetcher::{Fetcher, messages, offsets};
use crate::histogram::Latencies;
use crate::progress::{Counters, Progress};
use crate::report::{Report, Throughput};
use crate::schedule::Window;
use crate::server_usage;
use ringmq_wire::native::schema::OffsetAt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

struct Read {
    round_trips: Latencies,
    messages: u64,
    bytes: u64,
    finished: Duration,
}

pub(crate) async fn run(arguments: &Consume) -> Result<Report, BenchError> {
    let common = &arguments.common;
    let target = cluster::find(common, false).await?;
    let lanes = target.lanes(common.connections.min(target.queues));
    let counters = Arc::new(Counters::default());
    let window = if arguments.follow {
        Window::new(common.warm_up, common.duration)
    } else {
        Window::new(Duration::ZERO, common.duration)
    };
    let count = lanes.len();
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for lane in lanes {
        tasks.spawn(read(
            arguments.clone(),
            lane,
            window,
            started,
            counters.clone(),
        ));
    }
    let watch = server_usage::Watch::start(common, &target.addresses(), started, window);
    let progress = Progress::show(&counters, window.end);
    let mut all = Read {
        round_trips: Latencies::new(),
        messages: 0,
        bytes: 0,
        finished: Duration::ZERO,
    };
    while let Some(read) = tasks.join_next().await {
        let read = read??;
        all.round_trips.add(&read.round_trips);
        all.messages += read.messages;
        all.bytes += read.bytes;
        all.finished = all.finished.max(read.finished);
    }
    drop(progress);
    let measured = all.finished.min(window.end).saturating_sub(window.begin);
    let mut report = Report::new("consume", arguments, target.queues, count);
    report.throughput = Some(Throughput::new(all.messages, all.bytes, measured));
    report.fetch_round_trip = all.round_trips.summary();
    report.errors = counters.errors();
    (report.server, report.generator) = watch.finish().await?;
    Ok(report)
}

async fn read(
    arguments: Consume,
    lane: Lane,
    window: Window,
    started: Instant,
    counters: Arc<Counters>,
) -> Result<Read, BenchError> {
    let ends = {
        let mut connection = Connection::open(&lane.address).await?;
        offsets(&mut connection, &lane, OffsetAt::Latest).await?
    };
    let start = if arguments.follow {
        OffsetAt::Latest
    } else {
        OffsetAt::Earliest
    };
    let mut fetcher = Fetcher::open(&lane, start, arguments.fetch_bytes).await?;
    let mut read = Read {
        round_trips: Latencies::new(),
        messages: 0,
        bytes: 0,
        finished: Duration::ZERO,
    };
    loop {
        let at_end = !arguments.follow
            && ends
                .iter()
                .all(|(queue, end)| fetcher.next.get(queue).is_some_and(|at| at >= end));
        let asked = started.elapsed();
        if at_end || asked >= window.end {
            read.finished = asked;
            return Ok(read);
        }
        let fetched = fetcher.fetch().await?;
        let now = started.elapsed();
        let (mut count, mut bytes) = (0, 0);
        for batch in fetched.batches() {
            let counted = messages(batch, arguments.verify);
            count += counted.map_err(|error| BenchError::Protocol {
                operation: "read a batch from",
                address: lane.address.clone(),
                what: error.to_string(),
            })?;
            bytes += batch.len() as u64;
        }
        counters.add(count, bytes);
        if window.contains(now) {
            read.messages += count;
            read.bytes += bytes;
            if count > 0 {
                read.round_trips.record(now - asked);
            }
        }
    }
}
