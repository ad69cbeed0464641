//! `ringmq-namesrv`: arguments, configuration, signals around [`ringmq_namesrv::Server`].
#![forbid(unsafe_code)]

use clap::{Parser, ValueEnum};
use ringmq_namesrv::{Config, FileConfig, Server};
use std::io::IsTerminal;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// RingMQ's name server: tells clients which shard serves which queue.
///
/// Everything is kept in memory; run as many as you like side by side and give brokers and clients all of them.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Address to listen on [default: 0.0.0.0]
    #[arg(long, value_name = "ADDR", env = "RINGMQ_NAMESRV_LISTEN")]
    listen: Option<IpAddr>,
    /// Port to listen on; 0 picks a free one [default: 9876]
    #[arg(long, env = "RINGMQ_NAMESRV_PORT")]
    port: Option<u16>,
    /// TOML file with further settings; flags go before it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// File for the pairs that RocketMQ's tools set; without it they are kept until the server stops
    #[arg(long, value_name = "FILE")]
    kv_file: Option<PathBuf>,
    /// How log lines are written to stderr; RUST_LOG filters them
    #[arg(long, value_enum, default_value_t = LogFormat::Human)]
    log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    Human,
    Json,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    log_to_stderr(arguments.log_format);
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(error.as_ref());
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let mut config = Config::default();
    if let Some(path) = &arguments.config {
        FileConfig::read(path)?.apply(&mut config);
    }
    if let Some(ip) = arguments.listen {
        config.listen.set_ip(ip);
    }
    if let Some(port) = arguments.port {
        config.listen.set_port(port);
    }
    config.kv_file = arguments.kv_file.or(config.kv_file);
    config.check()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(config))
}

async fn serve(config: Config) -> Result<(), Box<dyn std::error::Error>> {
    let listen = config.listen;
    let shutdown = shutdown_signal()?;
    let server = Server::bind(config)
        .await
        .map_err(|error| format!("cannot listen on {listen}: {error}"))?;
    announce(&format!("ready namesrv={}", server.local_addr()?));
    server.run(shutdown).await;
    Ok(())
}

/// Completes at SIGTERM or SIGINT; the handlers are in place when this returns.
#[cfg(unix)]
fn shutdown_signal() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

#[cfg(not(unix))]
fn shutdown_signal() -> std::io::Result<impl Future<Output = ()>> {
    Ok(async {
        if let Err(error) = tokio::signal::ctrl_c().await {
            tracing::error!(%error, "cannot listen for Ctrl-C");
            std::future::pending::<()>().await;
        }
    })
}

fn log_to_stderr(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Human => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
}

#[allow(
    clippy::print_stdout,
    reason = "the ready line is this program's output"
)]
fn announce(line: &str) {
    println!("{line}");
}

#[allow(
    clippy::print_stderr,
    reason = "the last words of a program that cannot start"
)]
fn report(error: &(dyn std::error::Error + 'static)) {
    eprintln!("ringmq-namesrv: {error}");
}
