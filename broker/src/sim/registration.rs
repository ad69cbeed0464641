//! A simulated node's registrations with simulated name servers: the broker's own plan of what to tell
//! ([`ShardPlan`]), over simulated connections.

use super::client::connection::{Connection, Failure};
use super::plan::Plan;
use super::world::World;
use crate::node::{NodeHandle, ShareChanges};
use crate::registration::HEARTBEAT_TIMEOUT_MS;
use crate::registration::plan::{Next, ShardPlan};
use ringmq_storage_engine::runtime::Runtime;
use ringmq_storage_engine::runtime::sim::SimRuntime;
use ringmq_wire::codes::Kind;
use ringmq_wire::native;
use ringmq_wire::native::schema::{ShardHeartbeatRequestT, ShardRegisterRequestT, TopicShareT};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// How often tables are looked at for changes.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const RETRY: Duration = Duration::from_millis(150);

/// What each name server has confirmed.
#[derive(Debug, Clone)]
pub struct Links(Rc<RefCell<Vec<LinkState>>>);

#[derive(Debug, Clone)]
struct LinkState {
    reachable: bool,
    /// By shard.
    confirmed: Vec<u64>,
}

impl Links {
    pub fn new(name_servers: usize, shards: usize) -> Self {
        let link = LinkState {
            reachable: true,
            confirmed: vec![0; shards],
        };
        Self(Rc::new(RefCell::new(vec![link; name_servers])))
    }

    /// Whether every name server that can be reached knows this version of the shard's shares.
    pub fn confirmed(&self, shard: usize, version: u64) -> bool {
        let links = self.0.borrow();
        links
            .iter()
            .all(|link| !link.reachable || link.confirmed[shard] >= version)
    }
}

/// Keeps the node registered at each name server.
pub fn start(world: &Rc<World>, runtime: &SimRuntime, node: &NodeHandle, links: &Links) {
    for server in 0..world.plan.name_servers {
        let teller = Teller {
            world: Rc::clone(world),
            runtime: runtime.clone(),
            node: node.clone(),
            links: links.clone(),
            server,
            plans: vec![ShardPlan::default(); node.shards().len()],
        };
        runtime.spawn(teller.run());
    }
}

struct Teller {
    world: Rc<World>,
    runtime: SimRuntime,
    node: NodeHandle,
    links: Links,
    server: usize,
    plans: Vec<ShardPlan>,
}

impl Teller {
    async fn run(mut self) {
        loop {
            // Only ends with a failure.
            let _ = self.serve().await;
            self.links.0.borrow_mut()[self.server].reachable = false;
            self.runtime.sleep(RETRY).await;
        }
    }

    async fn serve(&mut self) -> Result<(), Failure> {
        let address = Plan::name_server_address(self.server);
        let name = format!("broker-{}", self.node.identity().node);
        let mut connection = Connection::open(&self.world, &self.runtime, &address, &name).await?;
        self.plans.iter_mut().for_each(ShardPlan::reconnected);
        loop {
            for shard in 0..self.plans.len() {
                self.tell(&mut connection, shard).await?;
            }
            let confirmed = self.plans.iter().map(ShardPlan::confirmed).collect();
            self.links.0.borrow_mut()[self.server] = LinkState {
                reachable: true,
                confirmed,
            };
            self.runtime.sleep(LOOK_EVERY).await;
        }
    }

    async fn tell(&mut self, connection: &mut Connection, shard: usize) -> Result<(), Failure> {
        loop {
            let now_ms = self.runtime.now().as_millis() as u64;
            let plan = &self.plans[shard];
            let next = self.node.shares(shard, |table| plan.next(now_ms, table));
            let (version, answer) = match next {
                Next::WaitUntil(_) => return Ok(()),
                Next::Heartbeat(version) => {
                    let beat = self.heartbeat(shard, version);
                    let kind = Kind::ShardHeartbeat;
                    let encode = |id| native::encode(kind, 0, id, 0, |b| beat.pack(b));
                    (version, connection.call(encode).await)
                }
                Next::Register(changes) => {
                    let version = changes.version;
                    let register = self.register(shard, changes);
                    let kind = Kind::ShardRegister;
                    let encode = |id| native::encode(kind, 0, id, 0, |b| register.pack(b));
                    (version, connection.call(encode).await)
                }
            };
            let now_ms = self.runtime.now().as_millis() as u64;
            match answer {
                Ok(_) => self.plans[shard].accepted(now_ms, version),
                Err(Failure::Lost) => return Err(Failure::Lost),
                Err(refused) => self.plans[shard].refused(now_ms, refused.code()),
            }
        }
    }

    fn heartbeat(&self, shard: usize, version: u64) -> ShardHeartbeatRequestT {
        let identity = self.node.identity();
        let mut request = ShardHeartbeatRequestT::default();
        request.shard.clone_from(&self.node.shards()[shard].name);
        request.directory_low = identity.directory_id as u64;
        request.epoch = identity.epoch;
        request.version = version;
        request
    }

    fn register(&self, shard: usize, changes: ShareChanges) -> ShardRegisterRequestT {
        let identity = self.node.identity();
        let link = &self.node.shards()[shard];
        let share = |topic| {
            let mut share = TopicShareT::default();
            share.topic = Box::new(topic);
            share
        };
        let mut request = ShardRegisterRequestT::default();
        request.cluster.clone_from(&identity.cluster);
        request.node.clone_from(&identity.node);
        request.shard.clone_from(&link.name);
        request.directory_low = identity.directory_id as u64;
        request.epoch = identity.epoch;
        request.address.clone_from(&link.address);
        request.writable = changes.writable;
        request.heartbeat_timeout_ms = HEARTBEAT_TIMEOUT_MS;
        request.base_version = changes.base_version;
        request.version = changes.version;
        request.shares = Some(changes.shares.into_iter().map(share).collect());
        request.removed = Some(changes.removed);
        request
    }
}
