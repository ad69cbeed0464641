//! Runs simulated clusters for as long as asked, one seed after the other, and replays the one that fails.

use clap::Parser;
use ringmq_broker::sim::{Failure, Report, run};
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// How often progress is shown.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);
/// Lines of a failure's story that are shown; all of them go to a file.
const STORY_LINES: usize = 60;

#[derive(Parser)]
#[command(about = "Simulated clusters of brokers, under faults, from seeds")]
struct Args {
    /// How long to run; without it the one seed is run and its story is told.
    #[arg(long)]
    seconds: Option<u64>,
    /// The first seed; the time of day if it is not given.
    #[arg(long)]
    seed: Option<u64>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    // What the shards log, if RUST_LOG asks for it.
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::OFF.into());
    let log = tracing_subscriber::fmt().with_env_filter(filter.from_env_lossy());
    log.init();
    let started = Instant::now();
    let seed = args.seed.unwrap_or_else(seed_of_the_day);
    let outcome = match args.seconds {
        Some(seconds) => run_for(seed, Duration::from_secs(seconds), started),
        None => tell(seed),
    };
    match outcome {
        Ok(passed) if passed => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        // Nobody reads what we say.
        Err(_) => ExitCode::FAILURE,
    }
}

fn seed_of_the_day() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(1, |since| since.as_secs() % 1_000_000_000 * 1_000)
}

fn run_for(first: u64, limit: Duration, started: Instant) -> io::Result<bool> {
    let mut out = io::stdout();
    let mut total = Total::default();
    let mut shown = started;
    for seed in first.. {
        match run(seed, false) {
            Ok(report) => total.add(&report),
            Err(failure) => {
                writeln!(out, "seed {seed} failed: {}", failure.message)?;
                return tell(seed);
            }
        }
        if shown.elapsed() >= PROGRESS_EVERY || started.elapsed() >= limit {
            shown = Instant::now();
            total.show(&mut out, started.elapsed())?;
        }
        if started.elapsed() >= limit {
            break;
        }
    }
    Ok(true)
}

/// Runs one seed and says what happened; false if it failed.
fn tell(seed: u64) -> io::Result<bool> {
    let mut out = io::stdout();
    match run(seed, true) {
        Ok(report) => {
            writeln!(out, "seed {seed} keeps all promises: {report:#?}")?;
            Ok(true)
        }
        Err(failure) => {
            explain(&mut out, &failure)?;
            Ok(false)
        }
    }
}

fn explain(out: &mut impl Write, failure: &Failure) -> io::Result<()> {
    let Failure {
        seed,
        message,
        story,
    } = failure;
    let file = std::env::temp_dir().join(format!("ringmq-sim-{seed}.txt"));
    std::fs::write(&file, story.join("\n"))?;
    for line in story.iter().rev().take(STORY_LINES).rev() {
        writeln!(out, "{line}")?;
    }
    writeln!(out, "seed {seed}: {message}")?;
    writeln!(out, "the whole story is in {}", file.display())?;
    writeln!(
        out,
        "replay: cargo run -p ringmq-broker --features sim --bin sim -- --seed {seed}"
    )
}

/// Sums over all seeds.
#[derive(Default)]
struct Total {
    seeds: u64,
    virtual_time: Duration,
    faults: u64,
    power_cuts: u64,
    kills: u64,
    logs_stopped: u64,
    connections_broken: u64,
    topics_changed: u64,
    messages: [u64; 4],
}

impl Total {
    fn add(&mut self, report: &Report) {
        let counts = &report.counts;
        let broken = counts.connections_cut + counts.connections_half_opened;
        self.seeds += 1;
        self.virtual_time += report.virtual_time;
        self.power_cuts += counts.power_cuts;
        self.kills += counts.kills;
        self.logs_stopped += counts.logs_stopped;
        self.connections_broken += broken;
        self.topics_changed += counts.topics_deleted + counts.topics_grown;
        self.topics_changed += counts.topics_made_by_nodes + counts.topics_made_by_messages;
        self.faults += counts.power_cuts + counts.kills + counts.disk_faults + counts.disks_full;
        self.faults += counts.slow_disks + counts.name_server_restarts + counts.clock_jumps;
        self.faults += broken;
        for (sum, part) in self.messages.iter_mut().zip(report.messages) {
            *sum += part;
        }
    }

    fn show(&self, out: &mut impl Write, elapsed: Duration) -> io::Result<()> {
        let per_s = self.seeds as f64 / elapsed.as_secs_f64();
        let [acknowledged, delivered, duplicates, commits] = self.messages;
        writeln!(
            out,
            "{} seeds, {per_s:.1} a second, {} s simulated; {} faults ({} power cuts, {} kills, {} logs stopped, \
             {} connections broken), {} topics deleted, grown or made by nodes; {acknowledged} messages acknowledged, {delivered} delivered, {duplicates} \
             batches repeated, {commits} commits",
            self.seeds,
            self.virtual_time.as_secs(),
            self.faults,
            self.power_cuts,
            self.kills,
            self.logs_stopped,
            self.connections_broken,
            self.topics_changed,
        )
    }
}
