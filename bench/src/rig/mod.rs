//! The rig: scenarios run against servers in turn, and the report of what came out.
//!
//! - `run` starts each server of a scenario, drives it with the other commands of this program as processes of their
//!   own, stops it, goes on with the next server, and repeats that round by round, so that a drift of the machine meets
//!   all alike. What it ran is in the results as command lines that anybody can repeat.
//! - `report` makes one HTML page and a Markdown table of the results.

mod charts;
mod claims;
mod html;
mod markdown;
mod marks;
mod outcome;
mod play;
mod scenario;
mod server;

use crate::BenchError;
use clap::Args;
use outcome::Outcome;
use scenario::{Kind, Scenario};
use server::Places;
use std::path::{Path, PathBuf};

/// Parameters of `run`.
#[derive(Debug, Clone, Args)]
pub(crate) struct RunArguments {
    /// Scenario files
    #[arg(required = true, value_name = "SCENARIO.toml")]
    scenarios: Vec<PathBuf>,
    /// Only these servers; without it, all that the scenarios name
    #[arg(long, value_enum, value_delimiter = ',')]
    target: Vec<Kind>,
    /// Rounds, instead of what the scenarios say
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// Where the results go, one file a scenario
    #[arg(long, value_name = "DIR", default_value = "bench-results")]
    results: PathBuf,
    /// Where servers keep their data; removed after each round. Without it, a directory beside this program
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// RingMQ's broker; without it, the one beside this program
    #[arg(long, value_name = "PROGRAM")]
    ringmq_broker: Option<PathBuf>,
    #[arg(long, value_name = "PROGRAM", default_value = "redis-server")]
    redis_server: PathBuf,
    #[arg(long, value_name = "PROGRAM", default_value = "nats-server")]
    nats_server: PathBuf,
    #[arg(long, value_name = "PROGRAM", default_value = "iggy-server")]
    iggy_server: PathBuf,
    /// Kafka's distribution, unpacked
    #[arg(long, value_name = "DIR")]
    kafka_dir: Option<PathBuf>,
    /// A server that runs already, for all entrants: name server, or the server itself where there is none
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<String>,
    /// Name server of a RocketMQ broker with SYNC_FLUSH that runs already
    #[arg(long, value_name = "HOST:PORT")]
    rocketmq_sync: Option<String>,
    /// Name server of a RocketMQ broker with ASYNC_FLUSH that runs already
    #[arg(long, value_name = "HOST:PORT")]
    rocketmq_async: Option<String>,
}

/// Parameters of `report`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ReportArguments {
    /// Where `run` left its results
    results: PathBuf,
    /// Where the page and the table go: report.html and report.md; without it, beside the results
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Runs the scenarios one after the other; false if RingMQ lost a message or could not be measured.
pub(crate) async fn run(arguments: &RunArguments) -> Result<bool, BenchError> {
    let scenarios: Result<Vec<_>, String> = arguments
        .scenarios
        .iter()
        .map(|p| load(p, arguments))
        .collect();
    let scenarios = scenarios.map_err(BenchError::Cluster)?;
    let places = arguments.places()?;
    let mut good = true;
    for scenario in scenarios {
        let outcome = play::play(scenario, &places).await;
        outcome.save(&arguments.results)?;
        good &= play::is_good(&outcome);
    }
    // Other runs may use the directory.
    let _ = std::fs::remove_dir(&places.data_dir);
    Ok(good)
}

fn load(path: &Path, arguments: &RunArguments) -> Result<Scenario, String> {
    let mut scenario = Scenario::load(path)?;
    if !arguments.target.is_empty() {
        scenario
            .entrants
            .retain(|entrant| arguments.target.contains(&entrant.server));
    }
    scenario.rounds = arguments.rounds.unwrap_or(scenario.rounds);
    Ok(scenario)
}

/// Makes the page and the table.
pub(crate) fn report(arguments: &ReportArguments) -> Result<(), BenchError> {
    let outcomes = outcomes(&arguments.results)?;
    let out = arguments.out.as_ref().unwrap_or(&arguments.results);
    let save = |name: &str, text: String| {
        let path = out.join(name);
        std::fs::write(&path, text).map_err(|source| BenchError::Json {
            path: path.display().to_string(),
            source,
        })
    };
    let table = markdown::table(&outcomes);
    save("report.html", html::page(&outcomes)?)?;
    save("report.md", table.clone())?;
    crate::report::print(&table)
}

/// All results of a directory, by target.
fn outcomes(directory: &Path) -> Result<Vec<Outcome>, BenchError> {
    let failed = |why: String| BenchError::Cluster(format!("{}: {why}", directory.display()));
    let entries = std::fs::read_dir(directory).map_err(|error| failed(error.to_string()))?;
    let paths = entries.flatten().map(|entry| entry.path());
    let mut outcomes = paths
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
        .map(|path| Outcome::load(&path))
        .collect::<Result<Vec<_>, _>>()?;
    if outcomes.is_empty() {
        return Err(failed("there are no results".to_owned()));
    }
    outcomes.sort_by(|a, b| {
        let key = |o: &Outcome| (o.scenario.target, o.scenario.name.clone());
        key(a).cmp(&key(b))
    });
    Ok(outcomes)
}

impl RunArguments {
    fn places(&self) -> Result<Places, BenchError> {
        let this = std::env::current_exe().map_err(|source| BenchError::Io {
            operation: "find",
            address: "this program".into(),
            source,
        })?;
        let beside = this.parent().unwrap_or(Path::new(".")).to_owned();
        let data = format!("ringmq-bench-data-{}", std::process::id());
        Ok(Places {
            ringmq_broker: self
                .ringmq_broker
                .clone()
                .unwrap_or_else(|| beside.join("ringmq-broker")),
            redis_server: self.redis_server.clone(),
            nats_server: self.nats_server.clone(),
            iggy_server: self.iggy_server.clone(),
            kafka_dir: self.kafka_dir.clone(),
            address: self.address.clone(),
            rocketmq_sync: self.rocketmq_sync.clone(),
            rocketmq_async: self.rocketmq_async.clone(),
            data_dir: self.data_dir.clone().unwrap_or_else(|| beside.join(data)),
            this,
        })
    }
}
