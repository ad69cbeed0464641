//! Thousands of connections that do nothing.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::harness::{Broker, scratch, until};
use crate::wire::{Wire, batch};

const CONNECTIONS: usize = 5_000;
/// Connections, and what a process has besides.
const DESCRIPTORS: u64 = CONNECTIONS as u64 + 1_500;
/// More than was ever measured; a buffer for each connection would exceed it.
const BYTES_EACH_MAX: u64 = 48 << 10;

/// Why so many connections cannot be made here, if so.
pub fn missing() -> Option<String> {
    let most = getrlimit(Resource::Nofile).maximum;
    let most = most.filter(|most| *most < DESCRIPTORS)?;
    Some(format!(
        "needs {DESCRIPTORS} descriptors (ulimit -Hn), and may have {most}"
    ))
}

/// They cost little, take nothing from others, and are given back. Returns the bytes of each.
pub fn cost_little() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).expect("up to the maximum");
    let home = scratch();
    let settings = ["--set", "limits.connections_max=5500"];
    let broker = Broker::dev(&home.path().join("data"), &settings);
    let mut wire = Wire::connect(broker.shards[0]);
    wire.create("others", 1, false).expect("made");
    let bodies = [b"before".to_vec()];
    let stored = wire.produce("others", 0, &batch(None, &bodies));
    stored.expect("stored");
    let before = broker.resident_bytes();
    let idle: Vec<Wire> = (0..CONNECTIONS)
        .map(|_| Wire::connect(broker.shards[0]))
        .collect();
    let each = broker.resident_bytes().saturating_sub(before) / CONNECTIONS as u64;
    assert!(each < BYTES_EACH_MAX, "{each} bytes each");
    let stored = wire.produce("others", 0, &batch(None, &bodies));
    stored.expect("others are served");
    drop(idle);
    until("they are forgotten", || {
        let (_, metrics) = broker.http("/metrics");
        metrics.contains("ringmq_connections{shard=\"s00-dev\"} 1\n")
    });
    broker.stop();
    each
}
