//! What breaks, when, as a seed says: power, processes, disks, connections, name servers, clocks; and the operator who
//! starts again what is down.

use super::administer;
use super::draw::Draw;
use super::name_server;
use super::node::{Node, Standing};
use super::plan::{Plan, ROOMY_BYTES};
use super::world::World;
use ringmq_storage_engine::disk::sim::{CrashPolicy, Fault, FaultEffect, SimDisk};
use ringmq_storage_engine::disk::{DiskErrorKind, DiskOperation};
use ringmq_storage_engine::runtime::Runtime;
use ringmq_storage_engine::runtime::sim::SimRuntime;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

/// Operations that a disk may refuse.
const OPERATIONS: [DiskOperation; 10] = [
    DiskOperation::Write,
    DiskOperation::Sync,
    DiskOperation::Read,
    DiskOperation::Create,
    DiskOperation::Open,
    DiskOperation::Rename,
    DiskOperation::Remove,
    DiskOperation::SyncDir,
    DiskOperation::Allocate,
    DiskOperation::List,
];

/// How often something was done.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub power_cuts: u64,
    pub kills: u64,
    pub restarts: u64,
    pub disk_faults: u64,
    pub disks_full: u64,
    pub slow_disks: u64,
    pub connections_cut: u64,
    pub connections_half_opened: u64,
    pub name_server_restarts: u64,
    pub clock_jumps: u64,
    pub topics_deleted: u64,
    pub topics_grown: u64,
    pub topics_made_by_nodes: u64,
    pub topics_made_by_messages: u64,
    pub resets: u64,
    pub logs_stopped: u64,
}

/// The nodes and name servers of a run, and who breaks them.
pub struct Chaos {
    pub world: Rc<World>,
    pub nodes: Vec<Rc<Node>>,
    name_servers: RefCell<Vec<SimRuntime>>,
    pub counts: Cell<Counts>,
    /// How far the wall clocks are from where they would be, and the most that they were ahead.
    clock_shift: Cell<(i64, i64)>,
    /// Nodes that are being stopped or started by somebody.
    taken: RefCell<Vec<bool>>,
}

impl Chaos {
    /// Starts everything.
    pub fn start(world: &Rc<World>) -> Rc<Self> {
        let plan = &world.plan;
        let servers = (0..plan.name_servers).map(|server| name_server::start(world, server));
        let nodes: Vec<Rc<Node>> = (0..plan.nodes)
            .map(|index| Node::new(world, index))
            .collect();
        nodes.iter().for_each(|node| node.start());
        let chaos = Rc::new(Self {
            world: Rc::clone(world),
            name_servers: RefCell::new(servers.collect()),
            counts: Cell::default(),
            clock_shift: Cell::default(),
            taken: RefCell::new(vec![false; nodes.len()]),
            nodes,
        });
        for index in 0..chaos.nodes.len() {
            let operator = Rc::clone(&chaos);
            world
                .runtime
                .spawn(async move { operator.look_after(index).await });
        }
        let every = plan.every;
        chaos.repeat("power cut", every.power_cut, Self::power_cut);
        chaos.repeat("kill", every.kill, Self::kill);
        chaos.repeat("disk fault", every.disk_fault, Self::disk_fault);
        chaos.repeat("connection", every.break_connection, |chaos, _| {
            chaos.world.net.break_one()
        });
        chaos.repeat("clock", every.clock_jump, Self::clock_jump);
        chaos.repeat(
            "name server",
            every.name_server_restart,
            Self::name_server_restart,
        );
        chaos.repeat("full", every.disk_full, Self::disk_full);
        chaos.repeat("slow", every.slow_disk, Self::slow_disk);
        chaos.repeat("restart", every.restart, Self::restart);
        world.runtime.spawn(administer::run(Rc::clone(&chaos)));
        chaos
    }

    /// Does something again and again until the faults are over.
    fn repeat(
        self: &Rc<Self>,
        name: &str,
        mean: Duration,
        act: impl Fn(&Rc<Self>, &mut Draw) + 'static,
    ) {
        if mean.is_zero() {
            return;
        }
        let chaos = Rc::clone(self);
        let mut draw = Draw::new(self.world.plan.seed, name);
        self.world.runtime.spawn(async move {
            loop {
                let wait = draw.duration(mean * 2);
                chaos.world.runtime.sleep(wait).await;
                if chaos.world.is_settling() {
                    return;
                }
                act(&chaos, &mut draw);
            }
        });
    }

    pub fn count(&self, add: impl FnOnce(&mut Counts)) {
        let mut counts = self.counts.get();
        add(&mut counts);
        self.counts.set(counts);
    }

    fn node(&self, draw: &mut Draw) -> &Rc<Node> {
        draw.pick(&self.nodes)
    }

    fn disk(&self, draw: &mut Draw) -> SimDisk {
        let disks = self.node(draw).disks();
        draw.pick(&disks).clone()
    }

    // Events.

    /// At once, or just before one of the next effects of a disk.
    fn power_cut(self: &Rc<Self>, draw: &mut Draw) {
        let node = self.node(draw);
        if draw.coin() {
            let disks = node.disks();
            let disk = draw.pick(&disks);
            disk.crash_at(disk.effects() + draw.below(60));
        } else if node.standing() != Standing::Down {
            self.cut_power(node, draw);
        }
    }

    fn cut_power(&self, node: &Node, draw: &mut Draw) {
        self.count(|counts| counts.power_cuts += 1);
        node.cut_power(*draw.pick(&CrashPolicy::ALL));
    }

    fn kill(self: &Rc<Self>, draw: &mut Draw) {
        let node = self.node(draw);
        if node.standing() != Standing::Down && !node.is_dark() {
            self.count(|counts| counts.kills += 1);
            node.kill();
        }
    }

    fn restart(self: &Rc<Self>, draw: &mut Draw) {
        let index = draw.index(self.nodes.len());
        if self.nodes[index].standing() != Standing::Serving || self.take(index) {
            return;
        }
        self.count(|counts| counts.restarts += 1);
        let chaos = Rc::clone(self);
        self.world.runtime.spawn(async move {
            let node = &chaos.nodes[index];
            let stopped = node.stop().await;
            chaos
                .world
                .tell(|| format!("node {} stopped: {stopped:?}", node.name()));
            chaos.taken.borrow_mut()[index] = false;
        });
    }

    /// Every node serves, and nobody is about to stop one.
    pub fn all_serve(&self) -> bool {
        let taken = self.taken.borrow();
        let is_serving = |node: &Rc<Node>| {
            node.standing() == Standing::Serving && node.shards().len() == node.disks().len()
        };
        self.nodes
            .iter()
            .zip(taken.iter())
            .all(|(node, taken)| !taken && is_serving(node))
    }

    /// Claims a node; true if somebody else has it.
    fn take(&self, index: usize) -> bool {
        std::mem::replace(&mut self.taken.borrow_mut()[index], true)
    }

    fn disk_fault(self: &Rc<Self>, draw: &mut Draw) {
        self.count(|counts| counts.disk_faults += 1);
        let operation = match draw.coin() {
            true => OPERATIONS[draw.index(3)],
            false => *draw.pick(&OPERATIONS),
        };
        let effect = match draw.below(4) {
            0 => FaultEffect::Delay(draw.millis(1, 800)),
            1 if operation == DiskOperation::Allocate => FaultEffect::Fail(DiskErrorKind::NoSpace),
            _ => FaultEffect::Fail(DiskErrorKind::Failed),
        };
        let fault = Fault {
            operation,
            file_prefix: String::new(),
            skip: draw.below(20) as u32,
            times: draw.between(1, 3) as u32,
            effect,
        };
        self.world.tell(|| format!("{fault:?}"));
        self.disk(draw).inject(fault);
    }

    fn disk_full(self: &Rc<Self>, draw: &mut Draw) {
        self.count(|counts| counts.disks_full += 1);
        let node = Rc::clone(self.node(draw));
        let shard = draw.index(self.world.plan.shards);
        let disk = node.disks()[shard].clone();
        disk.set_capacity_bytes(disk.used_bytes() + draw.below(40) * 4096);
        self.world
            .tell(|| format!("the disk of shard {shard} of node {} is full", node.name()));
        let lasts = draw.millis(200, 3_000);
        self.later(lasts, move || {
            node.disks()[shard].set_capacity_bytes(ROOMY_BYTES)
        });
    }

    fn slow_disk(self: &Rc<Self>, draw: &mut Draw) {
        self.count(|counts| counts.slow_disks += 1);
        let node = Rc::clone(self.node(draw));
        let shard = draw.index(self.world.plan.shards);
        node.disks()[shard].set_latency_max(draw.millis(20, 400));
        let (lasts, usual) = (draw.millis(100, 2_000), self.world.plan.disk.latency_max);
        self.later(lasts, move || node.disks()[shard].set_latency_max(usual));
    }

    fn later(&self, after: Duration, act: impl FnOnce() + 'static) {
        let runtime = self.world.runtime.clone();
        self.world.runtime.spawn(async move {
            runtime.sleep(after).await;
            act();
        });
    }

    fn name_server_restart(self: &Rc<Self>, draw: &mut Draw) {
        self.count(|counts| counts.name_server_restarts += 1);
        let server = draw.index(self.world.plan.name_servers);
        self.world
            .tell(|| format!("name server {server} is made anew"));
        self.world
            .net
            .lost(&[Plan::name_server_address(server)], draw.coin());
        self.name_servers.borrow()[server].kill();
        let started = name_server::start(&self.world, server);
        self.name_servers.borrow_mut()[server] = started;
    }

    fn clock_jump(self: &Rc<Self>, draw: &mut Draw) {
        self.count(|counts| counts.clock_jumps += 1);
        let by_ms = draw.below(200_000) as i64 - 100_000;
        self.world
            .tell(|| format!("the wall clocks jump by {by_ms} ms"));
        self.shift_clocks(by_ms);
    }

    fn shift_clocks(&self, by_ms: i64) {
        self.world.runtime.shift_wall_clock_ms(by_ms);
        let (shift_ms, most_ms) = self.clock_shift.get();
        let shift_ms = shift_ms + by_ms;
        self.clock_shift.set((shift_ms, most_ms.max(shift_ms)));
    }

    // The operator.

    /// Starts the node again whenever it is down, and restarts it when a log of it stopped.
    async fn look_after(self: &Rc<Self>, index: usize) {
        let node = &self.nodes[index];
        let world = &self.world;
        let mut draw = Draw::numbered(world.plan.seed, "operator", index as u64);
        while !world.is_over() {
            let wait = draw.millis(20, 300);
            world.runtime.sleep(wait).await;
            if world.is_over() {
                return;
            }
            if self.taken.borrow()[index] && !node.is_dark() {
                continue;
            }
            if node.is_dark() {
                self.cut_power(node, &mut draw);
            }
            match node.standing() {
                Standing::Down => {
                    let taken = self.taken.borrow()[index];
                    if !taken {
                        node.start();
                    }
                }
                Standing::Opening | Standing::Serving => {}
                Standing::ReadOnly(reason) => panic!("damage where nothing was damaged: {reason}"),
                Standing::Broken(reason) => {
                    let faults = self.counts.get().disk_faults;
                    assert!(faults > 0, "broken without a fault: {reason}");
                    self.count(|counts| counts.logs_stopped += 1);
                    world.tell(|| format!("node {} is broken: {reason}", node.name()));
                    self.check_reads_go_on(node).await;
                    self.restart_broken(node, &mut draw).await;
                }
            }
        }
    }

    /// A log that stopped still serves what was visible.
    async fn check_reads_go_on(&self, node: &Node) {
        node.disks().iter().for_each(SimDisk::clear_faults);
        let world = Rc::clone(&self.world);
        let shards = node.shards();
        let reading = async move {
            for shard in shards {
                let stopped = shard.store().health();
                assert!(
                    stopped.is_writable() || stopped.reason.is_some(),
                    "nobody is told why"
                );
                super::probe::read_something(&shard).await;
            }
        };
        let done = world.within(Duration::from_secs(20), reading).await;
        // The power may have gone meanwhile.
        let ended = done.is_some() || node.is_dark() || node.standing() == Standing::Down;
        assert!(ended, "reads of a stopped log do not end");
    }

    async fn restart_broken(&self, node: &Node, draw: &mut Draw) {
        let wait = draw.millis(1, 400);
        self.world.runtime.sleep(wait).await;
        if node.is_dark() || !matches!(node.standing(), Standing::Broken(_)) {
            return;
        }
        match draw.below(3) {
            0 => self.cut_power(node, draw),
            1 => node.kill(),
            _ => {
                let stopped = node.stop().await;
                self.world
                    .tell(|| format!("broken node stopped: {stopped:?}"));
            }
        }
    }

    /// Nothing breaks any more, and what was broken is mended.
    pub fn calm(&self) {
        // What was to be delivered later by a clock that was ahead would be waited for otherwise.
        let (shift_ms, most_ms) = self.clock_shift.get();
        self.shift_clocks(most_ms - shift_ms);
        for disk in self.nodes.iter().flat_map(|node| node.disks()) {
            disk.clear_faults();
            disk.crash_at(u64::MAX);
            disk.set_capacity_bytes(ROOMY_BYTES);
            disk.set_latency_max(self.world.plan.disk.latency_max);
        }
        let mut net = self.world.plan.net;
        net.stall_one_in = 0;
        net.latency_max = net.latency_max.min(Duration::from_millis(2));
        self.world.net.set_options(net);
    }
}
