//! A device that reports writes as done which it lost, or put elsewhere. What it loses is below the durable frontier,
//! so it is damage: never wrong bytes, never silence. And: the marks of recovery's branches, each reached on purpose.

mod support;

use ringmq_storage_engine::disk::sim::{
    CrashPolicy, Damage, Fault, FaultEffect, SimDisk, SimDiskOptions,
};
use ringmq_storage_engine::disk::{DiskErrorKind, DiskOperation};
use ringmq_storage_engine::marks::assert_reached;
use ringmq_storage_engine::position::{QueueHandle, QueueOffset};
use ringmq_storage_engine::runtime::Runtime;
use ringmq_storage_engine::runtime::sim::{SimExecutor, SimRuntime};
use ringmq_storage_engine::store::{
    AppendError, LogMode, OpenError, ReadError, ReadLimits, Store, StoreOptions,
};
use std::time::Duration;
use support::{TestState, batch, bodies, create_queue};

type SimStore = Store<SimDisk, SimRuntime, TestState>;

const QUEUE: QueueHandle = QueueHandle(1);
const MESSAGES: u64 = 40;
const META: &str = "shard.meta";

async fn open(disk: &SimDisk, runtime: &SimRuntime) -> Result<SimStore, OpenError> {
    let (disk, runtime) = (disk.clone(), runtime.clone());
    Store::open(
        disk,
        runtime,
        StoreOptions::test_min(),
        TestState::default(),
    )
    .await
}

fn body(number: u64) -> String {
    format!("message {number} {}", "z".repeat(1500))
}

/// Makes the queue and appends messages, each durable before the next one; `before` is called with each number.
async fn fill(store: &SimStore, before: impl Fn(u64)) {
    let created = store.append_control(&create_queue(1)).expect("a queue");
    store.durable(created.end).await.expect("it runs");
    fill_from(store, 0, before).await;
}

async fn fill_from(store: &SimStore, first: u64, before: impl Fn(u64)) {
    for number in first..first + MESSAGES {
        before(number);
        loop {
            match store.append_batch(QUEUE, QueueOffset(number), &batch(&[&body(number)])) {
                Ok(appended) => break store.durable(appended.end).await.expect("it runs"),
                Err(AppendError::Busy) => store.wait_room(4096).await.expect("it runs"),
                Err(error) => panic!("not appended: {error}"),
            }
        }
    }
}

/// Messages that are there, each at its place; the rest is reported.
async fn readable(store: &SimStore) -> u64 {
    let limits = ReadLimits {
        max_bytes: 1,
        max_batches: 1,
    };
    let (mut at, mut found) = (QueueOffset(0), 0);
    while at < QueueOffset(MESSAGES) {
        match store.read(QUEUE, at, limits).await {
            Ok(read) if read.batches.is_empty() => break,
            Ok(read) => {
                assert_eq!(bodies(&read.batches[0].bytes), [body(at.0).into_bytes()]);
                found += 1;
                at = read.next_offset;
            }
            Err(ReadError::Corrupt { next_readable, .. }) if next_readable > at => {
                at = next_readable;
            }
            Err(ReadError::Corrupt { .. }) => break,
            Err(error) => {
                assert_eq!(store.health().mode, LogMode::ReadOnly, "{error}");
                break;
            }
        }
    }
    found
}

fn on_disk<F: Future<Output = ()> + 'static>(
    seed: u64,
    test: impl FnOnce(SimDisk, SimRuntime) -> F,
) {
    let executor = SimExecutor::new(seed);
    let disk = SimDisk::new(&executor.runtime(), SimDiskOptions::default());
    let ended = executor.run(test(disk, executor.runtime()));
    ended.expect("the test runs to its end");
}

/// One frame of the log is lost or lands elsewhere, while everything says that it is durable.
#[test]
fn writes_that_a_device_lost_or_put_elsewhere_are_reported() {
    for effect in [FaultEffect::Lose, FaultEffect::Misdirect(8192)] {
        for victim in [0, 7, 20, MESSAGES - 1] {
            for clean in [true, false] {
                on_disk(victim, async move |disk, runtime| {
                    let store = open(&disk, &runtime).await.expect("it opens");
                    let faulty = disk.clone();
                    fill(&store, |number| {
                        if number == victim {
                            faulty.inject(Fault {
                                operation: DiskOperation::Write,
                                file_prefix: "0000".to_owned(),
                                skip: 0,
                                times: 1,
                                effect,
                            });
                        }
                    })
                    .await;
                    let disk = if clean {
                        store.stop().await.expect("stopped");
                        disk
                    } else {
                        // Time to record how far the log was durable.
                        runtime.sleep(Duration::from_millis(500)).await;
                        disk.crash(CrashPolicy::LoseAll, victim)
                    };
                    let store = open(&disk, &runtime).await.expect("it opens");
                    let found = readable(&store).await;
                    assert!(
                        found < MESSAGES,
                        "{effect:?} of {victim}: nothing is reported"
                    );
                    // A write that landed elsewhere costs two frames.
                    assert!(
                        found + 2 >= MESSAGES,
                        "{effect:?} of {victim}: only {found} are served"
                    );
                    let mode = store.health().mode;
                    let expected = matches!(mode, LogMode::Serving | LogMode::ReadOnly);
                    assert!(expected, "{effect:?} of {victim}: {mode:?}");
                });
            }
        }
    }
}

/// Marks that the next test reaches on purpose.
const MARKS: [&str; 17] = [
    "recovery: a new directory",
    "recovery: after a clean stop",
    "recovery: claims are looked for behind the end",
    "recovery: a frame stands behind the end",
    "recovery: from a snapshot",
    "recovery: the tail is cut",
    "recovery: damage below the frontier",
    "recovery: a frame behind the damage is served",
    "recovery: one slot of shard.meta is lost",
    "recovery: both slots of shard.meta are lost",
    "recovery: a snapshot is passed over",
    "recovery: an index is made again",
    "verdict: a stored batch is damaged",
    "recovery: no space for the next segment",
    "segments: one is used again",
    "verdict: the log stops",
    "verdict: no space",
];

#[test]
fn recovery_reaches_its_branches() {
    on_disk(1, async |disk, runtime| {
        let store = open(&disk, &runtime).await.expect("it opens");
        fill(&store, |_| {}).await;
        let cut = disk.crash(CrashPolicy::KeepAll, 1);
        store.stop().await.expect("stopped");
        let store = open(&disk, &runtime).await.expect("after a clean stop");
        store.stop().await.expect("stopped");

        // What is derived is made good, what was acknowledged is reported.
        let named = |end: &'static str| disk.names().into_iter().filter(move |n| n.ends_with(end));
        let segment = named(".seg").nth(1).expect("several segments");
        assert!(disk.damage(&segment, 3 * 4096, Damage::Noise));
        let bundle = named(".idx").next().expect("sealed segments have one");
        assert!(disk.damage(&bundle, 0, Damage::Noise));
        let store = open(&disk, &runtime)
            .await
            .expect("damage keeps no log shut");
        assert!(readable(&store).await < MESSAGES);
        store.stop().await.expect("stopped");

        // What is there twice has another.
        assert!(disk.damage(META, 0, Damage::Unreadable));
        let newest = named(".snap").next_back().expect("a clean stop writes one");
        assert!(disk.damage(&newest, 0, Damage::Noise));
        let store = open(&disk, &runtime)
            .await
            .expect("the older snapshot is there");
        // Its replay may meet the damage.
        let _ = store.stop().await;
        for slot in [0, 4096] {
            disk.damage(META, slot, Damage::Noise);
        }
        assert!(open(&disk, &runtime).await.is_err());

        // Without a clean stop the newest segment is replayed.
        let newest = cut.names().into_iter().rfind(|name| name.ends_with(".seg"));
        let written = |name: &String| cut.bytes(name).is_some_and(|bytes| bytes[..4] != [0; 4]);
        let active = cut
            .names()
            .into_iter()
            .rfind(|name| name.ends_with(".seg") && written(name));
        assert!(cut.damage(&active.or(newest).expect("a segment"), 0, Damage::Noise));
        let store = open(&cut, &runtime)
            .await
            .expect("what lies below is served");
        assert_eq!(store.health().mode, LogMode::ReadOnly);
    });
    on_disk(2, async |disk, runtime| {
        let store = open(&disk, &runtime).await.expect("it opens");
        disk.inject(Fault {
            operation: DiskOperation::Write,
            file_prefix: "0000".to_owned(),
            skip: 0,
            times: 1,
            effect: FaultEffect::Fail(DiskErrorKind::Failed),
        });
        let created = store.append_control(&create_queue(1)).expect("a queue");
        assert!(store.durable(created.end).await.is_err());
    });
    // A disk without room for another segment.
    on_disk(3, async |disk, runtime| {
        let store = open(&disk, &runtime).await.expect("it opens");
        let created = store.append_control(&create_queue(1)).expect("a queue");
        store.durable(created.end).await.expect("it runs");
        disk.set_capacity_bytes(disk.used_bytes() + 4096);
        let mut number = 0;
        loop {
            let batch = batch(&[&body(number)]);
            match store.append_batch(QUEUE, QueueOffset(number), &batch) {
                Ok(appended) => store.durable(appended.end).await.expect("it runs"),
                Err(AppendError::Busy) => {
                    runtime.sleep(Duration::from_millis(1)).await;
                    continue;
                }
                Err(AppendError::NoSpace) => break,
                Err(error) => panic!("not appended: {error}"),
            }
            number += 1;
        }
        let cut = disk.crash(CrashPolicy::KeepAll, 1);
        assert!(open(&cut, &runtime).await.is_ok());
    });
    // Retired segments are used again.
    on_disk(4, async |disk, runtime| {
        let options = StoreOptions {
            retention_bytes: Some(3 * 16 * 4096),
            snapshot_every_bytes: 8 * 4096,
            ..StoreOptions::test_min()
        };
        let (device, clock) = (disk.clone(), runtime.clone());
        let store = Store::open(device, clock, options, TestState::default()).await;
        let store = store.expect("it opens");
        let clock = runtime.clone();
        let created = store.append_control(&create_queue(1)).expect("a queue");
        store.durable(created.end).await.expect("it runs");
        for round in 0..6 {
            let from = round * MESSAGES;
            fill_from(&store, from, |_| {}).await;
            clock.sleep(Duration::from_millis(500)).await;
        }
        store.stop().await.expect("stopped");
    });
    assert_reached(&MARKS);
}
