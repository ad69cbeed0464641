//! `latency`: sends at a rate while readers follow; each batch says when it was due.

use crate::BenchError;
use crate::args::{Latency, Load, Protocol};
use crate::cluster::{self, Lane};
use crate::histogram::Latencies;
use crate::payload;
use crate::produce::gather;
use crate::progress::{Counters, Progress};
use crate::protocol::{Fetching, From, Look, Sending};
use crate::report::{Report, Throughput};
use crate::schedule::{Schedule, Window};
use crate::sender::{self, Plan};
use crate::server_usage;
use crate::{native, remoting};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::{Barrier, watch};
use tokio::task::JoinSet;

const FETCH_BYTES: u32 = 4 << 20;

pub(crate) async fn run(arguments: &Latency) -> Result<Report, BenchError> {
    match arguments.common.protocol {
        Protocol::Native => run_with::<native::Native, native::Fetcher>(arguments).await,
        Protocol::Remoting => run_with::<remoting::Remoting, remoting::Fetcher>(arguments).await,
        #[cfg(feature = "any-peer")]
        _ => Err(arguments.common.protocol.unsupported()),
    }
}

async fn run_with<S: Sending, F: Fetching>(arguments: &Latency) -> Result<Report, BenchError> {
    let (common, load) = (&arguments.common, &arguments.load);
    let target = cluster::find(common, cluster::Purpose::Write).await?;
    let send_lanes = target.lanes(common.connections);
    let read_lanes = target.lanes(common.connections.min(target.queues));
    let counters = Arc::new(Counters::default());
    let window = Window::new(common.warm_up, common.duration);
    let (count, readers) = (send_lanes.len(), read_lanes.len());

    // Readers take their place at the end of each queue before anything is sent.
    let ready = Arc::new(Barrier::new(readers + 1));
    let (done, sent_all) = watch::channel(false);
    let mut reading = JoinSet::new();
    let clock = Instant::now();
    let began = Arc::new(OnceLock::new());
    for lane in read_lanes {
        reading.spawn(follow::<F>(
            lane,
            window,
            clock,
            began.clone(),
            ready.clone(),
            sent_all.clone(),
        ));
    }
    tokio::select! {
        _ = ready.wait() => {}
        Some(early) = reading.join_next() => {
            early??;
            return Err(BenchError::Cluster("a reader ended before the first send".into()));
        }
    }
    let offset = *began.get_or_init(|| clock.elapsed());
    let started = Instant::now();
    let mut sending = JoinSet::new();
    for (number, lane) in send_lanes.into_iter().enumerate() {
        let plan = Plan {
            lane,
            schedule: Schedule::at_rate(arguments.rate / f64::from(load.batch), number, count),
            window,
            started,
            load: load.clone(),
        };
        sending.spawn(send::<S>(plan, counters.clone(), common.protocol, offset));
    }
    let usage = server_usage::Watch::start(common, &target.addresses(), started, window);
    let progress = Progress::show(&counters, window.end);
    let sent = gather(&mut sending).await?;
    done.send_replace(true);
    let mut delivered = Latencies::new();
    while let Some(read) = reading.join_next().await {
        delivered.add(&read??);
    }
    drop(progress);
    let mut report = Report::new("latency", arguments, target.queues, count);
    report.throughput = Some(Throughput::new(sent.messages, sent.bytes, common.duration));
    report.enter(&sent, window, started.elapsed());
    report.send_delay = sent.delayed.summary();
    report.delivered = delivered.summary();
    report.errors = counters.errors();
    let (server, generator) = usage.finish().await?;
    report.charge(server, generator);
    Ok(report)
}

/// Sends; stamps are on the readers' clock, which began `offset` before this lane's.
async fn send<S: Sending>(
    plan: Plan,
    counters: Arc<Counters>,
    protocol: Protocol,
    offset: Duration,
) -> Result<sender::Sent, BenchError> {
    let load: Load = plan.load.clone();
    let mut body = payload::body(&load);
    let next = |due: Duration| {
        let stamp = u64::try_from((offset + due).as_nanos()).unwrap_or(u64::MAX);
        payload::stamped(protocol, &load, &mut body, stamp)
    };
    sender::run::<S>(plan, counters, next).await
}

/// Reads until everything sent has had its chance to arrive.
async fn follow<F: Fetching>(
    lane: Lane,
    window: Window,
    clock: Instant,
    sending_began: Arc<OnceLock<Duration>>,
    ready: Arc<Barrier>,
    sent_all: watch::Receiver<bool>,
) -> Result<Latencies, BenchError> {
    let mut fetcher = F::open(&lane, From::End, FETCH_BYTES).await?;
    ready.wait().await;
    let mut delivered = Latencies::new();
    loop {
        // Asked before the fetch: an empty answer after the last send was acknowledged is the end.
        let last_round = *sent_all.borrow();
        let fetched = fetcher.fetch(Look::Stamps).await?;
        let now = clock.elapsed();
        // Before sending began there is nothing of this run.
        let began = sending_began.get().copied().unwrap_or(now);
        for due in &fetched.stamps {
            let sent_after = due.checked_sub(began);
            if sent_after.is_some_and(|after| window.contains(after)) {
                delivered.record(now.saturating_sub(*due));
            }
        }
        if last_round && fetched.messages == 0 {
            return Ok(delivered);
        }
    }
}
