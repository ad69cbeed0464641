//! `limit`: what this machine can do without a broker, to measure brokers against.
//!
//! - the **bare loop**: receive → aligned buffer → crc32 → durable write, in glommio, one core serving and one sending;
//! - the **disk** alone: a durable 4 KiB write into written space, and sequential reads;
//! - the **loopback** alone: round trip and throughput;
//! - the **processors** alone: how much of their time somebody else takes.

pub(crate) mod args;
mod cores;
mod disk;
mod loopback;
mod processors;
mod report;
mod scratch;
mod sending;
mod serving;

pub(crate) use report::Limits;

use crate::BenchError;
use args::Arguments;
use scratch::Scratch;
use serving::Shape;
use std::time::Duration;

/// Gaps are rare, so this takes longer than a rate.
const PROCESSOR_WATCH: Duration = Duration::from_secs(3);

/// Measures everything that was asked for and publishes it.
pub(crate) fn run(arguments: &Arguments) -> Result<(), BenchError> {
    let limits = measure(arguments)?;
    crate::report::write(&limits, &limits.text(), arguments.json.as_deref())
}

/// Measures the machine, round by round: every cell once, then again, so that a drift of the machine meets all alike.
pub(crate) fn measure(arguments: &Arguments) -> Result<Limits, BenchError> {
    let scratch = Scratch::prepare(arguments.directory.as_deref(), arguments.file_bytes)?;
    let mut limits = Limits::new(arguments, scratch.directory());
    for _ in 0..arguments.rounds {
        for bytes in arguments.sizes.iter().filter(|_| !arguments.no_loop) {
            for in_flight in &arguments.in_flight {
                let shape = Shape {
                    bytes: *bytes as usize,
                    in_flight: *in_flight as usize,
                    connections: arguments.connections as usize,
                    buffer_bytes: arguments.buffer_bytes as usize,
                };
                limits.add_loop(&shape, bare_loop(&scratch, shape, arguments)?);
            }
        }
        if !arguments.no_raw {
            limits.add_durable(disk::durable_writes(&scratch, arguments.duration)?);
            for (block, depth) in disk::READS {
                let rate = disk::sequential_read(&scratch, *block, *depth, arguments.duration)?;
                limits.add_read(*block, *depth, rate);
            }
            limits.add_round_trip(loopback::round_trips(arguments.duration)?);
            limits.add_loopback(loopback::throughput(arguments.duration)?);
            limits.add_gaps(processors::gaps(PROCESSOR_WATCH));
        }
    }
    limits.conclude();
    Ok(limits)
}

/// Megabytes (10^6 bytes) a second through the bare loop.
fn bare_loop(scratch: &Scratch, shape: Shape, arguments: &Arguments) -> Result<f64, BenchError> {
    let server = serving::start(scratch, shape)?;
    let bytes = sending::run(server.address, shape, arguments.warm_up, arguments.duration);
    server.finish()?;
    Ok(bytes? as f64 / arguments.duration.as_secs_f64() / 1e6)
}

/// An error of the operating system, with what was being done.
fn failed(operation: &'static str, source: std::io::Error) -> BenchError {
    BenchError::Io {
        operation,
        address: "the limit's scratch file or socket".into(),
        source,
    }
}
