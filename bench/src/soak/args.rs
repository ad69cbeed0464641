//! The command line of `soak`.

use clap::Args;
use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Clone, Args, Serialize)]
pub(crate) struct Arguments {
    /// Broker to start, restart and stop (`BROKER dev`); without it, the cluster at --namesrv is used as it is
    #[arg(long, value_name = "PROGRAM", requires = "data_dir")]
    pub(crate) broker: Option<PathBuf>,
    /// Data directory of that broker; its log goes to the same path with ".log"
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Shards of that broker
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) shards: u32,
    /// A key of that broker's configuration; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// How long that broker keeps messages
    #[arg(long, default_value = "3m", value_parser = crate::args::duration)]
    #[serde(serialize_with = "crate::args::seconds")]
    pub(crate) retention: Duration,
    /// Time between restarts of that broker, by SIGTERM and SIGKILL in turn, during the first half of the run; 0: none.
    /// The second half is one undisturbed life, over which memory is judged
    #[arg(long, default_value = "3m", value_parser = crate::args::duration)]
    #[serde(serialize_with = "crate::args::seconds")]
    pub(crate) restart_every: Duration,
    /// Name servers, host:port, separated by commas or semicolons; for a cluster that runs
    #[arg(
        long,
        env = "RINGMQ_NAMESRV",
        default_value = "127.0.0.1:9876",
        value_delimiter = ','
    )]
    pub(crate) namesrv: Vec<String>,
    /// Server process to watch, for a cluster that runs
    #[arg(long, value_name = "PID", conflicts_with = "broker")]
    pub(crate) server_pid: Option<u32>,
    /// How long to send
    #[arg(long, default_value = "10m", value_parser = crate::args::duration)]
    #[serde(serialize_with = "crate::args::seconds")]
    pub(crate) duration: Duration,
    /// Messages a second over all producers
    #[arg(long, default_value_t = 3000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) rate: u32,
    /// Average bytes of a message body; bodies vary from 32 to about twice this
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u32).range(32..=1_048_576))]
    pub(crate) message_bytes: u32,
    /// Queues of the topic
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) queues: u32,
    /// Idempotent producers; they use no compression, LZ4 and Zstandard in turn
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) producers: u32,
    /// Members of the consumer group; one after the other leaves and comes back
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) members: u32,
    /// Readers without a group that are too slow, so that retention overtakes them
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=256))]
    pub(crate) slow_readers: u32,
    /// Threads of the load generator
    #[arg(long, default_value_t = 1, value_parser = crate::args::threads)]
    pub(crate) threads: usize,
    /// Write parameters and results to this file; "-" is stdout
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub(crate) json: Option<PathBuf>,
}
