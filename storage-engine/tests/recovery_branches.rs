//! Branches of recovery that no power cut leads into: files that somebody changed or lost, disks that are full or refuse
//! while a start mends. Each test asserts the verdict, and that the branch was reached.

mod support;

use ringmq_storage_engine::disk::sim::{
    CrashPolicy, Damage, Fault, FaultEffect, SimDisk, SimDiskOptions,
};
use ringmq_storage_engine::disk::{Disk, DiskErrorKind, DiskFile, DiskOperation};
use ringmq_storage_engine::marks::assert_reached;
use ringmq_storage_engine::position::QueueOffset;
use ringmq_storage_engine::runtime::Runtime;
use ringmq_storage_engine::runtime::sim::{SimExecutor, SimRuntime};
use ringmq_storage_engine::store::{LogMode, OpenError, ReadError, StoreOptions};
use std::time::Duration;
use support::numbered::{ONE, QUEUE, append, create, on_disk, open, open_with, read_all};

const BLOCK: u64 = 4096;
const META: &str = "shard.meta";

fn named(disk: &SimDisk, end: &str) -> Vec<String> {
    let names = disk.names().into_iter();
    names.filter(|name| name.ends_with(end)).collect()
}

/// A block as it is, and changed.
fn edit(disk: &SimDisk, file: &str, offset: u64, change: impl Fn(&mut [u8])) {
    let bytes = disk.bytes(file).expect("it is there");
    let at = offset as usize;
    let mut block = bytes[at..at + BLOCK as usize].to_vec();
    change(&mut block);
    assert!(disk.damage(file, offset, Damage::Bytes(block)));
}

fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

/// Makes the checksums of an edited slot of `shard.meta` hold.
fn seal_slot(slot: &mut [u8]) {
    let sum = crc32fast::hash(&slot[..4092]);
    put_u32(slot, 4092, sum);
}

/// Makes the checksums of an edited frame hold.
fn seal_frame(frame: &mut [u8]) {
    let body = u32::from_le_bytes(*frame[32..].first_chunk().expect("a header"));
    let sum = crc32fast::hash(&frame[128..128 + body as usize]);
    put_u32(frame, 60, sum);
    let sum = crc32fast::hash(&frame[..72]);
    put_u32(frame, 72, sum);
    let local = [&frame[72..76], &frame[80..120]].concat();
    put_u32(frame, 76, crc32fast::hash(&local));
}

#[test]
fn a_meta_of_a_newer_version_and_an_emptied_one_are_refused() {
    on_disk(async |disk, runtime| {
        let options = StoreOptions::test_min();
        let store = open(&disk, &runtime, &options).await.expect("it opens");
        create(&store, QUEUE).await;
        store.stop().await.expect("stopped");
        let newer = disk.crash(CrashPolicy::KeepAll, 1);
        edit(&newer, META, BLOCK, |slot| {
            slot[4] = 2;
            seal_slot(slot);
        });
        let refused = open(&newer, &runtime, &options).await.err();
        assert!(matches!(
            refused,
            Some(OpenError::NewerVersion { found: 2, .. })
        ));
        for slot in [0, BLOCK] {
            edit(&disk, META, slot, |slot| slot.fill(0));
        }
        let refused = open(&disk, &runtime, &options).await.err();
        assert!(matches!(refused, Some(OpenError::MetaUnreadable(_))));
        disk.lift_damage();
        assert!(open(&disk, &runtime, &options).await.is_ok());
    });
    assert_reached(&[
        "recovery: shard.meta is of a newer version",
        "recovery: shard.meta is empty beside segments",
    ]);
}

/// As long as the log goes back to its beginning, no snapshot is needed. Behind retention one is.
#[test]
fn without_any_snapshot_the_whole_log_is_replayed_or_the_start_refused() {
    for keeps_all in [true, false] {
        on_disk(async move |disk, runtime| {
            let segment_bytes = StoreOptions::test_min().segment_bytes;
            let options = StoreOptions {
                retention_bytes: (!keeps_all).then_some(4 * segment_bytes),
                ..StoreOptions::test_min()
            };
            let store = open_with(&disk, &runtime, &options, 100).await;
            runtime.sleep(Duration::from_secs(1)).await;
            append(&store, 100..140).await;
            store.stop().await.expect("stopped");
            for snapshot in named(&disk, ".snap") {
                assert!(disk.damage(&snapshot, 0, Damage::Noise));
            }
            match open(&disk, &runtime, &options).await {
                Ok(store) => {
                    assert!(keeps_all, "nothing tells what was below");
                    assert_eq!(read_all(&store).await, 0..140);
                }
                Err(OpenError::StateUnavailable(why)) => assert!(!keeps_all, "{why}"),
                Err(error) => panic!("{error}"),
            }
        });
    }
    assert_reached(&[
        "recovery: no snapshot is whole",
        "recovery: the log does not reach back to where the state could begin",
    ]);
}

/// The removal of a retired segment can reach the disk without that of its index.
#[test]
fn an_index_whose_segment_is_gone_goes_at_a_start() {
    on_disk(async |disk, runtime| {
        let options = StoreOptions {
            retention_bytes: Some(4 * StoreOptions::test_min().segment_bytes),
            ..StoreOptions::test_min()
        };
        let store = open_with(&disk, &runtime, &options, 40).await;
        let oldest = named(&disk, ".idx").swap_remove(0);
        let bytes = disk.bytes(&oldest).expect("it is there");
        append(&store, 40..140).await;
        runtime.sleep(Duration::from_secs(1)).await;
        store.stop().await.expect("stopped");
        assert_eq!(disk.bytes(&oldest), None);
        let left = disk.create(&oldest).await.expect("it is made");
        left.allocate(bytes.len() as u64).await.expect("it grows");
        left.close().await.expect("closed");
        for (at, block) in bytes.chunks(BLOCK as usize).enumerate() {
            let damage = Damage::Bytes(block.to_vec());
            assert!(disk.damage(&oldest, at as u64 * BLOCK, damage));
        }
        let store = open(&disk, &runtime, &options).await.expect("it opens");
        assert_eq!(disk.bytes(&oldest), None);
        assert_eq!(read_all(&store).await.end, 140);
    });
    assert_reached(&["recovery: an index without its segment is removed"]);
}

/// One slot of `shard.meta` is lost after retention: the other may not know where the log starts.
#[test]
fn a_slot_that_knew_of_retention_may_be_lost() {
    for slot in [0, BLOCK] {
        on_disk(async move |disk, runtime| {
            let options = StoreOptions {
                retention_bytes: Some(4 * StoreOptions::test_min().segment_bytes),
                ..StoreOptions::test_min()
            };
            let store = open(&disk, &runtime, &options).await.expect("it opens");
            create(&store, QUEUE).await;
            for round in 0..8 {
                append(&store, 20 * round..20 * round + 20).await;
                let retired = store.metrics().segments_retired;
                runtime.sleep(Duration::from_millis(60)).await;
                if store.metrics().segments_retired == retired {
                    continue;
                }
                let image = disk.crash(CrashPolicy::LoseAll, round);
                assert!(image.damage(META, slot, Damage::Unreadable));
                let found = open(&image, &runtime, &options).await.expect("it opens");
                assert_eq!(found.health().mode, LogMode::Serving);
                let read = read_all(&found).await;
                assert_eq!(read.end, 20 * round + 20);
                assert!(read.start <= store.min_offset(QUEUE).expect("it is known").0);
            }
            assert!(store.metrics().segments_retired >= 3);
        });
    }
    assert_reached(&["recovery: one slot of shard.meta is lost"]);
}

/// Right checksums, wrong content: what a writer with a defect, or somebody with an editor, could leave.
#[test]
fn frames_that_hold_but_say_nonsense_are_refused_in_words() {
    on_disk(async |disk, runtime| {
        let options = StoreOptions::test_min();
        let _store = open_with(&disk, &runtime, &options, 5).await;
        // Time to record how far the log was durable.
        runtime.sleep(Duration::from_millis(500)).await;
        let segment = &named(&disk, ".seg")[0];
        let last = 5 * BLOCK;

        let miscounted = disk.crash(CrashPolicy::KeepAll, 1);
        edit(&miscounted, segment, last, |frame| {
            put_u32(frame, 36, 2);
            seal_frame(frame);
        });
        let store = open(&miscounted, &runtime, &options)
            .await
            .expect("it opens");
        let health = store.health();
        assert_eq!(health.mode, LogMode::ReadOnly);
        let reason = health.reason.expect("damage has one");
        assert!(reason.contains("records where the header"), "{reason}");

        let twice = disk.crash(CrashPolicy::KeepAll, 2);
        edit(&twice, segment, last, |frame| {
            // Header of the frame, of the record, and the first fields of the batch.
            frame[128 + 8 + 8..][..8].copy_from_slice(&1u64.to_le_bytes());
            seal_frame(frame);
        });
        match open(&twice, &runtime, &options).await {
            Err(OpenError::StateUnavailable(why)) => assert!(why.contains("contradicts"), "{why}"),
            other => panic!("opened: {}", other.is_ok()),
        }
    });
    assert_reached(&[
        "recovery: a whole frame's records are not whole",
        "recovery: a record contradicts the log",
    ]);
}

/// A process that was killed leaves frames that nothing recorded as durable; the disk has no room for a copy of them.
#[test]
fn a_start_without_room_for_a_copy_of_the_tail_serves_all_the_same() {
    on_disk(async |disk, runtime| {
        let options = StoreOptions::test_min();
        let _store = open_with(&disk, &runtime, &options, 9).await;
        let full = disk.kill_onto(&runtime, 1);
        full.set_capacity_bytes(full.used_bytes());
        let store = open(&full, &runtime, &options).await.expect("it opens");
        assert_eq!(read_all(&store).await, 0..9);
    });
    assert_reached(&["recovery: no space to write the tail again"]);
}

/// The start that writes the tail again is cut in the middle, and the next one has no room for a second copy.
#[test]
fn a_copy_of_the_tail_is_put_back_on_a_full_disk() {
    for point in 0..60 {
        let executor = SimExecutor::new(3);
        let runtime = executor.runtime();
        let disk = SimDisk::new(&runtime, SimDiskOptions::default());
        let options = StoreOptions::test_min();
        let (living, first) = (disk.clone(), options.clone());
        let filled = executor.run(async move {
            let _store = open_with(&living, &runtime, &first, 9).await;
        });
        filled.expect("nothing cuts it");
        executor.abort_all();
        let executor = SimExecutor::new(4);
        let runtime = executor.runtime();
        let disk = disk.kill_onto(&runtime, point);
        disk.crash_at(disk.effects() + point);
        let (living, second) = (disk.clone(), options.clone());
        // Ends where the power goes, or before.
        let _ = executor.run(async move { open(&living, &runtime, &second).await.is_ok() });
        executor.abort_all();
        let executor = SimExecutor::new(5);
        let runtime = executor.runtime();
        let disk = disk.crash_onto(&runtime, CrashPolicy::RandomSubset, point);
        disk.set_capacity_bytes(disk.used_bytes());
        let found = executor.run(async move {
            let store = open(&disk, &runtime, &options).await.expect("it opens");
            assert_eq!(store.health().mode, LogMode::Serving);
            read_all(&store).await
        });
        assert_eq!(found.expect("nothing cuts it"), 0..9, "at {point}");
    }
    assert_reached(&["recovery: a copy of the tail is put back without another"]);
}

const COPY: &str = "tail-0.copy";

/// A disk on which a start was cut when it had made its copy of the tail.
fn with_copy_of_the_tail() -> SimDisk {
    let executor = SimExecutor::new(3);
    let runtime = executor.runtime();
    let disk = SimDisk::new(&runtime, SimDiskOptions::default());
    let living = disk.clone();
    let filled = executor.run(async move {
        let options = StoreOptions::test_min();
        let _store = open_with(&living, &runtime, &options, 9).await;
    });
    filled.expect("nothing cuts it");
    executor.abort_all();
    // Some removal is that of the copy.
    let left = (0..10).find_map(|skip| {
        let executor = SimExecutor::new(4);
        let runtime = executor.runtime();
        let disk = disk.kill_onto(&runtime, skip);
        disk.inject(Fault {
            operation: DiskOperation::Remove,
            file_prefix: String::new(),
            skip: skip as u32,
            times: 1,
            effect: FaultEffect::Fail(DiskErrorKind::Failed),
        });
        let living = disk.clone();
        let refused = executor.run(async move {
            let options = StoreOptions::test_min();
            open(&living, &runtime, &options).await.is_err()
        });
        assert!(refused.is_ok(), "nothing cuts it");
        executor.abort_all();
        let image = disk.crash(CrashPolicy::KeepAll, 1);
        image.bytes(COPY).is_some().then_some(image)
    });
    left.expect("the copy stays")
}

/// The copy is believed only if it is whole; what it would have mended is whole here, so every message is served.
#[test]
fn a_copy_of_the_tail_may_have_any_bytes() {
    let copied = with_copy_of_the_tail();
    let copy = copied.bytes(COPY).expect("it was left");
    assert!(copy.len() >= 2 * BLOCK as usize);
    let executor = SimExecutor::new(5);
    let runtime = executor.runtime();
    let ended = executor.run(async move {
        let mut cases: Vec<Vec<u8>> = Vec::new();
        for bit in (0..copy.len() * 8).step_by(997) {
            let mut bytes = copy.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            cases.push(bytes);
        }
        // Under right checksums, too: lengths that are no frames', and frames in other places.
        for frames_bytes in [0, 100, BLOCK, u64::MAX] {
            let mut bytes = copy.clone();
            bytes[32..40].copy_from_slice(&frames_bytes.to_le_bytes());
            seal_copy(&mut bytes);
            cases.push(bytes);
        }
        for position in [15 * BLOCK, 1 << 40, u64::MAX - BLOCK + 1] {
            let mut bytes = copy.clone();
            let frame = &mut bytes[BLOCK as usize..];
            frame[24..32].copy_from_slice(&position.to_le_bytes());
            put_u32(frame, 32, BLOCK as u32 - 128);
            seal_frame(frame);
            seal_copy(&mut bytes);
            cases.push(bytes);
        }
        for (number, bytes) in cases.iter().enumerate() {
            let image = copied.crash_onto(&runtime, CrashPolicy::KeepAll, number as u64);
            for (at, block) in bytes.chunks(BLOCK as usize).enumerate() {
                let offset = at as u64 * BLOCK;
                assert!(image.damage(COPY, offset, Damage::Bytes(block.to_vec())));
            }
            let options = StoreOptions::test_min();
            let store = open(&image, &runtime, &options).await.expect("it opens");
            assert_eq!(store.health().mode, LogMode::Serving, "case {number}");
            assert_eq!(read_all(&store).await, 0..9, "case {number}");
            assert_eq!(image.bytes(COPY), None, "case {number}: it is gone");
            store.stop().await.expect("stopped");
        }
        assert!(cases.len() > 60, "{} cases", cases.len());
    });
    ended.expect("nothing cuts it");
}

/// Makes the checksums of an edited copy hold, as far as it has the bytes that it claims.
fn seal_copy(copy: &mut [u8]) {
    let (header, frames) = copy.split_at_mut(BLOCK as usize);
    let len = u64::from_le_bytes(*header[32..].first_chunk().expect("a header"));
    let len = usize::try_from(len).unwrap_or(usize::MAX).min(frames.len());
    put_u32(header, 40, crc32fast::hash(&frames[..len]));
    let sum = crc32fast::hash(&header[..4092]);
    put_u32(header, 4092, sum);
}

/// Appends until retention, which keeps so many segments, has taken the first messages, and stops.
async fn fill_to_retention(disk: &SimDisk, runtime: &SimRuntime, segments: u64) -> StoreOptions {
    let options = StoreOptions {
        retention_bytes: Some(segments * StoreOptions::test_min().segment_bytes),
        ..StoreOptions::test_min()
    };
    let store = open(disk, runtime, &options).await.expect("it opens");
    create(&store, QUEUE).await;
    let mut number = 0;
    while store.min_offset(QUEUE) == Some(QueueOffset(0)) {
        append(&store, number..number + 20).await;
        number += 20;
        runtime.sleep(Duration::from_millis(100)).await;
    }
    store.stop().await.expect("stopped");
    options
}

async fn lose(disk: &SimDisk, bundles: &[String]) {
    for name in bundles {
        disk.remove(name).await.expect("it is there");
    }
    disk.sync_dir().await.expect("no fault");
}

#[test]
fn lost_bundles_are_made_again_however_many_and_whatever_stands_behind_them() {
    on_disk(async |disk, runtime| {
        let options = fill_to_retention(&disk, &runtime, 24).await;
        let bundles = named(&disk, ".idx");
        assert!(bundles.len() > 18, "{} bundles", bundles.len());
        let whole = disk.crash(CrashPolicy::KeepAll, 1);
        let store = open(&whole, &runtime, &options).await.expect("it opens");
        let expected = read_all(&store).await;
        assert!(expected.start > 0);
        for lost in [bundles.len(), 18] {
            let image = disk.crash(CrashPolicy::KeepAll, lost as u64);
            lose(&image, &bundles[..lost]).await;
            let store = open(&image, &runtime, &options).await.expect("it opens");
            // A queue with messages in all of them needs nobody to tell where it stands.
            assert_eq!(read_all(&store).await, expected, "{lost} lost");
        }
        // Of some of these bundles the segments are damaged, too: what is behind is served, what is damaged is reported.
        let image = disk.crash(CrashPolicy::KeepAll, 4);
        lose(&image, &bundles[..3]).await;
        let segment = bundles[1].replace(".idx", ".seg");
        assert!(image.damage(&segment, 3 * BLOCK, Damage::Noise));
        let store = open(&image, &runtime, &options).await.expect("it opens");
        let mut at = store.min_offset(QUEUE).expect("it is known");
        assert_eq!(at.0, expected.start);
        let mut missing = Vec::new();
        while at.0 < expected.end {
            match store.read(QUEUE, at, ONE).await {
                Ok(read) => at = read.next_offset,
                Err(ReadError::Corrupt { next_readable, .. }) => {
                    missing.extend(at.0..next_readable.0);
                    at = next_readable;
                }
                Err(error) => panic!("{at:?}: {error}"),
            }
        }
        assert!(!missing.is_empty() && missing.len() <= 2, "{missing:?}");
    });
    on_disk(async |disk, runtime| {
        let options = fill_to_retention(&disk, &runtime, 6).await;
        let store = open(&disk, &runtime, &options).await.expect("it opens");
        let expected = read_all(&store).await;
        store.stop().await.expect("stopped");
        lose(&disk, &named(&disk, ".idx")).await;
        let store = open(&disk, &runtime, &options).await.expect("it opens");
        assert_eq!(read_all(&store).await, expected, "all lost");
    });
    assert_reached(&[
        "index: too many in a row are lost",
        "index: what is in memory tells where queues start",
        "index: a damaged segment leaves it unknown where queues start",
        "index: not all of a segment is found",
    ]);
}

/// For want of descriptors, say: that is no reason to make an index without what is in the segment.
#[test]
fn an_index_is_not_made_of_a_segment_that_is_not_opened() {
    on_disk(async |disk, runtime| {
        let options = StoreOptions::test_min();
        let store = open_with(&disk, &runtime, &options, 60).await;
        store.stop().await.expect("stopped");
        let bundles = named(&disk, ".idx");
        lose(&disk, &bundles[..1]).await;
        disk.inject(Fault {
            operation: DiskOperation::Open,
            file_prefix: bundles[0].replace(".idx", ".seg"),
            skip: 0,
            times: 50,
            effect: FaultEffect::Fail(DiskErrorKind::Failed),
        });
        let refused = open(&disk, &runtime, &options).await.err();
        assert!(matches!(refused, Some(OpenError::StateUnavailable(_))));
        disk.clear_faults();
        let store = open(&disk, &runtime, &options).await.expect("it opens");
        assert_eq!(read_all(&store).await, 0..60);
    });
    assert_reached(&["index: its segment is not opened"]);
}

/// A snapshot knows of messages that the log cannot show any more.
#[test]
fn what_only_a_snapshot_knows_of_is_reported() {
    on_disk(async |disk, runtime| {
        let options = StoreOptions::test_min();
        let store = open_with(&disk, &runtime, &options, 1).await;
        store.stop().await.expect("stopped");
        assert!(disk.damage(&named(&disk, ".seg")[0], BLOCK, Damage::Noise));
        let store = open(&disk, &runtime, &options).await.expect("it opens");
        assert_eq!(store.health().mode, LogMode::ReadOnly);
        let read = store.read(QUEUE, QueueOffset(0), ONE).await;
        assert!(matches!(read, Err(ReadError::Corrupt { .. })));
    });
    assert_reached(&["verdict: messages that the state knows of are missing"]);
}
