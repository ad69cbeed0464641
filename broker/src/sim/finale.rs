//! The end of a run: with the faults off everything that was begun comes to an end, and then everything that is known
//! must be there; again after a clean restart; and, in some runs, every byte or a report after damage.

use super::chaos::Chaos;
use super::client::member::group_of;
use super::client::remoting;
use super::connection::SimShard;
use super::draw::Draw;
use super::node::{Node, Standing};
use super::scan::{self, Scanned};
use super::world::{Phase, World};
use ringmq_storage_engine::disk::BLOCK_BYTES;
use ringmq_storage_engine::disk::sim::{Damage, SimDisk};
use ringmq_storage_engine::runtime::Runtime;
use std::rc::{Rc, Weak};
use std::time::Duration;

/// Virtual time in which everything must come to an end once nothing breaks.
const LIMIT: Duration = Duration::from_secs(300);

/// See the module.
pub async fn run(world: &Rc<World>, chaos: &Rc<Chaos>) {
    world.phase.set(Phase::Settling);
    world.tell(|| "nothing breaks any more".to_owned());
    chaos.calm();
    let served = world.eventually(LIMIT, || chaos.all_serve()).await;
    assert!(served, "nodes do not come back: {:?}", standings(chaos));
    // Whoever still waits to mend something has done so by now.
    chaos.calm();
    let done = world
        .eventually(LIMIT, || world.busy_clients.get() == 0)
        .await;
    assert!(
        done,
        "{} clients make no progress",
        world.busy_clients.get()
    );
    let caught_up = world
        .eventually(LIMIT, || behind(world, chaos).is_none())
        .await;
    assert!(
        caught_up,
        "a group does not catch up: {:?}",
        behind(world, chaos)
    );
    let told = world.eventually(LIMIT, || not_told(world).is_none()).await;
    assert!(told, "a watch is not told: {:?}", not_told(world));
    world.phase.set(Phase::Over);
    let drained = world
        .eventually(LIMIT, || chaos.nodes.iter().all(|node| is_drained(node)))
        .await;
    assert!(drained, "bytes are counted for connections that are gone");
    check_topics(world, chaos);
    let before = scan::all(world, chaos).await;
    before.iter().for_each(|scanned| scanned.check(world));
    restart(world, chaos, |_| {}).await;
    let after = scan::all(world, chaos).await;
    assert!(
        before == after || world.plan.retention,
        "a clean restart changed what is stored"
    );
    after.iter().for_each(|scanned| scanned.check(world));
    if world.plan.damage {
        damage(world, chaos, &after).await;
    }
}

fn standings(chaos: &Chaos) -> Vec<Standing> {
    chaos.nodes.iter().map(|node| node.standing()).collect()
}

fn is_drained(node: &Node) -> bool {
    let used = |shard: &SimShard| shard.received_budget().used() + shard.unsent_budget().used();
    node.shards().iter().all(|shard| used(shard) == 0)
}

/// A group that has not committed everything that is there.
fn behind(world: &World, chaos: &Chaos) -> Option<String> {
    let oracle = world.oracle.borrow();
    for (incarnation, topic) in oracle.topics().filter(|(_, topic)| !topic.deleting) {
        for queue in 0..topic.queues {
            let name = topic.shard_of(queue);
            let shards = chaos.nodes.iter().flat_map(|node| node.shards());
            let Some(shard) = shards.into_iter().find(|shard| shard.name() == name) else {
                return Some(format!("{name} is not there"));
            };
            let groups = [
                group_of(&topic.name),
                remoting::consumer::group_of(&topic.name),
            ];
            let state = shard.with_state(|state| {
                let found = state.topic(&topic.name);
                let found = found.filter(|found| found.incarnation as u64 == incarnation)?;
                let handle = found.handle(queue)?;
                let committed = groups.map(|group| state.committed(&group, handle));
                Some((handle, committed))
            });
            let Some((handle, committed)) = state else {
                return Some(format!("{}/{queue} is not at {name}", topic.name));
            };
            let visible = shard.store().visible_offset(handle).unwrap_or_default();
            let group = remoting::consumer::group_of(&topic.name);
            let readers = oracle.readers(&group, (incarnation, queue));
            if topic.remoting && readers != 1 {
                return Some(format!("{}/{queue} has {readers} readers", topic.name));
            }
            let of_topic = if topic.remoting { 2 } else { 1 };
            let mut committed = committed.into_iter().take(of_topic);
            if committed.any(|committed| committed.unwrap_or_default() != visible) {
                return Some(format!("{}/{queue} up to {visible:?}", topic.name));
            }
        }
    }
    None
}

/// A watch that does not know where a topic is that must be there, with all its queues and all shards up.
fn not_told(world: &World) -> Option<String> {
    let oracle = world.oracle.borrow();
    let addresses = world.plan.addresses();
    let watches = world.watches.borrow();
    let mut watches = watches.iter().filter_map(Weak::upgrade);
    watches.find_map(|watch| {
        let of_name = oracle.topics().filter(|(_, t)| t.name == watch.topic());
        let newest = of_name.max_by_key(|(incarnation, _)| *incarnation);
        let (incarnation, topic) = newest.filter(|(_, t)| t.created && !t.deleting)?;
        let told = watch.route();
        let is_right = told.as_ref().is_some_and(|told| {
            let mut shards = topic.placement.iter();
            told.incarnation == incarnation
                && told.queues == topic.queues
                && shards.all(|shard| told.addresses.get(shard) == addresses.get(shard))
        });
        (!is_right).then(|| format!("{topic:?} is {told:?}"))
    })
}

/// Topics that were made are there, those that were deleted are not.
fn check_topics(world: &World, chaos: &Chaos) {
    let oracle = world.oracle.borrow();
    for shard in chaos.nodes.iter().flat_map(|node| node.shards()) {
        for (incarnation, topic) in oracle.topics() {
            let here = shard.with_state(|state| {
                let found = state.topic(&topic.name);
                found.is_some_and(|found| found.incarnation as u64 == incarnation)
            });
            let place = topic.placement.iter().position(|name| name == shard.name());
            if place.is_some() && topic.created && !topic.deleting {
                assert!(here, "{} lost topic {}", shard.name(), topic.name);
            }
            // A start may complete shares behind the back of a deletion, but never at queue 0's home.
            if place == Some(0) && topic.deleted {
                assert!(!here, "{} still has topic {}", shard.name(), topic.name);
            }
        }
    }
}

/// Stops everything cleanly, does something to the disks, starts again.
async fn restart(world: &Rc<World>, chaos: &Chaos, between: impl Fn(&SimDisk)) {
    for node in &chaos.nodes {
        node.stop().await.expect("a healthy node stops cleanly");
        node.disks().iter().for_each(&between);
        node.start();
    }
    let up = || {
        chaos
            .nodes
            .iter()
            .all(|node| node.standing() != Standing::Opening)
    };
    assert!(world.eventually(LIMIT, up).await, "a node does not open");
}

/// One block of each disk is damaged while nobody looks: right bytes or a report, never wrong bytes, never silence.
async fn damage(world: &Rc<World>, chaos: &Rc<Chaos>, before: &[Scanned]) {
    let draw = std::cell::RefCell::new(Draw::new(world.plan.seed, "damage"));
    restart(world, chaos, |disk| {
        let mut draw = draw.borrow_mut();
        let files = disk.names();
        let file = draw.pick(&files).clone();
        let len = disk.bytes(&file).map_or(0, |bytes| bytes.len() as u64);
        let blocks = len.div_ceil(BLOCK_BYTES as u64);
        if blocks == 0 {
            return;
        }
        let offset = draw.below(blocks) * BLOCK_BYTES as u64;
        let what = draw
            .pick(&[Damage::BitFlip, Damage::Unreadable, Damage::Noise])
            .clone();
        world.tell(|| format!("{what:?} at {offset} of {file}"));
        disk.damage(&file, offset, what);
    })
    .await;
    for node in &chaos.nodes {
        let standing = node.standing();
        assert!(!matches!(standing, Standing::Broken(_)), "{standing:?}");
    }
    let after = scan::all(world, chaos).await;
    for (before, after) in before.iter().zip(&after) {
        after.check_damaged(before, world.plan.retention);
    }
    world.runtime.yield_now().await;
}
