//! Damage in the part of the log that a start replays: the log is read-only, and what stands behind is served.

mod support;

use ringmq_storage_engine::disk::sim::{
    CrashPolicy, Damage, Fault, FaultEffect, SimDisk, SimDiskOptions,
};
use ringmq_storage_engine::disk::{Disk, DiskErrorKind, DiskOperation};
use ringmq_storage_engine::marks::assert_reached;
use ringmq_storage_engine::position::{Position, QueueHandle, QueueOffset};
use ringmq_storage_engine::runtime::Runtime;
use ringmq_storage_engine::runtime::sim::{SimExecutor, SimRuntime};
use ringmq_storage_engine::shard_meta::{Loaded, MetaFile};
use ringmq_storage_engine::store::{LogMode, ReadError, ReadLimits, Store, StoreOptions};
use std::collections::BTreeMap;
use std::time::Duration;
use support::{TestState, batch, bodies, create_queue};

type SimStore = Store<SimDisk, SimRuntime, TestState>;

const QUEUES: [QueueHandle; 2] = [QueueHandle(1), QueueHandle(2)];
/// Made behind most of the damage.
const LATE: QueueHandle = QueueHandle(3);
const MESSAGES: u64 = 45;
const BLOCK: u64 = 4096;

/// By queue and offset: where its frame is. Each frame is one block and has one record.
type Written = BTreeMap<(QueueHandle, u64), u64>;

/// One replay goes over everything.
fn options() -> StoreOptions {
    StoreOptions {
        snapshot_every_bytes: 1 << 30,
        ..StoreOptions::test_min()
    }
}

async fn open(disk: &SimDisk, runtime: &SimRuntime) -> SimStore {
    let opened = Store::open(
        disk.clone(),
        runtime.clone(),
        options(),
        TestState::default(),
    );
    opened.await.expect("it opens")
}

fn text(queue: QueueHandle, offset: u64) -> String {
    format!("message {offset} of {}", queue.0)
}

async fn write(store: &SimStore, queue: QueueHandle, offset: u64) -> u64 {
    let bytes = batch(&[&text(queue, offset)]);
    let appended = store
        .append_batch(queue, QueueOffset(offset), &bytes)
        .expect("there is room");
    store.durable(appended.end).await.expect("it runs");
    appended.position.0 / BLOCK * BLOCK
}

async fn create(store: &SimStore, queue: QueueHandle) {
    let created = store.append_control(&create_queue(queue.0));
    let created = created.expect("there is room");
    store.durable(created.end).await.expect("it runs");
}

async fn fill(store: &SimStore) -> Written {
    for queue in QUEUES {
        create(store, queue).await;
    }
    let mut written = Written::new();
    for offset in 0..MESSAGES {
        for queue in QUEUES {
            written.insert((queue, offset), write(store, queue, offset).await);
        }
    }
    create(store, LATE).await;
    write(store, LATE, 0).await;
    written
}

fn on_disk<F: Future<Output = ()> + 'static>(test: impl FnOnce(SimDisk, SimRuntime) -> F) {
    let executor = SimExecutor::new(11);
    let disk = SimDisk::new(&executor.runtime(), SimDiskOptions::default());
    let ended = executor.run(test(disk, executor.runtime()));
    ended.expect("the test runs to its end");
}

/// A copy of the disk with one block of the log damaged.
fn damaged(disk: &SimDisk, block: u64) -> SimDisk {
    let image = disk.crash(CrashPolicy::KeepAll, block);
    let segment_bytes = options().segment_bytes;
    let segment = format!("{:020}.seg", block / segment_bytes);
    assert!(image.damage(&segment, block % segment_bytes, Damage::Noise));
    image
}

const ONE: ReadLimits = ReadLimits {
    max_bytes: 1,
    max_batches: 1,
};

#[test]
fn all_but_the_damaged_frame_is_served() {
    on_disk(async |disk, runtime| {
        let store = open(&disk, &runtime).await;
        let written = fill(&store).await;
        // Time to record how far the log was durable.
        runtime.sleep(Duration::from_millis(500)).await;
        let blocks: Vec<u64> = written.values().copied().collect();
        assert!(blocks.iter().max() > Some(&(2 * options().segment_bytes)));
        for block in blocks {
            let image = damaged(&disk, block);
            let store = open(&image, &runtime).await;
            assert_eq!(store.health().mode, LogMode::ReadOnly, "{block}");
            for queue in QUEUES {
                check(&store, queue, &written, block).await;
            }
            let late = store.read(LATE, QueueOffset(0), ONE).await;
            assert!(matches!(late, Err(ReadError::QueueNotFound(LATE))));
            store.stop().await.expect("there is nothing to write");
        }
    });
    assert_reached(&[
        "recovery: a frame behind the damage is served",
        "recovery: a queue behind the damage is unknown",
        "verdict: messages before a batch are damaged",
    ]);
}

/// Under a checksum that is right, too: a start that looked for each of those segments would never end.
#[test]
fn a_frontier_far_behind_the_last_segment_ends_with_it() {
    on_disk(async |disk, runtime| {
        let store = open(&disk, &runtime).await;
        fill(&store).await;
        let image = disk.crash(CrashPolicy::KeepAll, 1);
        let (file, loaded) = MetaFile::open(&image).await.expect("no fault");
        let Loaded::Present { mut meta, .. } = loaded else {
            panic!("{loaded:?}");
        };
        meta.durable = Position(1 << 62);
        file.write(&mut meta).await.expect("no fault");
        file.close().await.expect("no fault");
        let store = open(&image, &runtime).await;
        assert_eq!(store.health().mode, LogMode::ReadOnly);
        for queue in QUEUES {
            assert_eq!(store.visible_offset(queue), Some(QueueOffset(MESSAGES)));
        }
    });
}

async fn check(store: &SimStore, queue: QueueHandle, written: &Written, block: u64) {
    assert_eq!(store.min_offset(queue), Some(QueueOffset(0)));
    let visible = store.visible_offset(queue).expect("it is known");
    for offset in 0..MESSAGES {
        let is_damaged = written[&(queue, offset)] == block;
        if offset == MESSAGES - 1 && is_damaged {
            // Nobody knows of it; the log says that it is damaged.
            assert_eq!(visible, QueueOffset(offset));
            continue;
        }
        let read = store.read(queue, QueueOffset(offset), ONE).await;
        match read {
            Ok(read) if !is_damaged => {
                let bytes = &read.batches[0].bytes;
                assert_eq!(bodies(bytes), [text(queue, offset).into_bytes()]);
                assert_eq!(read.visible_offset, visible);
            }
            Err(ReadError::Corrupt {
                position,
                next_readable,
            }) if is_damaged => {
                // Where the whole log ends: that may be before the unused end of a segment.
                let before = block - options().segment_reserve_bytes;
                assert!((Position(before)..=Position(block)).contains(&position));
                assert_eq!(next_readable, QueueOffset(offset + 1));
            }
            Ok(read) => panic!("{queue:?} {offset}: {:?}", read.batches.len()),
            Err(error) => panic!("{queue:?} {offset}, {block} is damaged: {error}"),
        }
    }
}

/// What nothing claims to be durable could be undone by a crash.
#[test]
fn nothing_above_the_claimed_frontier_is_served() {
    on_disk(async |disk, runtime| {
        let store = open(&disk, &runtime).await;
        let written = fill(&store).await;
        write(&store, QUEUES[0], MESSAGES).await;
        // No time to record the frontier: the last frame says how far the log was durable before it.
        let image = damaged(&disk, written[&(QUEUES[0], MESSAGES - 4)]);
        let store = open(&image, &runtime).await;
        assert_eq!(store.health().mode, LogMode::ReadOnly);
        for queue in QUEUES {
            let served = store.visible_offset(queue);
            assert_eq!(served, Some(QueueOffset(MESSAGES)));
        }
    });
}

/// Two damaged places: what stands between them and behind them is served.
#[test]
fn several_gaps_are_passed() {
    on_disk(async |disk, runtime| {
        let store = open(&disk, &runtime).await;
        let written = fill(&store).await;
        runtime.sleep(Duration::from_millis(500)).await;
        let holes = [5, 6, 20, MESSAGES - 2].map(|offset| (QUEUES[0], offset));
        let image = damaged(&disk, written[&holes[0]]);
        let segment_bytes = options().segment_bytes;
        for hole in &holes[1..] {
            let block = written[hole];
            let segment = format!("{:020}.seg", block / segment_bytes);
            assert!(image.damage(&segment, block % segment_bytes, Damage::Unreadable));
        }
        let store = open(&image, &runtime).await;
        let (mut at, mut read, mut missing) = (QueueOffset(0), 0, Vec::new());
        while at < store.visible_offset(QUEUES[0]).expect("it is known") {
            match store.read(QUEUES[0], at, ONE).await {
                Ok(found) => {
                    read += found.batches.len() as u64;
                    at = found.next_offset;
                }
                Err(ReadError::Corrupt { next_readable, .. }) => {
                    missing.extend(at.0..next_readable.0);
                    at = next_readable;
                }
                Err(error) => panic!("{at:?}: {error}"),
            }
        }
        assert_eq!(missing, holes.map(|(_, offset)| offset));
        assert_eq!(read, MESSAGES - missing.len() as u64);
    });
    assert_reached(&["recovery: bytes of the log are unreadable"]);
}

/// A segment that is not opened, for want of descriptors say, may hold what was acknowledged: the start ends, and the next
/// one serves it. A segment that is gone costs what was in it.
#[test]
fn a_segment_behind_the_damage_is_waited_for_unless_it_is_gone() {
    on_disk(async |disk, runtime| {
        let store = open(&disk, &runtime).await;
        let written = fill(&store).await;
        runtime.sleep(Duration::from_millis(500)).await;
        let segment_bytes = options().segment_bytes;
        let image = damaged(&disk, written[&(QUEUES[0], 2)]);
        // One that may hold claims to durability, and one that only the search for what stands behind asks for.
        let last = written.values().max().expect("much was written") / segment_bytes;
        for segment in [2, last] {
            image.inject(Fault {
                operation: DiskOperation::Open,
                file_prefix: format!("{segment:020}.seg"),
                skip: 0,
                times: 50,
                effect: FaultEffect::Fail(DiskErrorKind::Failed),
            });
            let (device, clock) = (image.clone(), runtime.clone());
            let refused = Store::open(device, clock, options(), TestState::default()).await;
            let refused = refused.err().expect("it does not open");
            assert!(refused.to_string().contains("Open of"), "{refused}");
            image.clear_faults();
        }
        let store = open(&image, &runtime).await;
        assert_eq!(store.health().mode, LogMode::ReadOnly);
        let end = store.visible_offset(QUEUES[1]);
        assert_eq!(end, Some(QueueOffset(MESSAGES)));
        store.stop().await.expect("there is nothing to write");

        let middle = written[&(QUEUES[1], MESSAGES / 2)] / segment_bytes;
        let name = format!("{middle:020}.seg");
        image.remove(&name).await.expect("it is there");
        let store = open(&image, &runtime).await;
        for queue in QUEUES {
            for offset in 0..MESSAGES {
                let block = written[&(queue, offset)];
                let gone = block / segment_bytes == middle || (queue, offset) == (QUEUES[0], 2);
                match store.read(queue, QueueOffset(offset), ONE).await {
                    Ok(read) => {
                        let found = bodies(&read.batches[0].bytes);
                        assert!(!gone && found == [text(queue, offset).into_bytes()]);
                    }
                    Err(ReadError::Corrupt { .. }) => assert!(gone, "{queue:?} {offset}"),
                    Err(error) => panic!("{queue:?} {offset}: {error}"),
                }
            }
        }
    });
    assert_reached(&[
        "recovery: a segment that may hold claims is not opened",
        "recovery: a segment behind the damage is not opened",
        "recovery: a segment is missing behind the damage",
    ]);
}
