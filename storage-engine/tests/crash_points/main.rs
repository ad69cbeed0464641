//! The power is cut at every effect point of a small workload, under every policy; what comes back is checked.
//!
//! After every recovery:
//! 1. every acknowledged record is there with its bytes;
//! 2. nothing is there that was not submitted, and nothing in part;
//! 3. the log is a prefix of the order of submission, with dense queue offsets;
//! 4. state, index, min and max offsets equal a rebuild (the digest of the live state at that frame, each kept
//!    snapshot + replay, index bundles byte for byte);
//! 5. `appended >= written >= durable >= visible` at every step, `durable` never below an acknowledgement;
//! 6. recovery can be repeated, and cut itself, without changing the outcome;
//! 7. padding and recycled space never reach a reader (reads are compared byte for byte).
//!
//! Then frames of other lengths are appended over what was dropped, the power is cut again, and all is checked again.
//! `RINGMQ_SEED` replays a run.

#![allow(clippy::print_stdout, reason = "each run reports its seed and count")]

mod faults;
mod model;
mod run;
mod state;
mod workload;

use ringmq_storage_engine::disk::sim::{CrashPolicy, Damage};
use ringmq_storage_engine::marks::assert_reached;
use ringmq_storage_engine::runtime::sim::SeededRandom;
use ringmq_storage_engine::store::WriteMode;
use run::{Ended, Life, Plan, Variant};

const WRITE_MODES: [WriteMode; 2] = [WriteMode::DurableWrite, WriteMode::WriteThenSync];

fn seed() -> u64 {
    let given = std::env::var("RINGMQ_SEED").ok();
    given.map_or(20_261, |seed| {
        seed.parse().expect("RINGMQ_SEED is a number")
    })
}

/// Frames of the first life: several in flight, over a segment's end and a snapshot.
const FRAMES: u32 = 24;

#[test]
fn every_effect_point_under_every_policy() {
    let seed = seed();
    for write_mode in WRITE_MODES {
        let mut cuts = 0;
        let Ended {
            points,
            writes_in_flight_max,
        } = Life::new(&Plan::new(seed, write_mode, FRAMES)).run_to_the_end();
        assert!(
            points > 100 && writes_in_flight_max >= 4,
            "{points} points, {writes_in_flight_max} writes in flight prove little"
        );
        for point in 0..=points {
            let variant = Variant::of(seed, point);
            let plan = Plan::new(seed, write_mode, FRAMES).with(variant);
            let crashed = Life::new(&plan).cut_at(point);
            for policy in CrashPolicy::ALL {
                crashed.recover_append_and_recover(policy, seed ^ point);
                cuts += 1;
            }
            crashed.compare_snapshots(seed ^ point);
        }
        println!("{write_mode:?}: {points} effect points, {cuts} cuts, RINGMQ_SEED={seed}");
        assert!(
            points > 100,
            "a workload of {points} effect points proves little"
        );
    }
    assert_reached(&[
        "recovery: the first write of shard.meta is torn",
        "recovery: whole frames behind a hole are dropped",
        "recovery: a frame of a dropped life is passed over",
        "recovery: the log goes on in the next segment",
        "recovery: what a crash left half done is removed",
    ]);
}

#[test]
fn recovery_itself_is_cut_at_every_point() {
    let seed = seed();
    let mut cuts = 0;
    for write_mode in WRITE_MODES {
        let plan = Plan::new(seed, write_mode, FRAMES);
        let points = Life::new(&plan).run_to_the_end().points;
        for point in (0..points).step_by(7) {
            let plan = plan.with(Variant::of(seed, point));
            let crashed = Life::new(&plan).cut_at(point);
            cuts += crashed.cut_recovery_everywhere(seed ^ point);
        }
    }
    println!("{cuts} cuts of recoveries, RINGMQ_SEED={seed}");
    assert!(cuts > 100);
}

/// A life with retention and power cuts; returns the number of cuts.
fn long_life(base: u64, round: u64) -> u32 {
    let seed = base.wrapping_add(round);
    let mut random = SeededRandom::new(seed, "long");
    let write_mode = WRITE_MODES[random.index(2)];
    let mut plan = Plan::new(seed, write_mode, 60).with(Variant::of(seed, round));
    plan.options.retention_bytes = Some(4 * plan.options.segment_bytes);
    Life::new(&plan).live_through_cuts(8, &mut random)
}

/// Found by its seed: an index is made again for a reader while retention takes its segment.
#[test]
fn retention_may_be_faster_than_the_making_of_an_index() {
    long_life(800_000, 7);
}

/// Found by its seed: a power cut between a snapshot and the seal of the segment below it.
#[test]
fn segments_behind_a_lost_index_are_sealed_and_retired() {
    long_life(15_000, 18);
}

#[test]
fn long_lives_with_retention_and_many_cuts() {
    let base = seed();
    let mut cuts = 0;
    for round in 0..40 {
        cuts += long_life(base, round);
    }
    println!("{cuts} cuts in long lives, RINGMQ_SEED={base}");
    assert_reached(&[
        "recovery: a retired segment is still there",
        "recovery: a retired segment is kept for reuse",
    ]);
}

#[test]
fn every_block_is_damaged_in_turn() {
    let seed = seed();
    let plan = Plan::new(seed, WriteMode::DurableWrite, FRAMES);
    let stopped = Life::new(&plan).cut_at(u64::MAX);
    for damage in [Damage::BitFlip, Damage::Unreadable, Damage::Noise] {
        let (blocks, reported) = stopped.damage_each_block(&damage);
        println!("{damage:?}: {blocks} blocks, {reported} batches reported, RINGMQ_SEED={seed}");
        assert!(blocks > 50 && reported > 20);
        stopped.damage_meta("shard.meta", &damage);
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let seed = seed();
    for write_mode in WRITE_MODES {
        let run = || {
            let life = Life::new(&Plan::new(seed, write_mode, FRAMES));
            let crashed = life.cut_at(150);
            (crashed.trace_hash, crashed.image_hash())
        };
        assert_eq!(run(), run());
    }
}
