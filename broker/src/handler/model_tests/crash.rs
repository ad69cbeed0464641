//! Requests at random until the power is cut at a random effect point, recovery, and again.
//!
//! Oracle: what was answered holds. A topic that was answered as made is there until its deletion was asked for; a
//! committed offset never falls; a granted lease is in the state until something that ends it was asked for.

use super::world::{GROUP, World, commit_of};
use crate::handler::lease_release;
use crate::state::tests::with_seeds;
use ringmq_storage_engine::disk::sim::{CrashPolicy, SimDisk, SimDiskOptions};
use ringmq_storage_engine::position::QueueHandle;
use ringmq_storage_engine::runtime::Runtime;
use ringmq_storage_engine::runtime::sim::{SeededRandom, SimExecutor, SimRuntime};
use ringmq_storage_engine::state_machine::StateMachine;
use ringmq_wire::codes::ErrorCode;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

const TOPICS: [&str; 3] = ["a", "b", "c"];
const MEMBERS: [&str; 2] = ["m0", "m1"];
const QUEUES: u32 = 2;

/// What the outside knows for certain; an entry goes as soon as something that may end it is asked for.
#[derive(Default)]
struct Known {
    topics: BTreeMap<&'static str, u64>,
    /// (topic, queue) → messages answered, committed offset answered.
    produced: BTreeMap<(&'static str, u32), u64>,
    committed: BTreeMap<(&'static str, u32), u64>,
    /// (topic, queue) → member, lease.
    leases: BTreeMap<(&'static str, u32), (&'static str, u64)>,
}

impl Known {
    fn forget(&mut self, topic: &str) {
        self.topics.remove(topic);
        self.produced.retain(|(name, _), _| *name != topic);
        self.committed.retain(|(name, _), _| *name != topic);
        self.leases.retain(|(name, _), _| *name != topic);
    }
}

async fn act(world: &World, random: &RefCell<SeededRandom>, known: &RefCell<Known>) {
    let pick = |bound| random.borrow_mut().index(bound);
    let topic = TOPICS[pick(TOPICS.len())];
    let member = MEMBERS[pick(MEMBERS.len())];
    let queue = pick(QUEUES as usize) as u32;
    let key = (topic, queue);
    match pick(12) {
        0..2 => create(world, random, known, topic).await,
        2 if pick(3) == 0 => {
            let incarnation = world
                .shard
                .with_state(|s| s.topic(topic).map(|t| t.incarnation));
            let Some(incarnation) = incarnation else {
                return;
            };
            known.borrow_mut().forget(topic);
            let _ = world.delete(topic, incarnation as u64).await;
        }
        2..5 => {
            let Some(handle) = find(world, topic, queue) else {
                return;
            };
            let messages = 1 + pick(3);
            if pick(3) == 0 {
                // Nobody waits for these; what follows may be decided on them.
                world.append(handle, messages);
                return;
            }
            let end = world.append(handle, messages);
            if world.shard.store().durable(end).await.is_ok() && is_same(world, topic, handle) {
                let mut known = known.borrow_mut();
                if known.topics.contains_key(topic) {
                    *known.produced.entry(key).or_default() += messages as u64;
                }
            }
        }
        5..8 => {
            known
                .borrow_mut()
                .leases
                .retain(|held, (by, _)| *held != key || *by == member);
            let Ok(leases) = world.acquire(member, topic, &[queue]).await else {
                return;
            };
            let is_known = known.borrow().topics.contains_key(topic);
            if leases[0].error == 0 && is_known {
                known
                    .borrow_mut()
                    .leases
                    .insert(key, (member, leases[0].lease));
            }
        }
        8 => {
            known.borrow_mut().leases.retain(|_, (by, _)| *by != member);
            let _ = lease_release::release_all(&world.shard, GROUP, member).await;
        }
        9 => {
            world
                .shard
                .runtime()
                .sleep(Duration::from_millis(3_000))
                .await
        }
        _ => commit(world, random, known, key).await,
    }
}

fn find(world: &World, topic: &str, queue: u32) -> Option<QueueHandle> {
    world
        .shard
        .with_state(|state| state.topic(topic)?.handle(queue))
}

fn is_same(world: &World, topic: &str, handle: QueueHandle) -> bool {
    world.shard.with_state(|state| {
        state
            .topic(topic)
            .is_some_and(|topic| topic.handles.contains(&handle))
    })
}

async fn create(
    world: &World,
    random: &RefCell<SeededRandom>,
    known: &RefCell<Known>,
    topic: &'static str,
) {
    let incarnation = 1 + random.borrow_mut().below(1 << 40);
    match world.create(topic, incarnation, QUEUES).await {
        Ok(response) => {
            let made = response.topic.expect("always there").incarnation_low;
            assert_eq!(made, incarnation);
            known.borrow_mut().topics.insert(topic, incarnation);
        }
        Err(refusal) => assert!(matches!(
            refusal.code,
            ErrorCode::TopicExists | ErrorCode::Busy | ErrorCode::LogFailed | ErrorCode::NoSpace
        )),
    }
}

async fn commit(
    world: &World,
    random: &RefCell<SeededRandom>,
    known: &RefCell<Known>,
    key: (&'static str, u32),
) {
    let Some((member, lease)) = known.borrow().leases.get(&key).copied() else {
        return;
    };
    let offset = random.borrow_mut().below(30);
    let commits = vec![commit_of(key.0, key.1, offset, lease)];
    let Ok(errors) = world.commit(member, commits).await else {
        return;
    };
    let mut known = known.borrow_mut();
    if errors == [0] && known.topics.contains_key(key.0) {
        let visible = known.produced.get(&key).copied().unwrap_or_default();
        let entry = known.committed.entry(key).or_default();
        *entry = (*entry).max(offset.min(visible));
    }
}

fn check(world: &World, known: &Known) {
    world.shard.with_state(|state| {
        for (topic, incarnation) in &known.topics {
            let there = state.topic(topic).expect("made, so there");
            assert_eq!(there.incarnation, u128::from(*incarnation));
        }
        let handle = |topic: &str, queue| state.topic(topic).and_then(|t| t.handle(queue));
        for ((topic, queue), messages) in &known.produced {
            let handle = handle(topic, *queue).expect("its topic is known");
            assert!(state.queue(handle).expect("there").next_offset.0 >= *messages);
        }
        for ((topic, queue), offset) in &known.committed {
            let handle = handle(topic, *queue).expect("its topic is known");
            let committed = state.committed(GROUP, handle).expect("committed, so there");
            assert!(committed.0 >= *offset, "{committed} for {offset}");
        }
        for ((topic, queue), (member, lease)) in &known.leases {
            let handle = handle(topic, *queue).expect("its topic is known");
            let entry = state.group_queue(GROUP, handle).expect("leased, so there");
            let held = entry.lease.as_ref().expect("leased, so there");
            assert_eq!((&*held.member, held.id.0), (*member, *lease));
        }
    });
}

/// Returns how many lives were cut, and how many facts were checked.
fn run(seed: u64) -> (usize, usize) {
    let mut cuts = 0;
    let executor = SimExecutor::new(seed);
    let runtime = executor.runtime();
    let random = Rc::new(RefCell::new(SeededRandom::new(seed, "requests")));
    let known = Rc::new(RefCell::new(Known::default()));
    let mut disk = SimDisk::new(&runtime, SimDiskOptions::default());
    for life in 0..4u64 {
        let point = disk.effects() + random.borrow_mut().below(150);
        if life < 3 {
            disk.crash_at(point);
        }
        let (random, known, on) = (random.clone(), known.clone(), disk.clone());
        let steps = 40;
        let task = live(on, runtime.clone(), random, known.clone(), steps);
        let ended = executor.run(task);
        if disk.has_crashed() {
            cuts += 1;
        } else {
            ended.expect("without a crash the run ends");
        }
        executor.abort_all();
        let policies = CrashPolicy::ALL;
        let policy = policies[(seed.wrapping_add(life) % policies.len() as u64) as usize];
        disk = disk.crash_onto(&runtime, policy, seed);
    }
    let known = known.borrow();
    (cuts, known.committed.len() + known.leases.len())
}

/// Opens, checks what is known, and asks at random.
async fn live(
    disk: SimDisk,
    runtime: SimRuntime,
    random: Rc<RefCell<SeededRandom>>,
    known: Rc<RefCell<Known>>,
    steps: usize,
) {
    let world = Rc::new(World::open(&disk, &runtime).await);
    check(&world, &known.borrow());
    for _ in 0..steps {
        act(&world, &random, &known).await;
    }
    check(&world, &known.borrow());
    // The state is what its own snapshot and its log make of it.
    let digest = world.shard.with_state(StateMachine::digest);
    world.shard.store().stop().await.expect("stopped");
    drop(world);
    let world = World::open(&disk, &runtime).await;
    assert_eq!(world.shard.with_state(StateMachine::digest), digest);
    world.shard.store().stop().await.expect("stopped");
}

#[test]
fn what_was_answered_survives_power_cuts() {
    let total = Cell::new((0, 0));
    with_seeds(60, |random| {
        let (cuts, facts) = run(random.next());
        let (all_cuts, all_facts) = total.get();
        total.set((all_cuts + cuts, all_facts + facts));
    });
    let (cuts, facts) = total.get();
    assert!(cuts > 0 && facts > 0, "{cuts} cuts, {facts} facts");
}
