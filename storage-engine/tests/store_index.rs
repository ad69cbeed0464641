//! What a store answers from its index: by offset, time, key and position, also when bundles are lost or damaged.
#![allow(clippy::print_stdout, reason = "a failing test shows its seed")]

mod support;

use ringmq_storage_engine::disk::Disk;
use ringmq_storage_engine::disk::sim::{Damage, SimDisk, SimDiskOptions};
use ringmq_storage_engine::marks::assert_reached;
use ringmq_storage_engine::position::{Position, QueueHandle, QueueOffset};
use ringmq_storage_engine::runtime::Runtime;
use ringmq_storage_engine::runtime::sim::{SeededRandom, SimExecutor, SimRuntime};
use ringmq_storage_engine::state_machine::StateMachine;
use ringmq_storage_engine::store::{AppendError, ReadError, ReadLimits, Store, StoreOptions};
use ringmq_wire::batch::key_hash;
use std::time::Duration;
use support::{TestState, batch, bodies, create_queue, seed};

/// A message that was acknowledged.
#[derive(Debug, Clone)]
struct Sent {
    queue: QueueHandle,
    offset: QueueOffset,
    position: Position,
    store_time_ms: i64,
    body: String,
}

async fn fill<D: Disk, R: Runtime>(
    store: &Store<D, R, TestState>,
    runtime: &R,
    random: &mut SeededRandom,
    batches: usize,
    sent: &mut Vec<Sent>,
) {
    for _ in 0..batches {
        let queue = QueueHandle(1 + random.below(6) as u32);
        let lines: Vec<String> = (0..1 + random.below(3))
            .map(|_| format!("key{} {}", random.below(40), "z".repeat(random.index(700))))
            .collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let bytes = batch(&lines);
        let appended = loop {
            let base = store.with_state(|state| state.next_offset(queue));
            let base = base.expect("the queue was created");
            match store.append_batch(queue, base, &bytes) {
                Ok(appended) => break (appended, base),
                Err(AppendError::Busy) => store.wait_room(bytes.len()).await.expect("it runs"),
                Err(error) => panic!("not appended: {error}"),
            }
        };
        let (appended, base) = appended;
        for (n, line) in lines.iter().enumerate() {
            sent.push(Sent {
                queue,
                offset: QueueOffset(base.0 + n as u64),
                position: Position(appended.position.0 + n as u64),
                store_time_ms: appended.store_time_ms,
                body: (*line).to_owned(),
            });
        }
        if random.one_in(3) {
            store.durable(appended.end).await.expect("it runs");
            runtime.sleep(Duration::from_millis(random.below(9))).await;
        }
    }
    let end = store.frontiers().appended;
    store.durable(end).await.expect("it runs");
}

/// Asks for everything by every way and compares with what was sent and is still there.
async fn check<D: Disk, R: Runtime>(store: &Store<D, R, TestState>, sent: &[Sent]) {
    for queue in (1..=6).map(QueueHandle) {
        let min = store.min_offset(queue).expect("the queue exists");
        let of_queue = sent.iter().filter(|s| s.queue == queue && s.offset >= min);
        let of_queue: Vec<&Sent> = of_queue.collect();
        assert_eq!(of_queue.first().map(|s| s.offset).unwrap_or(min), min);
        check_reads(store, queue, min, &of_queue).await;
        let times: Vec<i64> = of_queue.iter().map(|s| s.store_time_ms).collect();
        for time_ms in times
            .iter()
            .step_by(7)
            .flat_map(|ms| [*ms - 1, *ms, *ms + 1])
        {
            let first = of_queue.iter().find(|s| s.store_time_ms >= time_ms);
            let expected = first.map(|s| s.offset);
            let found = store
                .offset_at_time(queue, time_ms)
                .await
                .expect("readable");
            assert_eq!(Some(found), expected.or(store.visible_offset(queue)));
        }
        for key in (0..45).step_by(4).map(|key| format!("key{key}")) {
            let newest = of_queue.iter().rev();
            let with_key = newest.filter(|s| s.body.split(' ').next() == Some(key.as_str()));
            let expected: Vec<Position> = with_key.map(|s| s.position).collect();
            let found = store.find_key(queue, key_hash(&key), i64::MIN, i64::MAX, 1000);
            assert_eq!(found.await.expect("readable"), expected);
        }
    }
}

async fn check_reads<D: Disk, R: Runtime>(
    store: &Store<D, R, TestState>,
    queue: QueueHandle,
    min: QueueOffset,
    expected: &[&Sent],
) {
    let mut from = min;
    let mut lines = Vec::new();
    loop {
        let limits = ReadLimits {
            max_bytes: 4000,
            max_batches: 10,
        };
        let read = store.read(queue, from, limits).await.expect("readable");
        if read.batches.is_empty() {
            break;
        }
        lines.extend(read.batches.iter().flat_map(|stored| bodies(&stored.bytes)));
        from = read.next_offset;
    }
    assert_eq!(Some(from), store.visible_offset(queue));
    // The first batch may start below the first offset.
    let lines = &lines[lines.len() - expected.len()..];
    for (line, sent) in lines.iter().zip(expected) {
        assert_eq!(line, sent.body.as_bytes());
    }
    for sent in expected.iter().step_by(11) {
        let found = store
            .read_position(sent.position)
            .await
            .expect("it is stored");
        let body = &bodies(&found.batch.bytes)[found.record_index as usize];
        assert_eq!(body, sent.body.as_bytes());
        let behind = Position(sent.position.0 + 5);
        if let Ok(found) = store.read_position(behind).await {
            assert!(found.record_index > 0);
        }
    }
}

fn simulate<F: Future<Output = ()> + 'static>(test: impl FnOnce(SimDisk, SimRuntime, u64) -> F) {
    let seed = seed(21);
    println!("RINGMQ_SEED={seed}");
    let executor = SimExecutor::new(seed);
    let runtime = executor.runtime();
    let disk = SimDisk::new(&runtime, SimDiskOptions::default());
    executor
        .run(test(disk, runtime, seed))
        .expect("the run ends");
}

type SimStore = Store<SimDisk, SimRuntime, TestState>;

async fn open(disk: &SimDisk, runtime: &SimRuntime, options: &StoreOptions) -> SimStore {
    let opened = Store::open(
        disk.clone(),
        runtime.clone(),
        options.clone(),
        TestState::default(),
    );
    opened.await.expect("it opens")
}

async fn create_queues<D: Disk, R: Runtime>(store: &Store<D, R, TestState>) {
    for queue in 1..=6 {
        let created = store
            .append_control(&create_queue(queue))
            .expect("there is room");
        store.durable(created.end).await.expect("it runs");
    }
}

/// A new store, with a queue that falls silent after one message.
async fn open_with_a_silent_queue(
    disk: &SimDisk,
    runtime: &SimRuntime,
    options: &StoreOptions,
) -> (SimStore, QueueHandle) {
    let store = open(disk, runtime, options).await;
    create_queues(&store).await;
    let silent = QueueHandle(7);
    let created = store.append_control(&create_queue(silent.0));
    let created = created.expect("there is room");
    store.durable(created.end).await.expect("it runs");
    let said = store.append_batch(silent, QueueOffset(0), &batch(&["k once"]));
    let said = said.expect("there is room");
    store.durable(said.end).await.expect("it runs");
    (store, silent)
}

async fn bundles(disk: &SimDisk) -> Vec<(String, Vec<u8>)> {
    let entries = disk.list().await.expect("disk is well");
    let names = entries.into_iter().map(|entry| entry.name);
    let names = names.filter(|name| name.ends_with(".idx"));
    names
        .map(|name| {
            let bytes = disk.bytes(&name).expect("it is listed");
            (name, bytes)
        })
        .collect()
}

#[test]
fn every_question_is_answered_across_segments_and_restarts() {
    simulate(async |disk, runtime, seed| {
        let options = StoreOptions::test_min();
        let mut random = SeededRandom::new(seed, "fill");
        let mut sent = Vec::new();
        let store = open(&disk, &runtime, &options).await;
        create_queues(&store).await;
        for _ in 0..3 {
            fill(&store, &runtime, &mut random, 150, &mut sent).await;
            check(&store, &sent).await;
        }
        store.stop().await.expect("it stops");
        let store = open(&disk, &runtime, &options).await;
        check(&store, &sent).await;
        fill(&store, &runtime, &mut random, 50, &mut sent).await;
        check(&store, &sent).await;
        let last = sent.last().expect("much was sent").position;
        let beyond = store.read_position(Position(last.0 + (1 << 20))).await;
        assert!(matches!(beyond, Err(ReadError::PositionNotFound(_))));
        store.stop().await.expect("it stops");
    });
}

#[test]
fn lost_and_damaged_bundles_are_made_again_byte_for_byte() {
    simulate(async |disk, runtime, seed| {
        let options = StoreOptions::test_min();
        let mut random = SeededRandom::new(seed, "fill");
        let mut sent = Vec::new();
        let store = open(&disk, &runtime, &options).await;
        create_queues(&store).await;
        fill(&store, &runtime, &mut random, 400, &mut sent).await;
        store.stop().await.expect("it stops");
        let whole = bundles(&disk).await;
        assert!(whole.len() >= 6, "{} bundles", whole.len());
        for round in 0..8 {
            for (name, bytes) in &whole {
                let at = random.below(bytes.len() as u64 / 4096) * 4096;
                match (round, random.below(3)) {
                    // All of them, then some, in various ways.
                    (0, _) => disk.remove(name).await.expect("it is there"),
                    (1, _) => assert!(disk.damage(name, 0, Damage::Noise)),
                    (_, 0) => disk.remove(name).await.expect("it is there"),
                    (_, 1) => assert!(disk.damage(name, at, Damage::BitFlip)),
                    _ => {}
                }
            }
            let store = open(&disk, &runtime, &options).await;
            check(&store, &sent).await;
            store.stop().await.expect("it stops");
            // A flip in padding is met by nobody; what was met is as it was.
            for (name, bytes) in &whole {
                let now = disk.bytes(name);
                assert!(
                    now.as_ref() == Some(bytes),
                    "{name} differs in round {round}"
                );
            }
            disk.lift_damage();
        }
    });
    assert_reached(&[
        "index: an older one is made again first",
        "verdict: an index is made again when it is asked",
    ]);
}

#[test]
fn retention_takes_bundles_and_silent_queues_keep_their_place() {
    simulate(async |disk, runtime, seed| {
        let options = StoreOptions {
            retention_bytes: Some(5 * StoreOptions::test_min().segment_bytes),
            ..StoreOptions::test_min()
        };
        let mut random = SeededRandom::new(seed, "fill");
        let mut sent = Vec::new();
        let (mut store, silent) = open_with_a_silent_queue(&disk, &runtime, &options).await;
        for _ in 0..6 {
            fill(&store, &runtime, &mut random, 100, &mut sent).await;
            runtime.sleep(Duration::from_millis(200)).await;
            check(&store, &sent).await;
            if random.coin() {
                store.stop().await.expect("it stops");
                store = open(&disk, &runtime, &options).await;
                check(&store, &sent).await;
            }
        }
        let names = disk.list().await.expect("disk is well");
        let count = |suffix| {
            names
                .iter()
                .filter(|entry| entry.name.ends_with(suffix))
                .count()
        };
        assert!(
            count(".idx") <= count(".seg") && count(".seg") <= 7,
            "{names:?}"
        );
        assert_eq!(store.min_offset(silent), Some(QueueOffset(1)));
        assert_eq!(store.visible_offset(silent), Some(QueueOffset(1)));
        let said = store.append_batch(silent, QueueOffset(1), &batch(&["k again"]));
        store
            .durable(said.expect("there is room").end)
            .await
            .expect("it runs");
        store.stop().await.expect("it stops");
        let store = open(&disk, &runtime, &options).await;
        assert_eq!(store.min_offset(silent), Some(QueueOffset(1)));
        let read = store
            .read(silent, QueueOffset(1), ReadLimits::default())
            .await;
        assert_eq!(read.expect("readable").batches.len(), 1);
        store.stop().await.expect("it stops");
    });
}

#[test]
fn a_silent_queue_keeps_its_place_when_all_that_can_go_went() {
    simulate(async |disk, runtime, seed| {
        let options = StoreOptions {
            retention_ms: 300,
            ..StoreOptions::test_min()
        };
        let mut random = SeededRandom::new(seed, "fill");
        let mut sent = Vec::new();
        let (mut store, silent) = open_with_a_silent_queue(&disk, &runtime, &options).await;
        fill(&store, &runtime, &mut random, 200, &mut sent).await;
        // Two snapshots in the active segment, and time for retention.
        for _ in 0..12 {
            fill(&store, &runtime, &mut random, 1, &mut sent).await;
            store.stop().await.expect("it stops");
            store = open(&disk, &runtime, &options).await;
            runtime.sleep(Duration::from_secs(1)).await;
        }
        // The bundle behind the last retired segment stays, to tell where queues stand.
        assert!(bundles(&disk).await.len() <= 1);
        for _ in 0..3 {
            store.stop().await.expect("it stops");
            store = open(&disk, &runtime, &options).await;
            assert_eq!(store.min_offset(silent), Some(QueueOffset(1)));
            check(&store, &sent).await;
            fill(&store, &runtime, &mut random, 60, &mut sent).await;
        }
        let said = store.append_batch(silent, QueueOffset(1), &batch(&["k again"]));
        let said = said.expect("there is room");
        store.durable(said.end).await.expect("it runs");
        assert_eq!(store.min_offset(silent), Some(QueueOffset(1)));
        store.stop().await.expect("it stops");
    });
}

#[test]
fn several_oldest_bundles_may_be_lost_and_silent_queues_keep_their_place() {
    simulate(async |disk, runtime, seed| {
        let options = StoreOptions {
            retention_bytes: Some(6 * StoreOptions::test_min().segment_bytes),
            ..StoreOptions::test_min()
        };
        let mut random = SeededRandom::new(seed, "fill");
        let mut sent = Vec::new();
        let (store, silent) = open_with_a_silent_queue(&disk, &runtime, &options).await;
        // Until that is gone.
        while store.min_offset(silent) == Some(QueueOffset(0)) {
            fill(&store, &runtime, &mut random, 100, &mut sent).await;
            runtime.sleep(Duration::from_millis(200)).await;
        }
        store.stop().await.expect("it stops");
        let whole = bundles(&disk).await;
        for lost in 1..whole.len() {
            for (name, _) in &whole[..lost] {
                disk.remove(name).await.expect("it is there");
            }
            let store = open(&disk, &runtime, &options).await;
            assert_eq!(
                store.min_offset(silent),
                Some(QueueOffset(1)),
                "{lost} lost"
            );
            check(&store, &sent).await;
            store.stop().await.expect("it stops");
            for (name, bytes) in &whole {
                let now = disk.bytes(name);
                assert!(now.as_ref() == Some(bytes), "{name} differs, {lost} lost");
            }
        }
    });
    assert_reached(&["index: the next one tells where queues start"]);
}

/// Whole segments hold records of topics only, and so have no time of their own.
#[test]
fn a_search_by_time_passes_segments_without_messages() {
    simulate(async |disk, runtime, _| {
        let options = StoreOptions::test_min();
        let store = open(&disk, &runtime, &options).await;
        create_queues(&store).await;
        let queue = QueueHandle(1);
        let mut times_ms = Vec::new();
        for offset in 0..3 {
            let said = store.append_batch(queue, QueueOffset(offset), &batch(&["k said"]));
            let said = said.expect("there is room");
            times_ms.push(said.store_time_ms);
            store.durable(said.end).await.expect("it runs");
            for other in 0..50 {
                let created = store.append_control(&create_queue(100 + other));
                store
                    .durable(created.expect("there is room").end)
                    .await
                    .expect("it runs");
                runtime.sleep(Duration::from_millis(2)).await;
            }
        }
        store.stop().await.expect("it stops");
        assert!(bundles(&disk).await.len() >= 9);
        let store = open(&disk, &runtime, &options).await;
        for (offset, time_ms) in times_ms.iter().enumerate() {
            for (asked_ms, expected) in [
                (time_ms - 1, offset),
                (*time_ms, offset),
                (time_ms + 1, offset + 1),
            ] {
                let found = store
                    .offset_at_time(queue, asked_ms)
                    .await
                    .expect("readable");
                assert_eq!(
                    found,
                    QueueOffset(expected as u64),
                    "{offset} at {asked_ms}"
                );
            }
        }
    });
}

#[cfg(target_os = "linux")]
mod on_a_real_disk {
    use super::*;
    use glommio::{LocalExecutorBuilder, Placement};
    use ringmq_storage_engine::disk::glommio::GlommioDisk;
    use ringmq_storage_engine::runtime::glommio::GlommioRuntime;

    #[test]
    fn questions_are_answered_and_lost_bundles_made_again() {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let path = directory.path().to_owned();
        let executor = LocalExecutorBuilder::new(Placement::Unbound).io_memory(16 << 20);
        let test = move || async move {
            let options = StoreOptions {
                retention_check_ms: 10_000,
                ..StoreOptions::test_min()
            };
            let mut random = SeededRandom::new(3, "fill");
            let mut sent = Vec::new();
            for round in 0..3 {
                let disk = GlommioDisk::open(&path).await.expect("direct IO works");
                let state = TestState::default();
                let store = Store::open(disk.clone(), GlommioRuntime, options.clone(), state);
                let store = store.await.expect("it opens");
                if round == 0 {
                    create_queues(&store).await;
                }
                fill(&store, &GlommioRuntime, &mut random, 150, &mut sent).await;
                check(&store, &sent).await;
                store.stop().await.expect("it stops");
                for entry in disk.list().await.expect("disk is well") {
                    if entry.name.ends_with(".idx") && random.coin() {
                        disk.remove(&entry.name).await.expect("it is there");
                    }
                }
            }
        };
        executor
            .spawn(test)
            .expect("an executor starts")
            .join()
            .expect("the test ends");
    }
}
