//! `soak`: hours of producers, group members that come and go, slow readers, retention and restarts, with every message
//! checked from end to end, and the broker's memory and descriptors watched.
//!
//! ```text
//!  producers ──▶ broker ──▶ members of one group ──▶ ledger: each offset and sequence once, none missing
//!      │           ▲  └───▶ slow readers: may miss only what retention took
//!      └─ answers ─┼──────▶ ledger
//!                  └─ restarts in the first half; samples of /proc all the time
//! ```

pub(crate) mod args;
mod body;
mod broker;
mod consuming;
mod ledger;
mod producing;
mod progress;
mod report;
mod sampling;

use crate::BenchError;
use args::Arguments;
use broker::{Broker, End};
use ledger::Ledger;
use progress::Progress;
use report::Report;
use ringmq::{Client, TopicSpec};
use sampling::{Flatness, Life, Sample};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Time between readings of memory and descriptors.
const SAMPLE_EVERY: Duration = Duration::from_secs(2);
/// How long the group may stand still when all is sent; it may be as slow as the machine is.
const DRAIN_PATIENCE: Duration = Duration::from_secs(120);

/// What all tasks of a run know.
#[derive(Debug)]
struct Run {
    /// Random; in every message, and in the names of topic and group.
    id: u64,
    topic: String,
    group: String,
    rate: u32,
    producers: u32,
    queues: u32,
    message_bytes: u32,
    ledger: Ledger,
}

/// Runs the soak and publishes its report; false if anything was found.
pub(crate) async fn run(arguments: &Arguments) -> Result<bool, BenchError> {
    let (mut broker, name_servers) = match (&arguments.broker, &arguments.data_dir) {
        (Some(program), Some(directory)) => {
            let (broker, namesrv) = Broker::start(program, directory, arguments).await?;
            (Some(broker), vec![namesrv])
        }
        _ => {
            let given = arguments.namesrv.iter().flat_map(|list| list.split(';'));
            (None, given.map(|a| a.trim().to_owned()).collect())
        }
    };
    let run = Arc::new(Run::new(arguments));
    let client = client(&name_servers).await?;
    let spec = TopicSpec::new(&run.topic, run.queues);
    client.admin().create_topic(&spec).await.map_err(refused)?;

    let started = Instant::now();
    let until = started + arguments.duration;
    let (stop, stopped) = watch::channel(false);
    let mut readers = JoinSet::new();
    for number in 0..arguments.members {
        let (run, client) = (Arc::clone(&run), self::client(&name_servers).await?);
        readers.spawn(consuming::member(run, client, number, stopped.clone()));
    }
    for _ in 0..arguments.slow_readers {
        let (run, client) = (Arc::clone(&run), self::client(&name_servers).await?);
        readers.spawn(consuming::slow(run, client, stopped.clone()));
    }
    let mut producers = JoinSet::new();
    for number in 0..arguments.producers {
        let (run, client) = (Arc::clone(&run), self::client(&name_servers).await?);
        producers.spawn(producing::run(run, client, number, until));
    }

    let watched = Watch {
        arguments,
        run: &run,
        started,
        lives: Vec::new(),
        samples: Vec::new(),
        own: Vec::new(),
        progress: Progress::default(),
    };
    let watched = watched.until_sent(&mut broker, &mut producers).await?;
    drain(&run.ledger).await;
    let _ = stop.send(true);
    while let Some(ended) = readers.join_next().await {
        ended?;
    }
    consuming::settle(&run, &client).await;
    run.ledger.close();
    let report = watched.report(&broker);
    if let Some(broker) = &mut broker {
        broker.end(End::Stopped).await?;
    } else if report.passed() {
        clean_up(&client, &run).await;
    }
    report.publish(arguments.json.as_deref())?;
    Ok(report.passed())
}

impl Run {
    fn new(arguments: &Arguments) -> Self {
        let id: u64 = rand::random();
        Self {
            id,
            topic: format!("soak-{id:016x}"),
            group: format!("soak-{id:016x}"),
            rate: arguments.rate,
            producers: arguments.producers,
            queues: arguments.queues,
            message_bytes: arguments.message_bytes,
            ledger: Ledger::new(arguments.queues, arguments.producers),
        }
    }
}

async fn client(name_servers: &[String]) -> Result<Client, BenchError> {
    let client = Client::builder().namesrv(name_servers.iter().cloned());
    client.build().await.map_err(refused)
}

fn refused(error: ringmq::Error) -> BenchError {
    BenchError::Cluster(error.to_string())
}

/// Waits until the group has seen everything, or gets nothing more: what is missing then does not come.
async fn drain(ledger: &Ledger) {
    let (mut delivered, mut moved) = (0, Instant::now());
    while !ledger.is_even() && moved.elapsed() < DRAIN_PATIENCE {
        let counts = ledger.counts();
        if counts.delivered > delivered {
            (delivered, moved) = (counts.delivered, Instant::now());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Time for what must not come any more.
    tokio::time::sleep(Duration::from_secs(1)).await;
}

/// A cluster that is not ours gets its topic and group removed; after a finding they stay, to be looked at.
async fn clean_up(client: &Client, run: &Run) {
    if let Err(error) = client.admin().delete_group(&run.group).await {
        tracing::warn!(%error, "the group stays");
    }
    if let Err(error) = client.admin().delete_topic(&run.topic).await {
        tracing::warn!(%error, "the topic stays");
    }
}

/// Restarts the broker and reads its numbers, until all producers have ended.
struct Watch<'a> {
    arguments: &'a Arguments,
    run: &'a Run,
    started: Instant,
    lives: Vec<Life>,
    /// Of the present life.
    samples: Vec<Sample>,
    /// Of this process.
    own: Vec<Sample>,
    /// Of the group.
    progress: Progress,
}

impl Watch<'_> {
    async fn until_sent(
        mut self,
        broker: &mut Option<Broker>,
        producers: &mut JoinSet<()>,
    ) -> Result<Self, BenchError> {
        let every = self.arguments.restart_every;
        let restarts_end = self.started + self.arguments.duration / 2;
        let mut restart_at = self.started + every;
        let mut ticks = tokio::time::interval(SAMPLE_EVERY);
        loop {
            tokio::select! {
                ended = producers.join_next() => match ended {
                    Some(ended) => ended?,
                    None => return Ok(self),
                },
                _ = ticks.tick() => self.sample(broker),
            }
            let Some(broker) = broker else { continue };
            if let Some(words) = broker.has_ended() {
                self.run.ledger.violation(words);
                self.end_life(broker, None);
                broker.again().await?;
            }
            let now = Instant::now();
            if !every.is_zero() && now >= restart_at && now < restarts_end {
                let how = if self.lives.len().is_multiple_of(2) {
                    End::Stopped
                } else {
                    End::Killed
                };
                self.end_life(broker, Some(how));
                broker.end(how).await?;
                broker.again().await?;
                restart_at = Instant::now() + every;
            }
        }
    }

    fn sample(&mut self, broker: &Option<Broker>) {
        let at_s = self.started.elapsed().as_secs_f64();
        let pid = match broker {
            Some(broker) => broker.pid(),
            None => self.arguments.server_pid,
        };
        self.samples
            .extend(pid.and_then(|pid| sampling::read(pid, at_s)));
        self.own.extend(sampling::read(std::process::id(), at_s));
        let counts = self.run.ledger.counts();
        self.progress.observe(at_s, &counts);
        if self.own.len().is_multiple_of(30) {
            tracing::info!(?counts, sample = ?self.samples.last(), own = ?self.own.last());
        }
    }

    fn end_life(&mut self, broker: &Broker, how: Option<End>) {
        let samples = std::mem::take(&mut self.samples);
        self.lives
            .push(Life::of(broker.pid().unwrap_or_default(), how, &samples));
    }

    fn report(mut self, broker: &Option<Broker>) -> Report {
        let flatness = Flatness::of(&self.samples);
        let pid = match broker {
            Some(broker) => broker.pid(),
            None => self.arguments.server_pid,
        };
        if let Some(pid) = pid {
            self.lives.push(Life::of(pid, None, &self.samples));
        }
        let own = Life::of(std::process::id(), None, &self.own);
        let own_flatness = Flatness::of(&self.own);
        let seconds = self.started.elapsed().as_secs_f64();
        Report::new(self.arguments, &self.run.ledger, seconds)
            .with_server(self.lives, flatness)
            .with_generator(own, own_flatness)
            .with_progress(self.progress)
    }
}
