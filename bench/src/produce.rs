//! `produce`: batches made beforehand, sent as fast as the window allows or at a rate.

use crate::BenchError;
use crate::args::{Produce, Protocol};
use crate::cluster;
use crate::native::Native;
use crate::payload;
use crate::progress::{Counters, Progress};
use crate::protocol::Sending;
use crate::remoting::Remoting;
use crate::report::{Report, Throughput};
use crate::schedule::{Schedule, Window};
use crate::sender::{self, Plan, Sent};
use crate::server_usage;
use std::sync::Arc;
use std::time::Instant;
use tokio::task::JoinSet;

pub(crate) async fn run(arguments: &Produce) -> Result<Report, BenchError> {
    match arguments.common.protocol {
        Protocol::Native => run_with::<Native>(arguments).await,
        Protocol::Remoting => run_with::<Remoting>(arguments).await,
        #[cfg(feature = "iggy")]
        Protocol::Iggy => crate::peers::produce::<crate::peers::Iggy>(arguments).await,
        #[cfg(feature = "kafka")]
        Protocol::Kafka => crate::peers::produce::<crate::peers::Kafka>(arguments).await,
        #[cfg(feature = "nats")]
        Protocol::Nats => crate::peers::produce::<crate::peers::Nats>(arguments).await,
        #[cfg(feature = "redis")]
        Protocol::Redis => crate::peers::produce::<crate::peers::Redis>(arguments).await,
    }
}

async fn run_with<S: Sending>(arguments: &Produce) -> Result<Report, BenchError> {
    let (common, load) = (&arguments.common, &arguments.load);
    let target = cluster::find(common, cluster::Purpose::Write).await?;
    let lanes = target.lanes(common.connections);
    let batches = Arc::new(payload::prebuilt(common.protocol, load)?);
    let counters = Arc::new(Counters::default());
    let window = Window::new(common.warm_up, common.duration);
    let count = lanes.len();
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for (number, lane) in lanes.into_iter().enumerate() {
        let schedule = arguments.rate.map_or_else(Schedule::unlimited, |rate| {
            Schedule::at_rate(rate / f64::from(load.batch), number, count)
        });
        let plan = Plan {
            lane,
            schedule,
            window,
            started,
            load: load.clone(),
        };
        let (counters, batches) = (counters.clone(), batches.clone());
        tasks.spawn(async move {
            let mut turn = number;
            let next = |_| {
                turn += 1;
                Ok(batches[turn % batches.len()].clone())
            };
            sender::run::<S>(plan, counters, next).await
        });
    }
    let watch = server_usage::Watch::start(common, &target.addresses(), started, window);
    let progress = Progress::show(&counters, window.end);
    let sent = gather(&mut tasks).await?;
    drop(progress);
    let mut report = Report::new("produce", arguments, target.queues, count);
    report.throughput = Some(Throughput::new(sent.messages, sent.bytes, common.duration));
    report.enter(&sent, window, started.elapsed());
    report.send_delay = arguments.rate.and_then(|_| sent.delayed.summary());
    report.errors = counters.errors();
    let (server, generator) = watch.finish().await?;
    report.charge(server, generator);
    Ok(report)
}

/// All lanes together; the first failure ends the run.
pub(crate) async fn gather(
    tasks: &mut JoinSet<Result<Sent, BenchError>>,
) -> Result<Sent, BenchError> {
    let mut all = Sent::nothing();
    while let Some(sent) = tasks.join_next().await {
        all.add(&sent??);
    }
    Ok(all)
}
