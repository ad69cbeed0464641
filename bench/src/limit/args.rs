//! Parameters of `limit`.

use crate::args::duration;
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

/// The best of these is the limit that brokers are compared with.
#[derive(Debug, Clone, Args)]
pub(crate) struct Arguments {
    /// Where the scratch file lies; without it, beside this program
    #[arg(long, value_name = "DIR")]
    pub(crate) directory: Option<PathBuf>,
    /// Bytes of one request, separated by commas; whole blocks of 4096
    #[arg(long, value_delimiter = ',', value_parser = whole_blocks, default_values_t = [65_536, 131_072, 262_144, 1_048_576])]
    pub(crate) sizes: Vec<u32>,
    /// Unanswered requests a connection, separated by commas
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 4], value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) in_flight: Vec<u32>,
    /// Connections
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) connections: u32,
    /// Measured time of each cell
    #[arg(long, default_value = "1s", value_parser = duration)]
    pub(crate) duration: Duration,
    /// Time before measuring
    #[arg(long, default_value = "200ms", value_parser = duration)]
    pub(crate) warm_up: Duration,
    /// Rounds over all cells; the medians count
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
    /// Registered buffer memory of the serving executor
    #[arg(long, default_value_t = 64 << 20, value_parser = clap::value_parser!(u32).range(65_536..=1_073_741_824))]
    pub(crate) buffer_bytes: u32,
    /// Size of the scratch file; it is written once before, so that the loop writes into written space
    #[arg(long, default_value_t = 1 << 30, value_parser = clap::value_parser!(u64).range(16_777_216..=68_719_476_736))]
    pub(crate) file_bytes: u64,
    /// Disk and loopback only: leave out the loop
    #[arg(long, conflicts_with = "no_raw")]
    pub(crate) no_loop: bool,
    /// The loop only: leave out disk and loopback
    #[arg(long)]
    pub(crate) no_raw: bool,
    /// Write the results to this file; "-" is stdout
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

fn whole_blocks(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(bytes) if bytes % 4096 == 0 && (4096..=16 << 20).contains(&bytes) => Ok(bytes),
        _ => Err("a multiple of 4096, at most 16777216".into()),
    }
}
