//! `ringmq`: the command line of RingMQ, for people and for scripts.
//!
//! - Data goes to stdout; progress, remarks and errors go to stderr. Only [`output`] writes to either.
//! - Exit codes: 0 done, 1 failed, 2 wrong usage. A closed pipe ends the program quietly with 0.
//! - Everything is asked of the client library; there is no protocol here.
#![forbid(unsafe_code)]

mod args;
mod cluster;
mod consume;
mod error;
mod groups;
mod json;
mod lines;
mod messages;
mod output;
mod produce;
mod stop;
mod time;
mod topics;
mod values;

use args::{Arguments, Command};
use clap::{CommandFactory, Parser};
use error::CliError;
use output::Output;
use ringmq::Client;
use std::io::IsTerminal;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("error"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    let output = Output;
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|source| CliError::Local {
            what: "start the runtime".into(),
            source,
        })
        .and_then(|runtime| {
            let outcome = runtime.block_on(run(arguments, &output));
            // A read from a terminal cannot be cancelled and must not hold the program up.
            runtime.shutdown_background();
            outcome
        });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(CliError::ClosedPipe) => ExitCode::SUCCESS,
        Err(error) => {
            output.complain(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

async fn run(arguments: Arguments, output: &Output) -> Result<(), CliError> {
    if let Command::Completions { shell } = arguments.command {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Arguments::command(), "ringmq", &mut script);
        return output.data(&script);
    }
    let addresses = arguments.name_servers();
    let client = Client::builder()
        .namesrv(addresses)
        .request_timeout(arguments.request_timeout)
        .build()
        .await?;
    match arguments.command {
        Command::Topic(command) => topics::run(&client.admin(), command, output).await,
        Command::Group(command) => groups::run(&client.admin(), command, output).await,
        Command::Message(command) => messages::run(&client.admin(), command, output).await,
        Command::Cluster(command) => cluster::run(&client.admin(), command, output).await,
        Command::Produce(produce) => produce::run(&client, produce, output).await,
        Command::Consume(consume) => consume::run(&client, consume, output).await,
        Command::Completions { .. } => Ok(()),
    }
}
