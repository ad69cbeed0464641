//! Sealing, retention and the making of lost indexes: each goes on where a crash or a disk that refused left it.

mod support;

use ringmq_storage_engine::disk::sim::{Fault, FaultEffect, SimDisk};
use ringmq_storage_engine::disk::{Disk, DiskErrorKind, DiskOperation};
use ringmq_storage_engine::index::IndexError;
use ringmq_storage_engine::marks::assert_reached;
use ringmq_storage_engine::position::QueueOffset;
use ringmq_storage_engine::runtime::Runtime;
use ringmq_storage_engine::store::{LogMode, ReadError, StoreOptions};
use std::time::Duration;
use support::numbered::{ONE, QUEUE, append, on_disk, open, open_with, read_all};

/// Numbers of the files that end like this, rising.
fn numbers(disk: &SimDisk, suffix: &str) -> Vec<u64> {
    let names = disk.names();
    let digits = names.iter().filter_map(|name| name.strip_suffix(suffix));
    let mut numbers: Vec<u64> = digits.filter_map(|digits| digits.parse().ok()).collect();
    numbers.sort_unstable();
    numbers
}

fn name_of(number: u64, suffix: &str) -> String {
    format!("{number:020}{suffix}")
}

fn fails(operation: DiskOperation, file_prefix: String, kind: DiskErrorKind, times: u32) -> Fault {
    Fault {
        operation,
        file_prefix,
        skip: 0,
        times,
        effect: FaultEffect::Fail(kind),
    }
}

fn keeping(segments: u64) -> StoreOptions {
    StoreOptions {
        retention_bytes: Some(segments * StoreOptions::test_min().segment_bytes),
        ..StoreOptions::test_min()
    }
}

/// A crash may come between a snapshot and the seal of the segment below it. The next segments are sealed all the same.
#[test]
fn a_lost_index_does_not_keep_the_segments_behind_it_from_being_sealed() {
    on_disk(async |disk, runtime| {
        let options = StoreOptions::test_min();
        let store = open_with(&disk, &runtime, &options, 60).await;
        store.stop().await.expect("stopped");
        let newest = *numbers(&disk, ".idx").last().expect("some are sealed");
        disk.remove(&name_of(newest, ".idx"))
            .await
            .expect("it is there");
        let store = open(&disk, &runtime, &options).await.expect("it opens");
        append(&store, 60..120).await;
        store.stop().await.expect("stopped");
        let ended = numbers(&disk, ".seg").into_iter().rev().skip(2).rev();
        assert_eq!(numbers(&disk, ".idx"), ended.collect::<Vec<_>>());
        assert!(store.metrics().segments_sealed >= 2);
        assert_eq!(read_all(&store).await, 0..120);
    });
}

#[test]
fn an_index_that_cannot_be_written_waits_and_a_stop_does_not() {
    on_disk(async |disk, runtime| {
        let options = StoreOptions::test_min();
        let store = open_with(&disk, &runtime, &options, 4).await;
        // The index, under whatever name it is written first.
        let index = name_of(0, ".idx");
        let kind = DiskErrorKind::NoSpace;
        disk.inject(fails(DiskOperation::Create, index, kind, u32::MAX));
        append(&store, 4..60).await;
        assert_eq!(store.health().mode, LogMode::Serving);
        assert!(numbers(&disk, ".idx").is_empty());
        store.stop().await.expect("stopped");
        let store = open(&disk, &runtime, &options).await.expect("it opens");
        append(&store, 60..70).await;
        let full = store.read(QUEUE, QueueOffset(0), ONE).await;
        assert!(matches!(
            full,
            Err(ReadError::Index(IndexError::Write { .. }))
        ));
        disk.clear_faults();
        assert_eq!(read_all(&store).await, 0..70);
    });
    assert_reached(&[
        "verdict: an index has to wait",
        "recovery: no space to make an index again",
    ]);
}

/// Whatever step of a removal fails, the next look at old segments ends it.
#[test]
fn a_removal_that_failed_is_ended_later() {
    let operations = [
        DiskOperation::Remove,
        DiskOperation::Rename,
        DiskOperation::Read,
    ];
    for operation in operations {
        for lose_oldest in [false, true] {
            on_disk(async move |disk, runtime| {
                let store = open_with(&disk, &runtime, &StoreOptions::test_min(), 100).await;
                store.stop().await.expect("stopped");
                let options = keeping(4);
                let store = open(&disk, &runtime, &options).await.expect("it opens");
                let oldest = numbers(&disk, ".seg")[0];
                if lose_oldest {
                    let index = name_of(oldest, ".idx");
                    disk.remove(&index).await.expect("it is there");
                }
                let kind = DiskErrorKind::Failed;
                disk.inject(fails(operation, name_of(oldest, ""), kind, 20));
                append(&store, 100..140).await;
                runtime.sleep(Duration::from_secs(2)).await;
                assert_eq!(store.health().mode, LogMode::Serving, "{operation:?}");
                let first = store.min_offset(QUEUE).expect("it is known");
                assert!(first > QueueOffset(60), "{operation:?}: from {first:?}");
                assert_eq!(read_all(&store).await.end, 140);
                let (segments, indexes) = (numbers(&disk, ".seg"), numbers(&disk, ".idx"));
                assert!(segments.len() <= 8, "{operation:?}: {segments:?}");
                assert!(indexes[0] >= segments[0], "{operation:?}: {indexes:?}");
            });
        }
    }
}

/// What cannot be read now is not damaged for ever: no index is made that leaves it out.
#[test]
fn an_index_is_not_made_again_of_what_the_disk_refuses_to_read() {
    on_disk(async |disk, runtime| {
        let store = open_with(&disk, &runtime, &StoreOptions::test_min(), 60).await;
        store.stop().await.expect("stopped");
        let options = StoreOptions::test_min();
        let store = open(&disk, &runtime, &options).await.expect("it opens");
        let lost = numbers(&disk, ".idx")[1];
        disk.remove(&name_of(lost, ".idx"))
            .await
            .expect("it is there");
        let segment = name_of(lost, ".seg");
        disk.inject(fails(
            DiskOperation::Read,
            segment,
            DiskErrorKind::Failed,
            u32::MAX,
        ));
        let mut refused = 0;
        for number in 0..60 {
            match store.read(QUEUE, QueueOffset(number), ONE).await {
                Ok(_) => {}
                Err(ReadError::Index(IndexError::NotRead { segment, .. })) => {
                    assert_eq!(segment, lost);
                    refused += 1;
                }
                Err(error) => panic!("{number}: {error}"),
            }
        }
        assert!(refused > 2, "{refused} refused");
        assert_eq!(numbers(&disk, ".idx").binary_search(&lost).ok(), None);
        disk.clear_faults();
        assert_eq!(read_all(&store).await, 0..60);
    });
    assert_reached(&["index: its segment is not read"]);
}
