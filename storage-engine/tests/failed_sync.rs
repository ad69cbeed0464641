//! Bytes that can be read and are not on the medium: what a failed sync leaves behind on a machine that stays up.

mod support;

use ringmq_storage_engine::disk::sim::{CrashPolicy, Fault, FaultEffect, SimDisk, SimDiskOptions};
use ringmq_storage_engine::disk::{DiskErrorKind, DiskOperation};
use ringmq_storage_engine::marks::assert_reached;
use ringmq_storage_engine::position::{QueueHandle, QueueOffset};
use ringmq_storage_engine::runtime::sim::{SimExecutor, SimRuntime};
use ringmq_storage_engine::store::{
    LogMode, OpenError, ReadLimits, Store, StoreOptions, WriteMode,
};
use support::{TestState, batch, bodies, create_queue};

type SimStore = Store<SimDisk, SimRuntime, TestState>;

const QUEUE: QueueHandle = QueueHandle(1);

fn options() -> StoreOptions {
    StoreOptions {
        write_mode: WriteMode::WriteThenSync,
        ..StoreOptions::test_min()
    }
}

async fn open(disk: &SimDisk, runtime: &SimRuntime) -> Result<SimStore, OpenError> {
    let state = TestState::default();
    Store::open(disk.clone(), runtime.clone(), options(), state).await
}

fn body(number: u64) -> String {
    format!("message {number} {}", "z".repeat(700))
}

/// Appends messages; true if they are durable.
async fn append(store: &SimStore, numbers: std::ops::Range<u64>) -> bool {
    let mut end = None;
    for number in numbers {
        let appended = store.append_batch(QUEUE, QueueOffset(number), &batch(&[&body(number)]));
        end = Some(appended.expect("there is room").end);
    }
    store.durable(end.expect("some")).await.is_ok()
}

/// Messages that can be read, each at its place.
async fn count(store: &SimStore) -> u64 {
    assert_eq!(store.health().mode, LogMode::Serving);
    let mut at = QueueOffset(0);
    loop {
        let read = store.read(QUEUE, at, ReadLimits::default()).await;
        let read = read.expect("undamaged");
        if read.batches.is_empty() {
            return at.0;
        }
        for stored in &read.batches {
            assert_eq!(bodies(&stored.bytes), [body(at.0).into_bytes()]);
            at = QueueOffset(at.0 + 1);
        }
    }
}

/// How the first process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Ten messages are durable, five more are not, though they can be read.
    FailedSync,
    /// Fifteen messages are durable, and nothing has recorded that.
    Killed,
}

impl End {
    fn acknowledged(self) -> u64 {
        match self {
            Self::FailedSync => 10,
            Self::Killed => 15,
        }
    }
}

/// A disk whose machine is up.
fn ended(end: End, seed: u64) -> SimDisk {
    let executor = SimExecutor::new(seed);
    let runtime = executor.runtime();
    let options = SimDiskOptions {
        unreadable_rewrites: true,
        ..SimDiskOptions::default()
    };
    let disk = SimDisk::with_seed(&runtime, options, seed);
    let living = disk.clone();
    let life = async move {
        let store = open(&living, &runtime).await.expect("it opens");
        let created = store.append_control(&create_queue(1)).expect("a queue");
        store.durable(created.end).await.expect("it runs");
        assert!(append(&store, 0..10).await);
        if end == End::FailedSync {
            living.inject(Fault {
                operation: DiskOperation::Sync,
                file_prefix: "0000".to_owned(),
                skip: 0,
                times: 1,
                effect: FaultEffect::Fail(DiskErrorKind::Failed),
            });
        }
        assert_eq!(append(&store, 10..15).await, end == End::Killed);
    };
    executor.run(life).expect("it ends");
    executor.abort_all();
    disk
}

/// The next process on the same machine; gives what it found.
fn serve_again(disk: &SimDisk, seed: u64) -> (SimDisk, u64) {
    let executor = SimExecutor::new(seed);
    let runtime = executor.runtime();
    let disk = disk.kill_onto(&runtime, seed);
    let living = disk.clone();
    let found = executor.run(async move {
        let store = open(&living, &runtime).await.expect("it opens");
        let found = count(&store).await;
        assert!(append(&store, found..found + 3).await);
        found
    });
    executor.abort_all();
    (disk, found.expect("it ends"))
}

#[test]
fn what_a_failed_sync_left_in_caches_is_written_again_at_a_start() {
    let mut showed = 0;
    for seed in 0..40 {
        let (disk, found) = serve_again(&ended(End::FailedSync, seed), seed);
        assert!(found >= 10, "{found}");
        showed += u64::from(found > 10);
        for policy in CrashPolicy::ALL {
            let executor = SimExecutor::new(seed);
            let runtime = executor.runtime();
            let disk = disk.crash_onto(&runtime, policy, seed);
            let now = executor.run(async move {
                let store = open(&disk, &runtime).await.expect("it opens");
                count(&store).await
            });
            assert_eq!(now.expect("it ends"), found + 3, "seed {seed}, {policy:?}");
        }
    }
    assert!(
        showed > 10,
        "{showed} starts found what the failed sync left"
    );
}

/// A segment got its name, the sync that was to make it durable failed, and the next process writes into it.
#[test]
fn a_name_that_no_sync_covered_is_durable_before_anything_is_acknowledged_under_it() {
    let mut failed = 0;
    for skip in 0..8 {
        let executor = SimExecutor::new(skip);
        let runtime = executor.runtime();
        let disk = SimDisk::with_seed(&runtime, SimDiskOptions::default(), skip);
        let living = disk.clone();
        let first = executor.run(async move {
            let store = open(&living, &runtime).await.expect("it opens");
            let created = store.append_control(&create_queue(1)).expect("a queue");
            store.durable(created.end).await.expect("it runs");
            living.inject(Fault {
                operation: DiskOperation::SyncDir,
                file_prefix: String::new(),
                skip: skip as u32,
                times: 1,
                effect: FaultEffect::Fail(DiskErrorKind::Failed),
            });
            let mut acknowledged = 0;
            while acknowledged < 60 && append(&store, acknowledged..acknowledged + 1).await {
                acknowledged += 1;
            }
            acknowledged
        });
        executor.abort_all();
        let first = first.expect("it ends");
        failed += u64::from(first < 60);
        let executor = SimExecutor::new(skip);
        let runtime = executor.runtime();
        let disk = disk.kill_onto(&runtime, skip);
        let ended = executor.run(async move {
            let store = open(&disk, &runtime).await.expect("it opens");
            let found = count(&store).await;
            assert!(found >= first, "{found} of {first}");
            for next in found..found + 40 {
                assert!(append(&store, next..next + 1).await);
                let image = disk.crash(CrashPolicy::LoseAll, next);
                let again = open(&image, &runtime).await.expect("it opens");
                assert_eq!(count(&again).await, next + 1, "skip {skip}");
            }
        });
        executor.abort_all();
        ended.expect("it ends");
    }
    assert!(failed > 2, "{failed} logs stopped");
}

/// What is written again may be torn; the copy is not.
#[test]
fn the_start_that_writes_the_tail_again_is_cut_at_every_point() {
    let mut cuts = 0;
    for seed in 0..4 {
        for end in [End::FailedSync, End::Killed] {
            let disk = ended(end, seed);
            for point in 0.. {
                let whole = CrashPolicy::ALL.map(|policy| cut(&disk, end, point, policy, seed));
                cuts += whole.len();
                if whole.contains(&true) {
                    break;
                }
            }
        }
    }
    assert!(cuts > 200, "{cuts}");
    assert_reached(&[
        "recovery: a copy of the tail is put back",
        "recovery: a copy of the tail does not count",
        "recovery: the tail is written again",
    ]);
}

/// Cuts the power at an effect of the next start; true if that was over before.
fn cut(disk: &SimDisk, end: End, point: u64, policy: CrashPolicy, seed: u64) -> bool {
    let executor = SimExecutor::new(seed);
    let runtime = executor.runtime();
    let disk = disk.kill_onto(&runtime, seed);
    disk.crash_at(disk.effects() + point);
    let living = disk.clone();
    // Ends, or stands still where the power went.
    let opened = executor.run(async move { open(&living, &runtime).await.is_ok() });
    executor.abort_all();
    let executor = SimExecutor::new(seed + 1);
    let runtime = executor.runtime();
    let disk = disk.crash_onto(&runtime, policy, seed + point);
    let found = executor.run(async move {
        let store = open(&disk, &runtime).await.expect("it opens");
        count(&store).await
    });
    let found = found.expect("it ends");
    let kept = (end.acknowledged()..=15).contains(&found);
    assert!(
        kept,
        "{found} after {end:?}, {policy:?} at {point} of {seed}"
    );
    opened.is_ok()
}
