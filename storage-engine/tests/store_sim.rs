//! The store on the simulated disk.
#![allow(clippy::print_stdout, reason = "a failing test shows its seed")]

mod support;

use ringmq_storage_engine::disk::sim::{
    CrashPolicy, Damage, Fault, FaultEffect, SimDisk, SimDiskOptions,
};
use ringmq_storage_engine::disk::{Disk, DiskErrorKind, DiskOperation};
use ringmq_storage_engine::marks::assert_reached;
use ringmq_storage_engine::position::{Position, QueueHandle, QueueOffset};
use ringmq_storage_engine::runtime::Runtime;
use ringmq_storage_engine::runtime::sim::{SeededRandom, SimExecutor, SimRuntime};
use ringmq_storage_engine::state_machine::StateMachine;
use ringmq_storage_engine::store::{
    AppendError, LogMode, OpenError, ReadError, ReadLimits, Store, StoreOptions, WriteMode,
};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use support::{TestState, batch, bodies, create_queue};

type SimStore = Store<SimDisk, SimRuntime, TestState>;

const QUEUE: QueueHandle = QueueHandle(1);

async fn open(disk: &SimDisk, runtime: &SimRuntime, options: StoreOptions) -> SimStore {
    try_open(disk, runtime, options).await.expect("it opens")
}

async fn try_open(
    disk: &SimDisk,
    runtime: &SimRuntime,
    options: StoreOptions,
) -> Result<SimStore, OpenError> {
    Store::open(disk.clone(), runtime.clone(), options, TestState::default()).await
}

/// Appends, waiting for room; returns the end.
async fn append(store: &SimStore, queue: QueueHandle, bytes: &[u8]) -> Position {
    loop {
        let base = store
            .with_state(|state| state.next_offset(queue))
            .expect("it exists");
        match store.append_batch(queue, base, bytes) {
            Ok(appended) => return appended.end,
            Err(AppendError::Busy) => store.wait_room(bytes.len() + 16).await.expect("it runs"),
            Err(error) => panic!("not appended: {error}"),
        }
    }
}

async fn control(store: &SimStore, record: &[u8]) -> Position {
    loop {
        match store.append_control(record) {
            Ok(appended) => return appended.end,
            Err(AppendError::Busy) => store.wait_room(record.len() + 16).await.expect("it runs"),
            Err(error) => panic!("not appended: {error}"),
        }
    }
}

/// Every message of a queue from its first offset on.
async fn read_all(store: &SimStore, queue: QueueHandle) -> Vec<String> {
    let mut from = store.min_offset(queue).expect("it exists");
    let mut all = Vec::new();
    loop {
        let read = store
            .read(queue, from, ReadLimits::default())
            .await
            .expect("readable");
        if read.batches.is_empty() {
            assert_eq!(from, store.visible_offset(queue).expect("it exists"));
            return all;
        }
        for stored in &read.batches {
            let lines = bodies(&stored.bytes);
            all.extend(
                lines
                    .into_iter()
                    .map(|b| String::from_utf8(b).expect("text")),
            );
        }
        from = read.next_offset;
    }
}

fn simulate<F: Future<Output = ()> + 'static>(
    seed: u64,
    disk_options: SimDiskOptions,
    test: impl FnOnce(SimDisk, SimRuntime) -> F,
) {
    let executor = SimExecutor::new(seed);
    let runtime = executor.runtime();
    let disk = SimDisk::new(&runtime, disk_options);
    executor.run(test(disk, runtime)).expect("the run ends");
}

#[test]
fn what_was_appended_is_read_and_survives_a_clean_stop() {
    for mode in [WriteMode::DurableWrite, WriteMode::WriteThenSync] {
        simulate(1, SimDiskOptions::default(), async move |disk, runtime| {
            let options = StoreOptions {
                write_mode: mode,
                ..StoreOptions::test_min()
            };
            let store = open(&disk, &runtime, options.clone()).await;
            let heard = Rc::new(RefCell::new(Vec::new()));
            let hearing = heard.clone();
            store.on_visible(Rc::new(move |queues| {
                hearing.borrow_mut().extend_from_slice(queues)
            }));
            control(&store, &create_queue(1)).await;
            let end = append(&store, QUEUE, &batch(&["a", "b"])).await;
            assert_eq!(
                store.visible_offset(QUEUE),
                Some(QueueOffset(0)),
                "not durable yet"
            );
            assert!(
                store
                    .read(QUEUE, QueueOffset(0), ReadLimits::default())
                    .await
                    .unwrap()
                    .batches
                    .is_empty()
            );
            store.durable(end).await.unwrap();
            assert_eq!(store.visible_offset(QUEUE), Some(QueueOffset(2)));
            assert_eq!(*heard.borrow(), [QUEUE]);
            let end = append(&store, QUEUE, &batch(&["c"])).await;
            store.durable(end).await.unwrap();
            assert_eq!(read_all(&store, QUEUE).await, ["a", "b", "c"]);
            assert!(store.metrics().cache_hits > 0);
            let digest = store.with_state(|state| state.digest());
            store.stop().await.unwrap();
            assert!(matches!(
                store.append_control(b"Q1234"),
                Err(AppendError::Stopping)
            ));

            let store = open(&disk, &runtime, options).await;
            assert_eq!(store.with_state(|state| state.digest()), digest);
            assert_eq!(read_all(&store, QUEUE).await, ["a", "b", "c"]);
            let found = store
                .find_key(QUEUE, ringmq_wire::batch::key_hash("b"), 0, i64::MAX, 5)
                .await
                .unwrap();
            let found = store.read_position(found[0]).await.unwrap();
            assert_eq!((found.record_index, found.batch.header.base_offset), (1, 0));
            assert!(store.read_position(Position(128 * 1024)).await.is_err());
            store.stop().await.unwrap();
        });
    }
}

/// Segments roll, are sealed, snapshots are taken; a restart gives the same state and messages.
#[test]
fn many_segments_and_snapshots_give_the_same_state_after_a_restart() {
    simulate(2, SimDiskOptions::default(), async |disk, runtime| {
        let options = StoreOptions::test_min();
        let mut expected = vec![Vec::new(); 4];
        let mut digest = 0;
        let mut number = 0;
        for round in 0..5 {
            let store = open(&disk, &runtime, options.clone()).await;
            assert_eq!(
                store.with_state(|state| state.digest()),
                digest,
                "round {round}"
            );
            if round == 0 {
                for queue in 0..4 {
                    control(&store, &create_queue(queue)).await;
                }
            }
            let mut end = Position(0);
            for _ in 0..100 {
                let queue = number % 4;
                let text = format!("{number}-{}", "x".repeat(number as usize * 37 % 1500));
                end = append(&store, QueueHandle(queue), &batch(&[&text])).await;
                expected[queue as usize].push(text);
                number += 1;
                if number % 7 == 0 {
                    store.durable(end).await.unwrap();
                }
            }
            store.durable(end).await.unwrap();
            for queue in 0..4 {
                let read = read_all(&store, QueueHandle(queue)).await;
                let heads = |texts: &[String]| -> Vec<String> {
                    texts
                        .iter()
                        .map(|t| t[..t.len().min(4)].to_owned())
                        .collect()
                };
                assert_eq!(
                    heads(&read),
                    heads(&expected[queue as usize]),
                    "queue {queue} in round {round}"
                );
                assert!(read == expected[queue as usize]);
            }
            digest = store.with_state(|state| state.digest());
            while store.metrics().segments_sealed == 0 || store.metrics().snapshots_written == 0 {
                runtime.sleep(Duration::from_millis(1)).await;
            }
            store.stop().await.unwrap();
        }
    });
}

#[test]
fn a_failed_write_stops_the_log_and_reads_go_on() {
    simulate(3, SimDiskOptions::default(), async |disk, runtime| {
        let store = open(&disk, &runtime, StoreOptions::test_min()).await;
        control(&store, &create_queue(1)).await;
        let end = append(&store, QUEUE, &batch(&["kept"])).await;
        store.durable(end).await.unwrap();
        disk.inject(Fault {
            operation: DiskOperation::Write,
            file_prefix: "0000".to_owned(),
            skip: 0,
            times: 1,
            effect: FaultEffect::Fail(DiskErrorKind::Failed),
        });
        let end = append(&store, QUEUE, &batch(&["lost"])).await;
        let error = store.durable(end).await.unwrap_err();
        assert!(error.to_string().contains("failed"), "{error}");
        assert!(matches!(
            store.append_control(&create_queue(2)),
            Err(AppendError::Failed(_))
        ));
        assert!(store.wait_room(1).await.is_err());
        let health = store.health();
        assert_eq!(health.mode, LogMode::Failed);
        assert!(health.reason.unwrap().contains("Write"));
        assert_eq!(store.visible_offset(QUEUE), Some(QueueOffset(1)));
        assert_eq!(read_all(&store, QUEUE).await, ["kept"]);
        assert!(store.stop().await.is_err());
    });
}

#[test]
fn damage_below_the_durable_frontier_makes_the_log_read_only() {
    simulate(4, SimDiskOptions::default(), async |disk, runtime| {
        let options = StoreOptions::test_min();
        let store = open(&disk, &runtime, options.clone()).await;
        control(&store, &create_queue(1)).await;
        let mut ends = Vec::new();
        for n in 0..3 {
            let end = append(&store, QUEUE, &batch(&[&format!("message {n}")])).await;
            store.durable(end).await.unwrap();
            ends.push(end);
        }
        // No clean stop: the snapshot would hide what replay meets.
        let image = disk.crash(CrashPolicy::KeepAll, 1);
        let segment = "00000000000000000000.seg";
        assert!(image.damage(segment, 4096, Damage::Noise));
        let store = open(&image, &runtime, options.clone()).await;
        let health = store.health();
        assert_eq!(health.mode, LogMode::ReadOnly);
        let reason = health.reason.unwrap();
        assert!(reason.contains("segment 0 at byte 4096"), "{reason}");
        assert!(matches!(
            store.append_control(&create_queue(2)),
            Err(AppendError::ReadOnly(_))
        ));
        assert_eq!(read_all(&store, QUEUE).await, ["message 0"]);
        store.stop().await.unwrap();
        // It stays so, and the damage was not written over.
        let store = open(&image, &runtime, options.clone()).await;
        assert_eq!(store.health().mode, LogMode::ReadOnly);
        image.lift_damage();
        let store = open(&image, &runtime, options).await;
        assert_eq!(read_all(&store, QUEUE).await.len(), 3);
    });
}

/// Nothing but the frames tells how far the log was durable: one that is not read would be taken for a torn tail.
#[test]
fn reads_that_fail_for_a_moment_at_a_start_cost_nothing() {
    for skip in 0..12 {
        simulate(9, SimDiskOptions::default(), async move |disk, runtime| {
            let options = StoreOptions::test_min();
            let store = open(&disk, &runtime, options.clone()).await;
            control(&store, &create_queue(1)).await;
            for body in ["one", "two", "three"] {
                let end = append(&store, QUEUE, &batch(&[body])).await;
                store.durable(end).await.unwrap();
            }
            let image = disk.crash(CrashPolicy::LoseAll, 1);
            image.inject(Fault {
                operation: DiskOperation::Read,
                file_prefix: "0000".to_owned(),
                skip,
                times: 3,
                effect: FaultEffect::Fail(DiskErrorKind::Failed),
            });
            let store = open(&image, &runtime, options).await;
            image.clear_faults();
            let health = store.health();
            assert_eq!(health.mode, LogMode::Serving, "{skip}: {:?}", health.reason);
            let found = read_all(&store, QUEUE).await;
            assert_eq!(found, ["one", "two", "three"], "{skip}");
        });
    }
    assert_reached(&["recovery: one bad read is made again, and shorter"]);
}

/// As it is without descriptors: for a moment it costs nothing, for longer it refuses the start, and what was
/// acknowledged is there when it has gone.
#[test]
fn a_segment_that_is_not_opened_at_a_start_is_not_taken_for_damage() {
    for (skip, times) in (0..6).flat_map(|skip| [3, 5, 10, 50].map(|times| (skip, times))) {
        simulate(9, SimDiskOptions::default(), async move |disk, runtime| {
            let options = StoreOptions::test_min();
            let store = open(&disk, &runtime, options.clone()).await;
            control(&store, &create_queue(1)).await;
            let bodies: Vec<String> = (0..60)
                .map(|n| format!("{n} {}", "y".repeat(3000)))
                .collect();
            for body in &bodies {
                let end = append(&store, QUEUE, &batch(&[body])).await;
                store.durable(end).await.unwrap();
            }
            let image = disk.crash(CrashPolicy::LoseAll, 1);
            image.inject(Fault {
                operation: DiskOperation::Open,
                file_prefix: "0".repeat(18),
                skip,
                times,
                effect: FaultEffect::Fail(DiskErrorKind::Failed),
            });
            match try_open(&image, &runtime, options.clone()).await {
                Ok(store) => {
                    let health = store.health();
                    assert_eq!(health.mode, LogMode::Serving, "{skip}: {:?}", health.reason);
                }
                Err(error) => {
                    assert!(
                        times >= 5 && error.to_string().contains("Open of"),
                        "{skip}: {error}"
                    );
                }
            }
            image.clear_faults();
            let image = image.crash(CrashPolicy::LoseAll, 1);
            let store = open(&image, &runtime, options).await;
            assert_eq!(
                read_all(&store, QUEUE).await,
                bodies,
                "{skip}, {times} times"
            );
        });
    }
    assert_reached(&["recovery: a segment to be replayed is not opened"]);
}

/// The last frame is damaged, no later one tells, but a snapshot was published behind it.
#[test]
fn a_snapshot_proves_what_was_durable() {
    simulate(9, SimDiskOptions::default(), async |disk, runtime| {
        let options = StoreOptions::test_min();
        let store = open(&disk, &runtime, options.clone()).await;
        let end = control(&store, &create_queue(1)).await;
        store.durable(end).await.unwrap();
        let end = append(&store, QUEUE, &batch(&["last"])).await;
        store.durable(end).await.unwrap();
        store.stop().await.unwrap();
        // Whichever slot of shard.meta is lost too.
        for slot in [0, 4096] {
            let image = disk.crash(CrashPolicy::KeepAll, 1);
            assert!(image.damage("00000000000000000000.seg", 4096, Damage::Noise));
            assert!(image.damage("shard.meta", slot, Damage::Noise));
            let store = open(&image, &runtime, options.clone()).await;
            assert_eq!(store.health().mode, LogMode::ReadOnly);
            let read = store
                .read(QUEUE, QueueOffset(0), ReadLimits::default())
                .await;
            assert!(matches!(read, Err(ReadError::Corrupt { .. })));
        }
    });
}

#[test]
fn a_damaged_old_batch_is_reported_and_the_rest_is_readable() {
    simulate(5, SimDiskOptions::default(), async |disk, runtime| {
        let options = StoreOptions::test_min();
        let store = open(&disk, &runtime, options.clone()).await;
        control(&store, &create_queue(1)).await;
        for n in 0..60 {
            let end = append(
                &store,
                QUEUE,
                &batch(&[&format!("message {n} {}", "y".repeat(2000))]),
            )
            .await;
            store.durable(end).await.unwrap();
        }
        store.stop().await.unwrap();
        assert!(disk.damage("00000000000000000000.seg", 3 * 4096, Damage::Noise));
        let store = open(&disk, &runtime, options).await;
        assert_eq!(
            store.health().mode,
            LogMode::Serving,
            "{:?}",
            store.health()
        );
        let mut from = QueueOffset(0);
        let mut damaged = Vec::new();
        let mut readable = 0;
        while from < QueueOffset(60) {
            match store
                .read(
                    QUEUE,
                    from,
                    ReadLimits {
                        max_bytes: 1,
                        max_batches: 1,
                    },
                )
                .await
            {
                Ok(read) => {
                    readable += 1;
                    from = read.next_offset;
                }
                Err(ReadError::Corrupt { next_readable, .. }) => {
                    damaged.push(from);
                    from = next_readable;
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!((damaged.len(), readable), (1, 59), "{damaged:?}");
        store.stop().await.unwrap();
    });
}

#[test]
fn a_log_at_its_size_uses_its_own_segments_again_however_fast_it_grows() {
    simulate(7, SimDiskOptions::default(), async |disk, runtime| {
        let options = StoreOptions {
            retention_bytes: Some(4 * StoreOptions::test_min().segment_bytes),
            // Far beyond the test: only entering a segment makes the store look.
            retention_check_ms: 3_600_000,
            ..StoreOptions::test_min()
        };
        let store = open(&disk, &runtime, options).await;
        control(&store, &create_queue(1)).await;
        for n in 0..200 {
            let text = format!("message {n} {}", "y".repeat(3000));
            let end = append(&store, QUEUE, &batch(&[&text])).await;
            store.durable(end).await.unwrap();
            runtime.sleep(Duration::from_millis(5)).await;
        }
        let retired = store.metrics().segments_retired;
        assert!(retired >= 4, "{retired}");
        let files = disk.list().await.unwrap();
        let segments = files.iter().map(|file| &file.name);
        let segments = segments.filter(|name| name.ends_with(".seg") || name.starts_with("free-"));
        assert!(segments.count() <= 8, "{files:?}");
        store.stop().await.unwrap();
    });
}

#[test]
fn old_segments_go_and_offsets_below_are_out_of_range() {
    simulate(6, SimDiskOptions::default(), async |disk, runtime| {
        let options = StoreOptions {
            retention_bytes: Some(4 * StoreOptions::test_min().segment_bytes),
            ..StoreOptions::test_min()
        };
        let store = open(&disk, &runtime, options.clone()).await;
        control(&store, &create_queue(1)).await;
        for n in 0..200 {
            let end = append(
                &store,
                QUEUE,
                &batch(&[&format!("message {n} {}", "y".repeat(3000))]),
            )
            .await;
            store.durable(end).await.unwrap();
            runtime.sleep(Duration::from_millis(5)).await;
        }
        assert!(
            store.metrics().segments_retired >= 4,
            "{:?}",
            store.metrics()
        );
        let min = store.min_offset(QUEUE).unwrap();
        assert!(min > QueueOffset(0));
        let below = store
            .read(QUEUE, QueueOffset(0), ReadLimits::default())
            .await;
        assert!(matches!(below, Err(ReadError::OffsetOutOfRange { .. })));
        let read = read_all(&store, QUEUE).await;
        assert_eq!(read.len() as u64, 200 - min.0);
        let files = disk.list().await.unwrap();
        assert!(
            files.iter().filter(|f| f.name.ends_with(".seg")).count() <= 6,
            "{files:?}"
        );
        let digest = store.with_state(|state| state.digest());
        store.stop().await.unwrap();
        let store = open(&disk, &runtime, options).await;
        assert_eq!(store.min_offset(QUEUE), Some(min));
        assert_eq!(store.with_state(|state| state.digest()), digest);
        assert_eq!(read_all(&store, QUEUE).await, read);
        store.stop().await.unwrap();
    });
}

/// The index is slow to answer, and when it does, the segment that it names is gone.
#[test]
fn a_read_that_retention_overtakes_is_out_of_range_and_not_damaged() {
    simulate(6, SimDiskOptions::default(), async |disk, runtime| {
        let options = StoreOptions {
            retention_bytes: Some(4 * StoreOptions::test_min().segment_bytes),
            index_cache_bytes: 0,
            ..StoreOptions::test_min()
        };
        let store = open(&disk, &runtime, options).await;
        control(&store, &create_queue(1)).await;
        for segment in 0..200 {
            for operation in [DiskOperation::Open, DiskOperation::Read] {
                disk.inject(Fault {
                    operation,
                    file_prefix: format!("{segment:020}.idx"),
                    skip: 0,
                    times: u32::MAX,
                    effect: FaultEffect::Delay(Duration::from_millis(60)),
                });
            }
        }
        let (mut number, mut overtaken) = (0, 0);
        for _ in 0..60 {
            let from = store.min_offset(QUEUE).unwrap();
            let writing = async {
                for _ in 0..20 {
                    let text = format!("message {number} {}", "y".repeat(3000));
                    let end = append(&store, QUEUE, &batch(&[&text])).await;
                    store.durable(end).await.unwrap();
                    number += 1;
                    runtime.sleep(Duration::from_millis(8)).await;
                }
            };
            let one = ReadLimits {
                max_bytes: 1,
                max_batches: 1,
            };
            let reading = store.read(QUEUE, from, one);
            match futures_lite::future::zip(reading, writing).await.0 {
                Ok(read) => assert!(read.next_offset >= from),
                Err(ReadError::OffsetOutOfRange { min, .. }) => {
                    assert!(min > from);
                    overtaken += 1;
                }
                Err(error) => panic!("from {from:?}: {error}"),
            }
        }
        assert!(overtaken > 0, "nothing was overtaken");
        store.stop().await.unwrap();
    });
}

#[test]
fn a_full_disk_refuses_appends_until_space_returns() {
    let options = StoreOptions::test_min();
    let disk_options = SimDiskOptions {
        capacity_bytes: 3 * options.segment_bytes + 256 * 1024,
        ..SimDiskOptions::default()
    };
    simulate(7, disk_options, async move |disk, runtime| {
        // The watermarks would refuse first.
        let options = StoreOptions {
            disk_early_percent: 100,
            disk_forced_percent: 100,
            disk_refuse_percent: 100,
            ..options
        };
        let store = open(&disk, &runtime, options).await;
        control(&store, &create_queue(1)).await;
        let bytes = batch(&[&"z".repeat(3000)]);
        let mut count = 0u64;
        let refused = loop {
            let base = QueueOffset(count);
            match store.append_batch(QUEUE, base, &bytes) {
                Ok(appended) => {
                    count += 1;
                    store.durable(appended.end).await.unwrap();
                }
                Err(AppendError::Busy) => store.wait_room(bytes.len()).await.unwrap(),
                Err(error) => break error,
            }
            assert!(count < 1000);
        };
        assert!(matches!(refused, AppendError::NoSpace), "{refused}");
        assert_eq!(store.health().mode, LogMode::NoSpace);
        assert_eq!(read_all(&store, QUEUE).await.len() as u64, count);
        disk.set_capacity_bytes(1 << 30);
        while store.health().mode != LogMode::Serving {
            runtime.sleep(Duration::from_millis(50)).await;
        }
        let end = append(&store, QUEUE, &bytes).await;
        store.durable(end).await.unwrap();
        store.stop().await.unwrap();
    });
    assert_reached(&["verdict: no space", "verdict: there is space again"]);
}

#[test]
fn nonsense_and_lost_meta_are_refused_in_words() {
    simulate(8, SimDiskOptions::default(), async |disk, runtime| {
        let mut options = StoreOptions::test_min();
        options.frame_bytes_max += 1;
        assert!(matches!(
            try_open(&disk, &runtime, options).await,
            Err(OpenError::Options(_))
        ));
        let options = StoreOptions::test_min();
        let store = open(&disk, &runtime, options.clone()).await;
        control(&store, &create_queue(1)).await;
        let end = append(&store, QUEUE, &batch(&["a"])).await;
        store.durable(end).await.unwrap();
        let large = batch(&[&"x".repeat(20_000)]);
        let refused = store.append_batch(QUEUE, QueueOffset(1), &large);
        assert!(matches!(refused, Err(AppendError::TooLarge { .. })));
        store.stop().await.unwrap();
        for slot in [0, 4096] {
            assert!(disk.damage("shard.meta", slot, Damage::Noise));
        }
        let refused = try_open(&disk, &runtime, options.clone()).await;
        assert!(matches!(refused, Err(OpenError::MetaUnreadable(_))));
        disk.lift_damage();
        for slot in [0, 4096] {
            assert!(disk.damage("shard.meta", slot, Damage::Noise));
            let store = open(&disk, &runtime, options.clone()).await;
            assert_eq!(read_all(&store, QUEUE).await, ["a"], "slot at {slot} lost");
            store.stop().await.unwrap();
            disk.lift_damage();
        }
    });
}

/// Power cuts at random points of a random workload, with all policies: what was acknowledged is there, nothing else
/// is, and the state equals a replay. `tests/crash_points.rs` does it at every point.
#[test]
fn acknowledged_messages_survive_power_cuts() {
    let base = support::seed(11);
    println!("RINGMQ_SEED={base}");
    for round in 0..60u64 {
        let seed = base.wrapping_mul(1000) + round;
        let policy = CrashPolicy::ALL[(round % 6) as usize];
        let mode = [WriteMode::DurableWrite, WriteMode::WriteThenSync][(round / 6 % 2) as usize];
        crash_once(seed, policy, mode);
    }
}

fn crash_once(seed: u64, policy: CrashPolicy, write_mode: WriteMode) {
    let options = StoreOptions {
        write_mode,
        zero_ahead_bytes: [0, 4 * 4096][(seed % 2) as usize],
        ..StoreOptions::test_min()
    };
    let mut random = SeededRandom::new(seed, "test");
    let executor = SimExecutor::new(seed);
    let runtime = executor.runtime();
    let mut disk = SimDisk::new(&runtime, SimDiskOptions::default());
    let submitted: Rc<RefCell<Vec<String>>> = Rc::default();
    let acknowledged = Rc::new(Cell::new(0));
    for life in 0..4 {
        disk.crash_at(disk.effects() + 20 + random.below(300));
        let run = run_until_cut(
            disk.clone(),
            runtime.clone(),
            options.clone(),
            submitted.clone(),
            acknowledged.clone(),
        );
        let ended = executor.run(run);
        assert!(disk.has_crashed(), "seed {seed} life {life}: {ended:?}");
        executor.abort_all();
        disk = disk.crash(policy, random.next_u64());
        let check = {
            let (disk, runtime, options) = (disk.clone(), runtime.clone(), options.clone());
            let (submitted, acknowledged) = (submitted.clone(), acknowledged.clone());
            async move {
                let store = open(&disk, &runtime, options.clone()).await;
                assert_eq!(
                    store.health().mode,
                    LogMode::Serving,
                    "{:?}",
                    store.health()
                );
                let read = match store.visible_offset(QUEUE) {
                    Some(_) => read_all(&store, QUEUE).await,
                    None => Vec::new(),
                };
                let digest = store.with_state(|state| state.digest());
                assert!(
                    read.len() >= acknowledged.get(),
                    "lost: {} of {}",
                    read.len(),
                    acknowledged.get()
                );
                assert!(submitted.borrow().starts_with(&read), "never submitted");
                submitted.borrow_mut().truncate(read.len());
                acknowledged.set(read.len());
                (read, digest)
            }
        };
        let (read, digest) = executor
            .run(check)
            .unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        executor.abort_all();
        disk = disk.crash(CrashPolicy::KeepAll, 0);
        // Recovered twice: the same.
        let again = {
            let (disk, runtime, options) = (disk.clone(), runtime.clone(), options.clone());
            async move {
                let store = open(&disk, &runtime, options).await;
                let read_again = match store.visible_offset(QUEUE) {
                    Some(_) => read_all(&store, QUEUE).await,
                    None => Vec::new(),
                };
                (read_again, store.with_state(|state| state.digest()))
            }
        };
        assert!(
            executor.run(again).expect("it opens") == (read, digest),
            "seed {seed}"
        );
        executor.abort_all();
        disk = disk.crash(CrashPolicy::KeepAll, 0);
    }
}

async fn run_until_cut(
    disk: SimDisk,
    runtime: SimRuntime,
    options: StoreOptions,
    submitted: Rc<RefCell<Vec<String>>>,
    acknowledged: Rc<Cell<usize>>,
) {
    let store = open(&disk, &runtime, options).await;
    if store.visible_offset(QUEUE).is_none() {
        control(&store, &create_queue(1)).await;
    }
    loop {
        let count = submitted.borrow().len();
        let text = format!("{count} {}", "w".repeat(count * 613 % 9000));
        submitted.borrow_mut().push(text.clone());
        let end = append(&store, QUEUE, &batch(&[&text])).await;
        let (store, acknowledged) = (store.clone(), acknowledged.clone());
        runtime.spawn(async move {
            if store.durable(end).await.is_ok() {
                acknowledged.set(acknowledged.get().max(count + 1));
            }
        });
        if runtime.random_u64().is_multiple_of(4) {
            runtime
                .sleep(Duration::from_micros(runtime.random_u64() % 3000))
                .await;
        }
    }
}
