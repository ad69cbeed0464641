//! What a seed stands for: sizes, faults and habits, drawn wildly so that few runs are alike.

use super::draw::Draw;
use super::net::NetOptions;
use crate::limits::Limits;
use crate::node::shard_name;
use ringmq_storage_engine::disk::sim::{Sector, SimDiskOptions, Unwritten};
use ringmq_storage_engine::store::{StoreOptions, WriteMode};
use std::collections::BTreeMap;
use std::time::Duration;

/// Space of a disk that never gets full by itself.
pub const ROOMY_BYTES: u64 = 1 << 30;

/// See the module.
#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    pub nodes: usize,
    /// Of each node.
    pub shards: usize,
    pub name_servers: usize,
    /// Queues of each topic that is there from the beginning.
    pub topics: Vec<u32>,
    pub producers: usize,
    /// Messages of a producer, over all queues of its topic.
    pub messages: u64,
    pub body_bytes_max: u64,
    pub batch_messages_max: u64,
    pub in_flight_max: u64,
    pub members: usize,
    /// A topic that RocketMQ clients use, too.
    pub remoting: Option<RemotingPlan>,
    /// How long things break.
    pub faults: Duration,
    /// Mean time between two events of each kind; zero: never.
    pub every: Events,
    pub disk: SimDiskOptions,
    pub store: StoreOptions,
    pub limits: Limits,
    pub net: NetOptions,
    /// Whether bundles may go before the run ends.
    pub retention: bool,
    /// Stored bytes are damaged after a clean stop at the end.
    pub damage: bool,
}

/// What RocketMQ clients do.
#[derive(Debug, Clone)]
pub struct RemotingPlan {
    pub queues: u32,
    pub producers: u64,
    /// Of all producers.
    pub messages: u64,
    /// Consumers of the topic's group.
    pub members: u64,
    /// Nobody makes the topic: the first message does, with as many queues as the node likes.
    pub by_first_message: bool,
}

/// Mean times between events.
#[derive(Debug, Clone, Copy, Default)]
pub struct Events {
    pub power_cut: Duration,
    pub kill: Duration,
    pub restart: Duration,
    pub disk_fault: Duration,
    pub disk_full: Duration,
    pub slow_disk: Duration,
    pub break_connection: Duration,
    pub name_server_restart: Duration,
    pub clock_jump: Duration,
    pub admin: Duration,
}

impl Plan {
    /// The plan of a seed.
    pub fn new(seed: u64) -> Self {
        let mut draw = Draw::new(seed, "plan");
        let nodes = draw.between(1, 2) as usize;
        let shards = draw.between(1, 3) as usize;
        let retention = draw.one_in(4);
        let producers = draw.between(1, 4) as usize;
        let every = Events::new(&mut draw);
        Self {
            seed,
            nodes,
            shards,
            name_servers: draw.between(1, 2) as usize,
            topics: (0..draw.between(1, 3))
                .map(|_| draw.between(1, 5) as u32)
                .collect(),
            producers,
            messages: draw.between(20, 240 / producers as u64),
            body_bytes_max: *draw.pick(&[40, 600, 3_000]),
            batch_messages_max: draw.between(1, 4),
            in_flight_max: draw.between(1, 5),
            members: draw.between(1, 4) as usize,
            remoting: RemotingPlan::new(seed),
            faults: draw.millis(2_000, 12_000),
            every,
            disk: disk(&mut draw),
            store: store(&mut draw, retention),
            limits: limits(&mut draw),
            net: net(&mut draw),
            // A disk that is full to the last block makes room by itself.
            retention: retention || !every.disk_full.is_zero(),
            damage: draw.one_in(5),
        }
    }

    /// Name of a node.
    pub fn node_name(node: usize) -> String {
        char::from(b'a' + node as u8).to_string()
    }

    /// Address of a shard.
    pub fn address(node: usize, shard: usize) -> String {
        format!("10.0.0.{}:109{}1", node + 1, shard + 1)
    }

    /// Addresses of all shards, by their names.
    pub fn addresses(&self) -> BTreeMap<String, String> {
        let shards =
            (0..self.nodes).flat_map(|node| (0..self.shards).map(move |shard| (node, shard)));
        let named = |(node, shard)| {
            let name = shard_name(shard, &Self::node_name(node));
            (name, Self::address(node, shard))
        };
        shards.map(named).collect()
    }

    /// Address of a name server.
    pub fn name_server_address(server: usize) -> String {
        format!("10.0.1.{}:9876", server + 1)
    }
}

impl RemotingPlan {
    /// From a stream of its own: what other parts of the plan draw does not depend on it.
    fn new(seed: u64) -> Option<Self> {
        let mut draw = Draw::new(seed, "plan of remoting");
        let wanted = draw.one_in(2);
        wanted.then(|| Self {
            queues: draw.between(1, 5) as u32,
            producers: draw.between(1, 3),
            messages: draw.between(20, 120),
            members: draw.between(1, 4),
            by_first_message: draw.coin(),
        })
    }
}

impl Events {
    fn new(draw: &mut Draw) -> Self {
        let mut mean = |least: u64, most: u64| match draw.one_in(3) {
            true => Duration::ZERO,
            false => draw.millis(least, most),
        };
        Self {
            power_cut: mean(1_000, 8_000),
            kill: mean(1_000, 8_000),
            restart: mean(3_000, 12_000),
            disk_fault: mean(500, 6_000),
            disk_full: mean(2_000, 20_000),
            slow_disk: mean(1_000, 6_000),
            break_connection: mean(100, 2_000),
            name_server_restart: mean(2_000, 8_000),
            clock_jump: mean(1_000, 8_000),
            admin: mean(300, 3_000),
        }
    }
}

fn disk(draw: &mut Draw) -> SimDiskOptions {
    SimDiskOptions {
        capacity_bytes: ROOMY_BYTES,
        latency_max: *draw.pick(&[
            Duration::from_micros(50),
            Duration::from_micros(500),
            Duration::from_millis(8),
        ]),
        sector: *draw.pick(&[Sector::Bytes512, Sector::Bytes4096]),
        unwritten: *draw.pick(&[Unwritten::Zero, Unwritten::Noise, Unwritten::Stale]),
        unreadable_rewrites: draw.one_in(3),
    }
}

fn store(draw: &mut Draw, retention: bool) -> StoreOptions {
    let small = StoreOptions::test_min();
    let block = 4096;
    StoreOptions {
        segment_bytes: draw.between(10, 32) * block,
        write_mode: *draw.pick(&[WriteMode::DurableWrite, WriteMode::WriteThenSync]),
        zero_ahead_bytes: *draw.pick(&[0, 4 * block]),
        snapshot_every_bytes: draw.between(8, 64) * block,
        retention_bytes: (retention && draw.coin()).then(|| draw.between(4, 12) * 16 * block),
        retention_ms: if retention {
            10_000
        } else {
            small.retention_ms
        },
        spare_segments_max: draw.index(3),
        // Only a full disk lets bundles go early, and a run without retention must keep them all.
        disk_early_percent: if retention { 75 } else { 100 },
        disk_forced_percent: if retention { 85 } else { 100 },
        disk_refuse_percent: if retention { 90 } else { 100 },
        ..small
    }
}

fn limits(draw: &mut Draw) -> Limits {
    Limits {
        connections_max: draw.between(10, 40) as usize,
        connection_requests_max: draw.between(2, 16) as usize,
        idle_ms: 4_000,
        frame_ms: 2_000,
        slow_bytes_per_s: 64 << 10,
        write_stall_ms: 2_000,
        ..Limits::TEST_MIN
    }
}

fn net(draw: &mut Draw) -> NetOptions {
    NetOptions {
        latency_max: *draw.pick(&[
            Duration::from_micros(100),
            Duration::from_millis(2),
            Duration::from_millis(30),
        ]),
        stall_one_in: *draw.pick(&[0, 2_000, 200]),
        window_bytes: *draw.pick(&[2 << 10, 64 << 10]),
        piece_bytes_max: *draw.pick(&[40, 1_000, 64 << 10]),
    }
}
