//! The live state equals every snapshot + replay, however records and chunks interleave.

use super::world::{RULES, SHARD, Snapshot, World, assert_derived, batch, offset, spec};
use super::{Random, with_seeds};
use crate::state::entries::ProducerKey;
use crate::state::record::GroupOffsets;
use crate::state::{ControlRecord, GroupSettings, StateLimits, group_settings, topics};
use ringmq_storage_engine::position::{Position, QueueHandle};
use ringmq_storage_engine::state_machine::StateMachine;

const TOPICS: [&str; 5] = ["a", "ab", "orders", "z", "zz"];
const GROUPS: [&str; 4] = ["g", "g1", "group", "h"];
const MEMBERS: [&str; 3] = ["m1", "m2", "m3"];

fn some_handles(world: &World, random: &mut Random) -> Vec<QueueHandle> {
    let all: Vec<QueueHandle> = world.state.queues().map(|(handle, _)| handle).collect();
    let chance = [10, 50, 100][random.below(3)];
    all.into_iter().filter(|_| random.percent(chance)).collect()
}

fn group_offsets(world: &World, random: &mut Random) -> GroupOffsets {
    let handles = some_handles(world, random);
    GroupOffsets {
        group: GROUPS[random.below(4)].into(),
        offsets: handles
            .into_iter()
            .map(|handle| (handle, offset(random.next() % 50)))
            .collect(),
    }
}

fn topic_record(world: &World, random: &mut Random) -> Option<ControlRecord> {
    let name = TOPICS[random.below(5)];
    let state = &world.state;
    let Some(topic) = state.topic(name) else {
        let queues = 1 + random.below(9) as u32;
        let placement = [&[SHARD][..], &["s01-a", SHARD]][random.below(2)];
        let spec = spec(name, u128::from(random.next() | 1), queues, placement);
        return topics::create(state, RULES, &spec).expect("valid");
    };
    if random.percent(40) {
        return topics::delete(state, name, topic.incarnation).expect("the right incarnation");
    }
    let mut settings = topic.settings;
    settings.writable = random.percent(50);
    let queues = topic.queues + random.below(4) as u32;
    topics::update(state, RULES, name, queues, Some(settings)).expect("valid")
}

fn step(world: &mut World, random: &mut Random) {
    world.store_time_ms += random.below(5) as i64;
    let handles = some_handles(world, random);
    let record = match random.below(14) {
        0 => topic_record(world, random),
        1 => Some(ControlRecord::OffsetsPut(vec![
            group_offsets(world, random),
            group_offsets(world, random),
        ])),
        2 => Some(ControlRecord::OffsetsReset(group_offsets(world, random))),
        3 | 4 => Some(ControlRecord::LeaseGrant {
            group: GROUPS[random.below(4)].into(),
            member: MEMBERS[random.below(3)].into(),
            term_ms: 1_000 + random.below(3) as u32,
            handles,
        }),
        5 => Some(ControlRecord::LeaseRelease {
            group: GROUPS[random.below(4)].into(),
            handles,
        }),
        6 => Some(ControlRecord::GroupRemove {
            group: GROUPS[random.below(4)].into(),
        }),
        7 => {
            let known: Vec<ProducerKey> = world.state.producers.keys().copied().collect();
            let keys = known.into_iter().filter(|_| random.percent(20)).collect();
            Some(ControlRecord::ProducersEvict(keys))
        }
        8 => Some(ControlRecord::QueuesTrim(
            handles
                .iter()
                .map(|&h| (h, offset(random.next() % 30)))
                .collect(),
        )),
        9 => {
            let settings = GroupSettings {
                retry_max: random.below(5) as i32,
                ..GroupSettings::default()
            };
            let group = GROUPS[random.below(4)];
            group_settings::put(&world.state, group, settings).expect("valid")
        }
        10 => group_settings::remove(&world.state, GROUPS[random.below(4)]),
        _ => {
            if let Some(&handle) = random.pick(&handles) {
                let (id, epoch) = (random.next() % 4, random.below(3) as u32);
                let count = 1 + random.below(5) as u32;
                world.batch(handle, batch(id, epoch, random.below(100) as u32, count));
            }
            None
        }
    };
    if let Some(record) = record {
        world.control(&record);
    }
}

/// A snapshot in the making: the next chunk starts behind `after`.
#[derive(Default)]
struct Taking {
    chunks: Snapshot,
    after: Option<Vec<u8>>,
}

#[test]
fn live_state_equals_every_snapshot_and_replay() {
    with_seeds(150, |random| {
        let mut world = World::new(StateLimits::default());
        let mut taking = Taking::default();
        let mut done: Vec<Snapshot> = vec![Vec::new()];
        let mut digests: Vec<(Position, u64)> = Vec::new();
        for _ in 0..200 {
            step(&mut world, random);
            digests.push((world.end, world.state.digest()));
            if random.percent(40) {
                let bytes_max = random.below(400);
                let chunk = world
                    .state
                    .snapshot_chunk(taking.after.as_deref(), bytes_max);
                taking.chunks.push((world.end, chunk.bytes));
                taking.after = chunk.next;
                if taking.after.is_none() {
                    done.push(std::mem::take(&mut taking).chunks);
                }
            }
        }
        assert_derived(&world.state);
        for snapshot in &done {
            let state = world.replay(snapshot);
            assert_eq!(state.digest(), world.state.digest());
            assert_derived(&state);
            // Also where the log ends earlier, as long as it reaches the last stamp.
            let last = snapshot.iter().map(|&(stamp, _)| stamp).max();
            let usable = digests.iter().filter(|(end, _)| Some(*end) >= last);
            let usable: Vec<&(Position, u64)> = usable.collect();
            if let Some(&&(end, digest)) = random.pick(&usable) {
                assert_eq!(world.replay_below(snapshot, end).digest(), digest);
            }
        }
    });
}

#[test]
fn chunk_size_does_not_matter() {
    with_seeds(20, |random| {
        let mut world = World::new(StateLimits::default());
        for _ in 0..200 {
            step(&mut world, random);
        }
        for bytes_max in [0, 1, 100, 1_000, usize::MAX] {
            let snapshot = world.snapshot(bytes_max);
            assert_eq!(world.replay(&snapshot).digest(), world.state.digest());
        }
    });
}

#[test]
fn handles_are_never_reused() {
    let mut world = World::new(StateLimits::default());
    let first = world.topic("orders", 4);
    let incarnation = world.state.topic("orders").expect("there").incarnation;
    let delete = topics::delete(&world.state, "orders", incarnation);
    world.control(&delete.expect("right").expect("there"));
    world.state = world.replay(&world.snapshot(10));
    let second = world.topic("orders", 4);
    assert!(first.iter().all(|old| second.iter().all(|new| new > old)));
    assert_eq!(world.state.queue(first[0]), None);
}
