//! `consume`: reads a topic, either what is stored or what comes.

use crate::BenchError;
use crate::args::{Consume, Protocol};
use crate::cluster::{self, Lane};
use crate::histogram::Latencies;
use crate::progress::{Counters, Progress};
use crate::protocol::{Fetching, From, Look};
use crate::report::{Report, Throughput};
use crate::schedule::Window;
use crate::server_usage;
use crate::{native, remoting};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

struct Read {
    round_trips: Latencies,
    messages: u64,
    messages_in_all: u64,
    bytes: u64,
    finished: Duration,
}

pub(crate) async fn run(arguments: &Consume) -> Result<Report, BenchError> {
    match arguments.common.protocol {
        Protocol::Native => run_with::<native::Fetcher>(arguments).await,
        Protocol::Remoting => run_with::<remoting::Fetcher>(arguments).await,
        #[cfg(feature = "iggy")]
        Protocol::Iggy => crate::peers::consume::<crate::peers::Iggy>(arguments).await,
        #[cfg(feature = "kafka")]
        Protocol::Kafka => crate::peers::consume::<crate::peers::Kafka>(arguments).await,
        #[cfg(feature = "nats")]
        Protocol::Nats => crate::peers::consume::<crate::peers::Nats>(arguments).await,
        #[cfg(feature = "redis")]
        Protocol::Redis => crate::peers::consume::<crate::peers::Redis>(arguments).await,
    }
}

async fn run_with<F: Fetching>(arguments: &Consume) -> Result<Report, BenchError> {
    let common = &arguments.common;
    let target = cluster::find(common, cluster::Purpose::Read).await?;
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
        tasks.spawn(read::<F>(
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
        messages_in_all: 0,
        bytes: 0,
        finished: Duration::ZERO,
    };
    while let Some(read) = tasks.join_next().await {
        let read = read??;
        all.round_trips.add(&read.round_trips);
        all.messages += read.messages;
        all.messages_in_all += read.messages_in_all;
        all.bytes += read.bytes;
        all.finished = all.finished.max(read.finished);
    }
    drop(progress);
    let measured = all.finished.min(window.end).saturating_sub(window.begin);
    let mut report = Report::new("consume", arguments, target.queues, count);
    report.throughput = Some(Throughput::new(all.messages, all.bytes, measured));
    report.messages_in_all = all.messages_in_all;
    report.fetch_round_trip = all.round_trips.summary();
    report.errors = counters.errors();
    let (server, generator) = watch.finish().await?;
    report.charge(server, generator);
    Ok(report)
}

async fn read<F: Fetching>(
    arguments: Consume,
    lane: Lane,
    window: Window,
    started: Instant,
    counters: Arc<Counters>,
) -> Result<Read, BenchError> {
    let ends = F::ends(&lane).await?;
    let from = if arguments.follow {
        From::End
    } else {
        From::Start
    };
    let look = Look::of(&arguments);
    let mut fetcher = F::open(&lane, from, arguments.fetch_bytes).await?;
    let mut read = Read {
        round_trips: Latencies::new(),
        messages: 0,
        messages_in_all: 0,
        bytes: 0,
        finished: Duration::ZERO,
    };
    loop {
        let at_end = !arguments.follow
            && ends
                .iter()
                .all(|(queue, end)| fetcher.next().get(queue).is_some_and(|at| at >= end));
        let asked = started.elapsed();
        if at_end || asked >= window.end {
            read.finished = asked;
            return Ok(read);
        }
        let fetched = fetcher.fetch(look).await?;
        let now = started.elapsed();
        let (count, bytes) = (fetched.messages, fetched.bytes);
        counters.add(count, bytes);
        read.messages_in_all += count;
        if window.contains(now) {
            read.messages += count;
            read.bytes += bytes;
            if count > 0 {
                read.round_trips.record(now - asked);
            }
        }
    }
}
