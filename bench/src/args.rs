//! The command line. Every parameter is also in the JSON report.

use clap::{Args, Parser, Subcommand, ValueEnum};
use ringmq_wire::native::schema;
use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;

/// Load against a running RingMQ cluster.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Sends batches and measures acknowledgements
    Produce(Produce),
    /// Reads a topic and measures the rate
    Consume(Consume),
    /// Measures the time to acknowledgement and to delivery at a fixed rate
    Latency(Latency),
    /// Measures what the machine can do without a broker
    #[cfg(target_os = "linux")]
    Limit(crate::limit::args::Arguments),
    /// Serves as a broker that acknowledges and stores nothing: the load generator's own ceiling
    Null(crate::null::Arguments),
    /// Runs scenarios: starts servers, drives them in turn, writes what came out
    Run(crate::rig::RunArguments),
    /// Makes one page and a table of what `run` left
    Report(crate::rig::ReportArguments),
    /// Sends, reads, restarts for a long time and checks every message
    Soak(crate::soak::args::Arguments),
}

#[derive(Debug, Clone, Args, Serialize)]
pub(crate) struct Common {
    /// RingMQ's own protocol, or RocketMQ's; with that one any RocketMQ cluster can be measured
    #[arg(long, value_enum, default_value_t = Protocol::Native)]
    pub(crate) protocol: Protocol,
    /// Name servers, host:port, separated by commas or semicolons
    #[arg(
        long,
        env = "RINGMQ_NAMESRV",
        default_value = "127.0.0.1:9876",
        value_delimiter = ','
    )]
    pub(crate) namesrv: Vec<String>,
    /// Shards, host:port, instead of name servers: the topic's queues are dealt to them by number and taken to be there
    #[arg(long, value_delimiter = ',', value_name = "ADDRESS")]
    pub(crate) shard: Vec<String>,
    /// Topic; made if it does not exist (except by consume)
    #[arg(long, default_value = "bench")]
    pub(crate) topic: String,
    /// Queues of the topic if it is made now
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) queues: u32,
    /// Connections over all shards, at least one a shard
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) connections: u32,
    /// Measured time
    #[arg(long, default_value = "10s", value_parser = duration)]
    #[serde(serialize_with = "seconds")]
    pub(crate) duration: Duration,
    /// Time before measuring
    #[arg(long, default_value = "2s", value_parser = duration)]
    #[serde(serialize_with = "seconds")]
    pub(crate) warm_up: Duration,
    /// Threads of the load generator
    #[arg(long, default_value_t = 1, value_parser = threads)]
    pub(crate) threads: usize,
    /// Server processes to account for; without it, local processes that listen on the shards' ports
    #[arg(long, value_name = "PID")]
    pub(crate) server_pid: Vec<u32>,
    /// Write parameters and results to this file; "-" is stdout
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub(crate) json: Option<PathBuf>,
}

#[derive(Debug, Clone, Args, Serialize)]
pub(crate) struct Load {
    /// Bytes of a message body
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(8..=4_194_304))]
    pub(crate) message_bytes: u32,
    /// Messages in a batch
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) batch: u32,
    /// Unanswered batches a connection
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) in_flight: u32,
    /// When the server answers
    #[arg(long, value_enum, default_value_t = Acks::Durable)]
    pub(crate) acks: Acks,
    /// Compression of batches
    #[arg(long, value_enum, default_value_t = Compression::None)]
    pub(crate) compression: Compression,
    /// Share of a body that is random; the rest repeats, for compression
    #[arg(long, default_value_t = 1.0, value_parser = share)]
    pub(crate) random_share: f64,
}

#[derive(Debug, Clone, Args, Serialize)]
pub(crate) struct Produce {
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) load: Load,
    /// Messages a second over all connections (open loop); without it, as fast as the window allows
    #[arg(long, value_parser = rate)]
    pub(crate) rate: Option<f64>,
}

#[derive(Debug, Clone, Args, Serialize)]
pub(crate) struct Consume {
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) common: Common,
    /// Bytes of one fetch answer
    #[arg(long, default_value_t = 4 << 20, value_parser = clap::value_parser!(u32).range(4096..=33_554_432))]
    pub(crate) fetch_bytes: u32,
    /// Begin at the end and wait for new messages until the time is up; without it, begin at the start and stop at
    /// the end seen there
    #[arg(long)]
    pub(crate) follow: bool,
    /// Check every checksum
    #[arg(long)]
    pub(crate) verify: bool,
}

#[derive(Debug, Clone, Args, Serialize)]
pub(crate) struct Latency {
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) load: Load,
    /// Messages a second over all connections
    #[arg(long, default_value = "1000", value_parser = rate)]
    pub(crate) rate: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Protocol {
    Native,
    Remoting,
    /// Iggy over TCP; `--namesrv` is the server
    #[cfg(feature = "iggy")]
    Iggy,
    /// Kafka; `--namesrv` is a broker
    #[cfg(feature = "kafka")]
    Kafka,
    /// NATS JetStream; `--namesrv` is the server
    #[cfg(feature = "nats")]
    Nats,
    /// Redis streams; `--namesrv` is the server
    #[cfg(feature = "redis")]
    Redis,
}

#[cfg(feature = "any-peer")]
impl Protocol {
    /// For what the drivers of other servers do not do.
    pub(crate) fn unsupported(self) -> crate::BenchError {
        crate::BenchError::Cluster(format!(
            "{self:?} can be driven by produce and consume only"
        ))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Acks {
    Durable,
    Received,
    None,
}

impl From<Acks> for schema::Acks {
    fn from(acks: Acks) -> Self {
        match acks {
            Acks::Durable => Self::Durable,
            Acks::Received => Self::Received,
            Acks::None => Self::None,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Compression {
    None,
    Lz4,
    Zstd,
}

impl From<Compression> for ringmq_wire::batch::Compression {
    fn from(compression: Compression) -> Self {
        match compression {
            Compression::None => Self::None,
            Compression::Lz4 => Self::Lz4,
            Compression::Zstd => Self::Zstd,
        }
    }
}

impl Arguments {
    /// Threads of the load generator.
    pub(crate) fn threads(&self) -> usize {
        match &self.command {
            Command::Produce(produce) => produce.common.threads,
            Command::Consume(consume) => consume.common.threads,
            Command::Latency(latency) => latency.common.threads,
            Command::Soak(soak) => soak.threads,
            Command::Null(_) | Command::Run(_) | Command::Report(_) => 1,
            #[cfg(target_os = "linux")]
            Command::Limit(_) => 1,
        }
    }
}

impl Common {
    /// Addresses; `;` separates them too, as in RocketMQ's variable.
    pub(crate) fn name_servers(&self) -> impl Iterator<Item = &str> {
        self.namesrv
            .iter()
            .flat_map(|list| list.split(';'))
            .map(str::trim)
            .filter(|a| !a.is_empty())
    }
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit_ms) = match text {
        _ if text.ends_with("ms") => (&text[..text.len() - 2], 1.0),
        _ if text.ends_with('s') => (&text[..text.len() - 1], 1e3),
        _ if text.ends_with('m') => (&text[..text.len() - 1], 60e3),
        _ if text.ends_with('h') => (&text[..text.len() - 1], 3600e3),
        _ => (text, 1e3),
    };
    match number.parse::<f64>() {
        Ok(number) if (0.0..=86_400e3).contains(&(number * unit_ms)) => {
            Ok(Duration::from_secs_f64(number * unit_ms / 1e3))
        }
        _ => Err(
            "a duration is a number with ms, s, m or h, at most a day: 500ms, 10s, 2m, 1h".into(),
        ),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.001..=1e9).contains(&rate) => Ok(rate),
        _ => Err("a rate is 0.001 to 1000000000 messages a second".into()),
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("a share is 0 to 1".into()),
    }
}

pub(crate) fn threads(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(threads) if (1..=256).contains(&threads) => Ok(threads),
        _ => Err("1 to 256".into()),
    }
}

pub(crate) fn seconds<S: serde::Serializer>(
    duration: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("1h"), Ok(Duration::from_secs(3600)));
        for wrong in ["", "s", "-1s", "ten", "NaN", "1e99s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
