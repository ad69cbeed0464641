//! Every bit of a small directory is wrong once: what is read is right, or an error says what is damaged.
#![allow(clippy::print_stdout, reason = "seeds and figures of a run")]

use crate::content::{Content, Seen};
use crate::directory::{Left, Machine, files, options};
use ringmq_broker::state::ShardState;
use ringmq_storage_engine::commitlog::frame::FrameHeader;
use ringmq_storage_engine::disk::BLOCK_BYTES;
use ringmq_storage_engine::disk::sim::Damage;
use ringmq_storage_engine::position::Position;
use ringmq_storage_engine::runtime::sim::SeededRandom;
use ringmq_storage_engine::shard_meta::{Loaded, META_FILE, SLOT_BYTES, Slot, choose};
use ringmq_storage_engine::store::Store;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Bits tried by `cargo test` in each directory, unless RINGMQ_BITS says how many; all of them with `--ignored`.
const SHARE: usize = 1000;

/// A directory, and what is in it.
struct Subject {
    machine: Machine,
    content: Rc<Content>,
    /// Nothing recorded that this and what follows was durable.
    exempt_from: Position,
    files: Vec<(String, Vec<u8>)>,
}

impl Subject {
    fn new(left: Left) -> Self {
        let machine = Machine::live(left);
        let (executor, disk) = machine.copy();
        let files = files(&machine);
        let runtime = executor.runtime();
        let content = executor.run(async move {
            let state = ShardState::default();
            let store = Store::open(disk, runtime, options(), state).await;
            Content::of(&store.expect("undamaged")).await
        });
        let content = content.expect("no fault");
        let exempt_from = match left {
            // What nothing recorded is there twice while a start mends.
            Left::Clean | Left::Mending => Position(u64::MAX),
            Left::Crashed => recorded_frontier(&files),
        };
        Self {
            machine,
            content: Rc::new(content),
            exempt_from,
            files,
        }
    }

    fn bits(&self) -> usize {
        self.files.iter().map(|(_, bytes)| bytes.len() * 8).sum()
    }

    /// Flips one bit, opens, looks.
    fn flip(&self, mut bit: usize) -> (&str, Seen) {
        let found = self.files.iter().find(|(_, bytes)| {
            let here = bit < bytes.len() * 8;
            bit -= if here { 0 } else { bytes.len() * 8 };
            here
        });
        let (name, bytes) = found.expect("the bit is there");
        let start = bit / 8 / BLOCK_BYTES * BLOCK_BYTES;
        let mut block = bytes[start..start + BLOCK_BYTES].to_vec();
        block[bit / 8 - start] ^= 1 << (bit % 8);
        let (executor, disk) = self.machine.copy();
        assert!(disk.damage(name, start as u64, Damage::Bytes(block)));
        let (content, exempt_from) = (Rc::clone(&self.content), self.exempt_from);
        let runtime = executor.runtime();
        let seen = executor.run(async move {
            let opened = Store::open(disk, runtime, options(), ShardState::default()).await;
            let store = opened.unwrap_or_else(|error| panic!("it stays shut: {error}"));
            content.look(&store, exempt_from).await
        });
        let seen = seen.expect("it ends");
        executor.abort_all();
        if !name.ends_with(".seg") {
            let made_good = Seen {
                batches: self.content.batches(),
                ..Seen::default()
            };
            assert_eq!(seen, made_good, "{name} is derived, or kept twice");
        }
        (name, seen)
    }

    /// Flips these bits in turn and says what came of it.
    fn try_all(&self, bits: impl Iterator<Item = usize>) -> Tally {
        let mut tally = Tally::default();
        for bit in bits {
            let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.flip(bit)));
            let (name, seen) = caught.unwrap_or_else(|_| panic!("{}", self.place(bit)));
            tally.add(name, &seen);
        }
        tally
    }

    fn place(&self, mut bit: usize) -> String {
        for (name, bytes) in &self.files {
            if bit < bytes.len() * 8 {
                return format!(
                    "after flipping bit {} of byte {} of {name}",
                    bit % 8,
                    bit / 8
                );
            }
            bit -= bytes.len() * 8;
        }
        "no such bit".to_owned()
    }
}

/// By kind of file: bits, and of those how many were reported and how many cut the log.
#[derive(Debug, Default)]
struct Tally(BTreeMap<String, [usize; 3]>);

impl Tally {
    fn add(&mut self, name: &str, seen: &Seen) {
        let kind = name.rsplit('.').next().unwrap_or(name).to_owned();
        let counts = self.0.entry(kind).or_default();
        counts[0] += 1;
        counts[1] += usize::from(seen.reported > 0);
        counts[2] += usize::from(seen.dropped > 0 && seen.reported == 0);
    }

    fn print(&self, left: Left) {
        for (kind, [bits, reported, cut]) in &self.0 {
            println!("{left:?} {kind}: {bits} bits, {reported} reported, {cut} cut the log");
        }
    }
}

/// The highest durable frontier that anything on the disk names.
fn recorded_frontier(files: &[(String, Vec<u8>)]) -> Position {
    let mut frontier = Position(0);
    for (name, bytes) in files {
        if name == META_FILE {
            let slots = bytes.split_at(SLOT_BYTES);
            let loaded = choose([Slot::parse(slots.0), Slot::parse(slots.1)]);
            let Loaded::Present { meta, .. } = loaded else {
                panic!("{loaded:?}");
            };
            frontier = frontier.max(meta.durable);
        } else if name.ends_with(".seg") {
            let frames = bytes.chunks_exact(BLOCK_BYTES).map(FrameHeader::parse);
            let claims = frames.flatten().map(|(header, _)| header.durable);
            frontier = claims.fold(frontier, Position::max);
        } else if let Some(stamp) = name.strip_suffix(".snap") {
            frontier = frontier.max(Position(stamp.parse().expect("a number")));
        }
    }
    frontier
}

fn seed() -> u64 {
    let given = std::env::var("RINGMQ_SEED").ok();
    let seed = given.and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| {
        let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
        since.as_nanos() as u64
    });
    println!("RINGMQ_SEED={seed}");
    seed
}

fn a_share(left: Left) -> Tally {
    let subject = Subject::new(left);
    let mut random = SeededRandom::new(seed(), "bits");
    let bits = subject.bits();
    let given = std::env::var("RINGMQ_BITS").ok();
    let share = given.and_then(|share| share.parse().ok()).unwrap_or(SHARE);
    let tally = subject.try_all((0..share).map(|_| random.index(bits)));
    tally.print(left);
    tally
}

fn every_bit(left: Left) {
    let subject = Subject::new(left);
    let tally = subject.try_all(0..subject.bits());
    println!("{} bits", subject.bits());
    tally.print(left);
}

#[test]
fn after_a_clean_stop_no_bit_of_a_share_is_exempt() {
    let tally = a_share(Left::Clean);
    assert!(tally.0["seg"][1] > 0, "{tally:?}");
    assert!(tally.0.values().all(|counts| counts[2] == 0), "{tally:?}");
}

#[test]
fn after_a_crash_only_what_nothing_recorded_is_exempt() {
    let subject = Subject::new(Left::Crashed);
    let last = subject.content.last_position();
    assert!(subject.exempt_from <= last, "something is unrecorded");
    a_share(Left::Crashed);
}

#[test]
fn while_a_start_mends_no_bit_of_a_share_is_exempt() {
    a_share(Left::Mending);
}

#[test]
#[ignore = "minutes: every bit of a directory"]
fn every_bit_after_a_clean_stop() {
    every_bit(Left::Clean);
}

#[test]
#[ignore = "minutes: every bit of a directory"]
fn every_bit_after_a_crash() {
    every_bit(Left::Crashed);
}

#[test]
#[ignore = "minutes: every bit of a directory"]
fn every_bit_while_a_start_mends() {
    every_bit(Left::Mending);
}
