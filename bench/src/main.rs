//! `ringmq-bench`: load against a running cluster, and what it cost.
//!
//! - `produce`: how fast batches are acknowledged, and how long each takes; as fast as the window allows, or at a rate.
//! - `consume`: how fast what is stored can be read back.
//! - `soak`: hours of everything at once, restarts included, with every message checked and the server's memory watched.
//! - `run`: scenarios, servers started and driven in turn; `report`: one page of what came out.
//! - `limit`: what the machine can do without a broker; `null`: a server that forgets, to measure this generator with.
//! - `latency`: time from sending to acknowledgement and to delivery, at a rate, with readers attached.
//!
//! The generator speaks the wire protocol itself, on one task a connection: what it measures is the server, not a client
//! library. At a rate, times count from the moment at which a send was *due*, so a stall of the server is charged to
//! every send that it held up, not only to the one that waited (no coordinated omission).
#![forbid(unsafe_code)]

mod args;
mod cluster;
mod consume;
mod histogram;
mod latency;
#[cfg(target_os = "linux")]
mod limit;
mod machine;
mod native;
mod null;
mod outgoing;
mod payload;
#[cfg(feature = "any-peer")]
mod peers;
mod process;
mod produce;
mod progress;
mod protocol;
mod remoting;
mod report;
mod rig;
mod schedule;
mod sender;
mod server_usage;
mod soak;
mod socket;
mod spread;
mod ticker;
mod timeline;

use args::{Arguments, Command};
use clap::Parser;
use std::io::IsTerminal;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(arguments.threads())
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(run(&arguments)),
        Err(error) => Err(BenchError::Runtime(error)),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            report::complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// Runs and publishes; false if the run itself found something wrong.
async fn run(arguments: &Arguments) -> Result<bool, BenchError> {
    let (report, common) = match &arguments.command {
        Command::Produce(produce) => (produce::run(produce).await?, &produce.common),
        Command::Consume(consume) => (consume::run(consume).await?, &consume.common),
        Command::Latency(latency) => (latency::run(latency).await?, &latency.common),
        Command::Soak(soak) => return soak::run(soak).await,
        Command::Run(run) => return rig::run(run).await,
        Command::Report(report) => return rig::report(report).map(|()| true),
        Command::Null(null) => return off_the_runtime(null, null::run).await,
        #[cfg(target_os = "linux")]
        Command::Limit(limit) => return off_the_runtime(limit, limit::run).await,
    };
    report::publish(&report, common).map(|()| true)
}

/// Runs what has threads of its own.
async fn off_the_runtime<A: Clone + Send + 'static>(
    arguments: &A,
    run: impl FnOnce(&A) -> Result<(), BenchError> + Send + 'static,
) -> Result<bool, BenchError> {
    let arguments = arguments.clone();
    tokio::task::spawn_blocking(move || run(&arguments)).await??;
    Ok(true)
}

/// Why a run ended without a result.
#[derive(Debug, thiserror::Error)]
enum BenchError {
    #[error("cannot start the runtime: {0}")]
    Runtime(std::io::Error),
    #[error("{operation} {address}: {source}")]
    Io {
        operation: &'static str,
        address: String,
        source: std::io::Error,
    },
    #[error("{operation} {address}: the server refused: {code}: {message}")]
    Refused {
        operation: &'static str,
        address: String,
        code: String,
        message: String,
    },
    #[error("{operation} {address}: unexpected bytes: {what}")]
    Protocol {
        operation: &'static str,
        address: String,
        what: String,
    },
    #[error("{0}")]
    Cluster(String),
    #[error("cannot write {path}: {source}")]
    Json {
        path: String,
        source: std::io::Error,
    },
    #[error("a task of the load generator failed: {0}")]
    Task(#[from] tokio::task::JoinError),
}
