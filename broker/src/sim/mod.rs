//! A whole cluster on one thread, in virtual time: nodes with shards on disks that break, name servers, producers and
//! consumers on a network that breaks; everything that happens follows from a seed.
//!
//! ```text
//!  population: producers (the client library's lanes), group members, admin
//!       │ simulated streams (net): latency, pieces, back-pressure, cuts, half-open
//!  name_server: the real table and watches  node: processes on machines that lose power
//!       ▲ registration: the real plan         ├─ control: the real directory and topic maker
//!       └─────────────────────────────────────┤─ shard: the real store, shard, handlers, reader and session loops
//!                                             └─ simulated disks: lost, torn, failing, full, slow
//!  chaos breaks it · probe looks into it · oracle knows what must be true · finale demands it with the faults off
//! ```
//! What runs here instead of its own code: accepting and supervising connections ([`connection`], [`shard`] do with
//! streams what `session::connection` and `runtime::listener` do with sockets), the loops of the control task and of
//! registrations (their decisions are the real ones), and the name server's sockets.

mod administer;
mod chaos;
mod client;
mod commits;
mod connection;
mod control;
mod draw;
mod finale;
mod message;
mod name_server;
mod net;
mod node;
mod oracle;
mod plan;
mod population;
mod probe;
mod registration;
mod scan;
mod shard;
#[cfg(test)]
mod tests;
mod world;

use chaos::Chaos;
pub use chaos::Counts;
use draw::Draw;
use net::Net;
pub use plan::Plan;
use ringmq_storage_engine::runtime::Runtime;
use ringmq_storage_engine::runtime::sim::{Fnv, SimExecutor};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;
use world::World;

/// Polls of one run before it counts as a livelock: tens of times what the longest ones take.
const POLL_BUDGET: u64 = 50_000_000;

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub seed: u64,
    /// Over every poll, effect and moment, and over the disks at the end: equal seeds, equal hashes.
    pub hash: u64,
    pub virtual_time: Duration,
    pub counts: Counts,
    /// Connections made, cut, made half-open.
    pub connections: [u64; 3],
    /// Messages acknowledged and delivered, batches answered as duplicates, commits acknowledged.
    pub messages: [u64; 4],
}

/// A run that broke a promise.
#[derive(Debug)]
pub struct Failure {
    pub seed: u64,
    pub message: String,
    /// What happened, line by line, if it was to be told.
    pub story: Vec<String>,
}

/// Runs a seed. `tell`: keep the story for a failure.
pub fn run(seed: u64, tell: bool) -> Result<Report, Failure> {
    let executor = SimExecutor::new(seed);
    executor.set_poll_budget(POLL_BUDGET);
    let plan = Plan::new(seed);
    let net = Net::new(plan.net, Draw::new(seed, "net"));
    let world = World::new(executor.runtime(), net, plan, tell);
    world.tell(|| format!("{:#?}", world.plan));
    let report = Rc::new(RefCell::new(None));
    let (running, slot) = (Rc::clone(&world), Rc::clone(&report));
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        executor.run(async move {
            let report = live(&running).await;
            *slot.borrow_mut() = Some(report);
        })
    }));
    let message = match outcome {
        Ok(Ok(())) => {
            let mut report = report.borrow_mut().take().expect("the run ended");
            report.hash ^= executor.trace_hash();
            return Ok(report);
        }
        Ok(Err(stop)) => stop.to_string(),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let word = panic.downcast_ref::<&str>().map(|word| (*word).to_owned());
            text.or(word)
                .unwrap_or_else(|| "a panic without words".to_owned())
        }
    };
    let story = world.story();
    // What broke half-way may not be taken apart in order.
    std::mem::forget(executor);
    Err(Failure {
        seed,
        message,
        story,
    })
}

async fn live(world: &Rc<World>) -> Report {
    let chaos = Chaos::start(world);
    let looking = probe::run(Rc::clone(world), Rc::clone(&chaos));
    world.runtime.spawn(looking);
    world.runtime.sleep(world.plan.faults).await;
    finale::run(world, &chaos).await;
    let mut hash = Fnv::default();
    for disk in chaos.nodes.iter().flat_map(|node| node.disks()) {
        hash.write_u64(disk.image_hash());
    }
    let oracle = world.oracle.borrow();
    let mut counts = chaos.counts.get();
    let connections = world.net.counts();
    [counts.connections_cut, counts.connections_half_opened] = [connections[1], connections[2]];
    Report {
        seed: world.plan.seed,
        hash: hash.finish(),
        virtual_time: world.runtime.now(),
        counts,
        connections,
        messages: [
            oracle.acknowledged,
            oracle.seen,
            oracle.duplicates,
            oracle.commits,
        ],
    }
}
