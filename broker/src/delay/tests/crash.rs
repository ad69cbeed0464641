//! Messages are parked at random while the power is cut at random effect points and the wall clock goes back.
//!
//! Oracle: whatever was answered is delivered once, nothing is delivered twice, none before its time, and those of one
//! level and queue in the order in which they were parked.

use super::world::{DELAYS_S, QUEUES, World};
use crate::state::tests::with_seeds;
use ringmq_storage_engine::disk::sim::{CrashPolicy, SimDisk, SimDiskOptions};
use ringmq_storage_engine::runtime::Runtime;
use ringmq_storage_engine::runtime::sim::{SeededRandom, SimExecutor, SimRuntime};
use ringmq_storage_engine::store::StoreOptions;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

#[derive(Debug, Clone, Copy)]
struct Parked {
    level: usize,
    queue: u32,
    /// Virtual time, which never jumps.
    at: Duration,
    answered: bool,
}

#[derive(Default)]
struct Known {
    parked: BTreeMap<u64, Parked>,
    next: u64,
}

impl Known {
    /// What is delivered now is right; returns how many there are.
    fn check(&self, world: &[super::world::Delivered], now: Duration) -> usize {
        let mut seen = BTreeSet::new();
        let mut last: BTreeMap<(usize, u32), u64> = BTreeMap::new();
        for message in world {
            let id: u64 = message.body.parse().expect("a number");
            let parked = self.parked[&id];
            assert!(seen.insert(id), "{id} came twice");
            assert_eq!(message.queue, parked.queue);
            let delay = Duration::from_secs(DELAYS_S[parked.level - 1]);
            // The wall clock counts whole milliseconds.
            let rounded = Duration::from_millis(1);
            assert!(now + rounded > parked.at + delay, "{id} is early");
            let before = last.insert((parked.level, parked.queue), id);
            assert!(before.is_none_or(|before| before < id), "{id} is late");
        }
        seen.len()
    }

    fn lost(&self, world: &[super::world::Delivered]) -> Vec<u64> {
        let there: BTreeSet<&str> = world.iter().map(|message| &*message.body).collect();
        let answered = self.parked.iter().filter(|(_, parked)| parked.answered);
        let lost = answered.filter(|(id, _)| !there.contains(&*id.to_string()));
        lost.map(|(id, _)| *id).collect()
    }
}

async fn act(
    world: &World,
    runtime: &SimRuntime,
    random: &RefCell<SeededRandom>,
    known: &RefCell<Known>,
) {
    let pick = |bound| random.borrow_mut().index(bound);
    match pick(10) {
        0..6 => {
            let (level, queue) = (1 + pick(DELAYS_S.len()), pick(QUEUES as usize) as u32);
            let id = {
                let mut known = known.borrow_mut();
                let parked = Parked {
                    level,
                    queue,
                    at: runtime.now(),
                    answered: false,
                };
                known.next += 1;
                let id = known.next;
                known.parked.insert(id, parked);
                id
            };
            if world.park(level, queue, &id.to_string()).await.is_some() {
                let mut known = known.borrow_mut();
                known.parked.get_mut(&id).expect("put above").answered = true;
            }
        }
        6..9 => world.sleep_ms(pick(2_000) as u64).await,
        _ => runtime.shift_wall_clock_ms(-(pick(20_000) as i64)),
    }
    let delivered = world.delivered().await;
    known.borrow().check(&delivered, runtime.now());
}

async fn live(
    disk: SimDisk,
    runtime: SimRuntime,
    random: Rc<RefCell<SeededRandom>>,
    known: Rc<RefCell<Known>>,
    is_last: bool,
) -> usize {
    let world = World::open(&disk, &runtime, StoreOptions::test_min()).await;
    for _ in 0..30 {
        act(&world, &runtime, &random, &known).await;
    }
    if !is_last {
        world.stop().await;
        return 0;
    }
    // The clock may have gone back before: one delay after the last look, and one for the sleep that it cut short.
    world.sleep_ms(30_000).await;
    let delivered = world.delivered().await;
    let count = known.borrow().check(&delivered, runtime.now());
    assert_eq!(known.borrow().lost(&delivered), Vec::<u64>::new());
    assert_eq!(world.waiting(), 0);
    world.stop().await;
    count
}

fn run(seed: u64) -> (usize, usize) {
    let executor = SimExecutor::new(seed);
    let runtime = executor.runtime();
    let random = Rc::new(RefCell::new(SeededRandom::new(seed, "delays")));
    let known = Rc::new(RefCell::new(Known::default()));
    let mut disk = SimDisk::new(&runtime, SimDiskOptions::default());
    let mut cuts = 0;
    for life in 0..5u64 {
        let is_last = life == 4;
        if !is_last {
            disk.crash_at(disk.effects() + random.borrow_mut().below(250));
        }
        let task = live(
            disk.clone(),
            runtime.clone(),
            random.clone(),
            known.clone(),
            is_last,
        );
        let ended = executor.run(task);
        if is_last {
            return (cuts, ended.expect("without a cut the run ends"));
        }
        cuts += usize::from(disk.has_crashed());
        executor.abort_all();
        let policy = CrashPolicy::ALL[(seed.wrapping_add(life) % 3) as usize];
        disk = disk.crash_onto(&runtime, policy, seed);
    }
    unreachable!("the last life returns")
}

#[test]
fn every_message_comes_once_in_time_and_in_order_across_power_cuts() {
    let total = Cell::new((0, 0));
    with_seeds(60, |random| {
        let (cuts, delivered) = run(random.next());
        let (all_cuts, all_delivered) = total.get();
        total.set((all_cuts + cuts, all_delivered + delivered));
    });
    let (cuts, delivered) = total.get();
    assert!(
        cuts > 0 && delivered > 0,
        "{cuts} cuts, {delivered} messages"
    );
}
