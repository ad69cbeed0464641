//! A simulated node: a process with several shards, each on a disk of its own, on a machine that can be cut off from
//! power while the rest of the world goes on.

use super::connection::SimShard;
use super::control;
use super::draw::Draw;
use super::plan::Plan;
use super::registration::{self, Links};
use super::shard::{self, Seat};
use super::world::World;
use crate::node::{
    NodeHandle, NodeIdentity, SHARD_MAILBOX_MAX, ShardCommand, ShardLink, reply, shard_name,
};
use crate::shard::ShardSettings;
use futures_lite::future::or;
use ringmq_storage_engine::disk::sim::{CrashPolicy, SimDisk};
use ringmq_storage_engine::runtime::Runtime;
use ringmq_storage_engine::runtime::sim::SimRuntime;
use ringmq_storage_engine::store::LogMode;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

/// A clean stop must be done by then.
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// See the module.
pub struct Node {
    world: Rc<World>,
    index: usize,
    name: String,
    draw: RefCell<Draw>,
    disks: RefCell<Vec<SimDisk>>,
    epoch: Cell<u64>,
    process: RefCell<Option<Process>>,
    /// For the next start: disks move to it when the old machine ends.
    machine: RefCell<SimRuntime>,
}

/// One life of the node.
struct Process {
    machine: SimRuntime,
    handle: NodeHandle,
    opened: Rc<RefCell<Vec<Opened>>>,
}

enum Opened {
    Opening,
    Serving(SimShard),
    Failed(String),
}

/// How a node stands, for whoever looks after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Not running.
    Down,
    Opening,
    Serving,
    /// A log stopped, or a shard does not open: it should be restarted. The reason.
    Broken(String),
    /// Damage was found at the start of a shard: the reason.
    ReadOnly(String),
}

impl Node {
    /// A node with empty disks that is not running.
    pub fn new(world: &Rc<World>, index: usize) -> Rc<Self> {
        let seed = world.plan.seed;
        let machine = world.runtime.machine();
        let disks = (0..world.plan.shards).map(|shard| {
            let mut draw = Draw::numbered(seed, "disk", (index * 64 + shard) as u64);
            SimDisk::with_seed(&machine, world.plan.disk.clone(), draw.next())
        });
        Rc::new(Self {
            disks: RefCell::new(disks.collect()),
            world: Rc::clone(world),
            index,
            name: Plan::node_name(index),
            draw: RefCell::new(Draw::numbered(seed, "node", index as u64)),
            epoch: Cell::new(0),
            process: RefCell::default(),
            machine: RefCell::new(machine),
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    fn addresses(&self) -> Vec<String> {
        let shards = 0..self.world.plan.shards;
        shards
            .map(|shard| Plan::address(self.index, shard))
            .collect()
    }

    /// Starts a process; it opens its shards by itself.
    pub fn start(&self) {
        assert!(self.process.borrow().is_none(), "node {} runs", self.name);
        self.epoch.set(self.epoch.get() + 1);
        let machine = self.machine.borrow().clone();
        let mut mailboxes = Vec::new();
        let links = self
            .addresses()
            .into_iter()
            .enumerate()
            .map(|(shard, address)| {
                let (mailbox, commands) = flume::bounded(SHARD_MAILBOX_MAX);
                mailboxes.push(commands);
                ShardLink {
                    name: shard_name(shard, &self.name),
                    address,
                    mailbox,
                }
            });
        let identity = NodeIdentity {
            cluster: "sim".to_owned(),
            node: self.name.clone(),
            directory_id: self.index as u128 + 1,
            epoch: self.epoch.get(),
            auto_create: true,
            auto_create_queues: 4,
        };
        let (handle, commands) = NodeHandle::new(identity, links.collect());
        let confirmed = Links::new(self.world.plan.name_servers, self.world.plan.shards);
        let draw = Draw::new(self.draw.borrow_mut().next(), "control");
        control::start(&machine, handle.clone(), commands, confirmed.clone(), draw);
        registration::start(&self.world, &machine, &handle, &confirmed);
        let opened = Rc::new(RefCell::new(Vec::new()));
        for (shard, commands) in mailboxes.into_iter().enumerate() {
            opened.borrow_mut().push(Opened::Opening);
            self.open(&machine, &handle, shard, commands, Rc::clone(&opened));
        }
        self.world.tell(|| format!("node {} starts", self.name));
        *self.process.borrow_mut() = Some(Process {
            machine,
            handle,
            opened,
        });
    }

    fn open(
        &self,
        machine: &SimRuntime,
        handle: &NodeHandle,
        index: usize,
        commands: flume::Receiver<ShardCommand>,
        opened: Rc<RefCell<Vec<Opened>>>,
    ) {
        let plan = &self.world.plan;
        let mut settings = ShardSettings::new("sim", &self.name, index, plan.limits);
        settings.retention_ms = Some(plan.store.retention_ms);
        let seat = Seat {
            disk: self.disks.borrow()[index].clone(),
            settings,
            options: plan.store.clone(),
            address: Plan::address(self.index, index),
            commands,
        };
        let opening = shard::open(
            seat,
            machine.clone(),
            handle.clone(),
            self.world.net.clone(),
        );
        let (world, name) = (Rc::clone(&self.world), shard_name(index, &self.name));
        machine.spawn(async move {
            let outcome = match opening.await {
                Ok(shard) => {
                    let frontiers = shard.store().frontiers();
                    world.tell(|| format!("{name} serves from {:?}", frontiers.durable));
                    Opened::Serving(shard)
                }
                Err(error) => {
                    world.tell(|| format!("{name} does not open: {error}"));
                    Opened::Failed(error)
                }
            };
            opened.borrow_mut()[index] = outcome;
        });
    }

    /// The disks, for faults.
    pub fn disks(&self) -> Vec<SimDisk> {
        self.disks.borrow().clone()
    }

    /// The shards that serve.
    pub fn shards(&self) -> Vec<SimShard> {
        let process = self.process.borrow();
        let Some(process) = process.as_ref() else {
            return Vec::new();
        };
        let opened = process.opened.borrow();
        let serving = opened.iter().filter_map(|opened| match opened {
            Opened::Serving(shard) => Some(shard.clone()),
            _ => None,
        });
        serving.collect()
    }

    /// Whether the power went at an effect point that was chosen before.
    pub fn is_dark(&self) -> bool {
        let process = self.process.borrow();
        process
            .as_ref()
            .is_some_and(|process| process.machine.is_dark())
    }

    pub fn standing(&self) -> Standing {
        let process = self.process.borrow();
        let Some(process) = process.as_ref() else {
            return Standing::Down;
        };
        let mut standing = Standing::Serving;
        for opened in process.opened.borrow().iter() {
            match opened {
                Opened::Opening => standing = Standing::Opening,
                Opened::Failed(error) => return Standing::Broken(error.clone()),
                Opened::Serving(shard) => {
                    let health = shard.store().health();
                    let reason = format!("{}: {:?}", shard.name(), health.reason);
                    match health.mode {
                        LogMode::Failed => return Standing::Broken(reason),
                        LogMode::ReadOnly if standing == Standing::Serving => {
                            standing = Standing::ReadOnly(reason);
                        }
                        LogMode::ReadOnly => {}
                        LogMode::Serving | LogMode::NoSpace | LogMode::Stopped => {}
                    }
                }
            }
        }
        standing
    }

    /// Cuts the power: what no sync covered is lost by the policy.
    pub fn cut_power(&self, policy: CrashPolicy) {
        let (silently, seed) = {
            let mut draw = self.draw.borrow_mut();
            (draw.coin(), draw.next())
        };
        self.world
            .tell(|| format!("node {} loses power: {policy:?}", self.name));
        self.end(silently, |disk, machine| {
            disk.crash_onto(machine, policy, seed)
        });
    }

    /// Kills the process; the machine goes on.
    pub fn kill(&self) {
        let seed = self.draw.borrow_mut().next();
        self.world.tell(|| format!("node {} is killed", self.name));
        self.end(false, |disk, machine| disk.kill_onto(machine, seed));
    }

    fn end(&self, silently: bool, survive: impl Fn(&SimDisk, &SimRuntime) -> SimDisk) {
        let next = self.world.runtime.machine();
        let process = self.process.borrow_mut().take();
        let old = self.machine.replace(next.clone());
        // Nothing runs between the moment that the disks keep and the end.
        old.halt();
        self.world.net.lost(&self.addresses(), silently);
        let disks: Vec<SimDisk> = self
            .disks
            .borrow()
            .iter()
            .map(|disk| survive(disk, &next))
            .collect();
        *self.disks.borrow_mut() = disks;
        old.kill();
        drop(process);
    }

    /// Waits until the process of that life is no more.
    async fn ended(&self, life: u64) {
        while self.epoch.get() == life && self.process.borrow().is_some() {
            self.world.runtime.sleep(Duration::from_millis(10)).await;
        }
    }

    /// Stops every shard cleanly, as a process does that is told to; then it is gone.
    pub async fn stop(&self) -> Result<(), String> {
        self.world.tell(|| format!("node {} is stopped", self.name));
        let handle = {
            let process = self.process.borrow();
            process.as_ref().map(|process| process.handle.clone())
        };
        let life = self.epoch.get();
        let mut outcome = Ok(());
        for link in handle.iter().flat_map(NodeHandle::shards) {
            let (reply, answer) = reply();
            // A shard that never opened has nobody who reads its mailbox.
            if link.mailbox.try_send(ShardCommand::Stop { reply }).is_err() {
                outcome = Err(format!("{} is not there", link.name));
                continue;
            }
            let answered = async { Some(answer.recv_async().await) };
            let ended = async {
                self.ended(life).await;
                None
            };
            let stopped = self.world.within(STOP_LIMIT, or(answered, ended)).await;
            match stopped {
                Some(Some(Ok(Ok(())))) => {}
                Some(Some(Ok(Err(error)))) => outcome = Err(format!("{}: {error}", link.name)),
                Some(Some(Err(_))) => outcome = Err(format!("{} is gone", link.name)),
                // Somebody has ended the process already.
                Some(None) => return Err(format!("{} lost power", link.name)),
                None if self.is_dark() => outcome = Err(format!("{} lost power", link.name)),
                None => panic!("{} does not stop", link.name),
            }
        }
        let seed = self.draw.borrow_mut().next();
        self.end(false, |disk, machine| disk.kill_onto(machine, seed));
        outcome
    }
}
