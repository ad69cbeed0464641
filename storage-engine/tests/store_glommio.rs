//! The store on a real disk: io_uring, O_DIRECT, files in the target directory.
//!
//! `cargo test --release -p ringmq-storage-engine --test store_glommio -- --ignored --nocapture` measures.
#![allow(clippy::print_stdout, reason = "the measurement prints its figures")]

mod support;

use glommio::{LocalExecutorBuilder, Placement};
use ringmq_storage_engine::disk::glommio::GlommioDisk;
use ringmq_storage_engine::position::{QueueHandle, QueueOffset};
use ringmq_storage_engine::runtime::glommio::GlommioRuntime;
use ringmq_storage_engine::state_machine::StateMachine;
use ringmq_storage_engine::store::{
    AppendError, Appended, LogMode, ReadLimits, Store, StoreOptions, WriteMode,
};
use std::path::Path;
use std::time::{Duration, Instant};
use support::{TestState, batch, big_batch, bodies, create_queue};

type RealStore = Store<GlommioDisk, GlommioRuntime, TestState>;

const QUEUE: QueueHandle = QueueHandle(1);

fn on_executor(test: impl AsyncFnOnce(&Path) + Send + 'static) {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let path = directory.path().to_owned();
    LocalExecutorBuilder::new(Placement::Unbound)
        .io_memory(64 << 20)
        .spawn(move || async move { test(&path).await })
        .expect("an executor starts")
        .join()
        .expect("the test ends");
}

async fn open(path: &Path, options: StoreOptions) -> RealStore {
    let disk = GlommioDisk::open(path).await.expect("direct IO works");
    Store::open(disk, GlommioRuntime, options, TestState::default())
        .await
        .expect("it opens")
}

async fn append(store: &RealStore, bytes: &[u8]) -> Appended {
    loop {
        let base = store
            .with_state(|state| state.next_offset(QUEUE))
            .expect("it exists");
        match store.append_batch(QUEUE, base, bytes) {
            Ok(appended) => return appended,
            Err(AppendError::Busy) => store.wait_room(bytes.len()).await.expect("it runs"),
            Err(error) => panic!("not appended: {error}"),
        }
    }
}

#[test]
fn a_real_store_keeps_what_it_acknowledged() {
    for write_mode in [WriteMode::DurableWrite, WriteMode::WriteThenSync] {
        on_executor(async move |path| {
            let options = StoreOptions {
                write_mode,
                segment_bytes: 256 << 10,
                segment_reserve_bytes: 8 << 10,
                snapshot_every_bytes: 512 << 10,
                cache_bytes: 128 << 10,
                frame_bytes_max: 64 << 10,
                in_flight_bytes_max: 1 << 20,
                dispatch_bytes: 16 << 10,
                ..StoreOptions::default()
            };
            let store = open(path, options.clone()).await;
            store
                .append_control(&create_queue(1))
                .expect("there is room");
            let mut last = None;
            for n in 0..400 {
                let text = format!("{n} {}", "r".repeat(n * 131 % 9000));
                last = Some(append(&store, &batch(&[&text])).await);
            }
            let end = last.expect("appended").end;
            store.durable(end).await.expect("it runs");
            let digest = store.with_state(|state| state.digest());
            let first = read_lengths(&store).await;
            assert_eq!(first.len(), 400);
            store.stop().await.expect("it stops");
            let store = open(path, options).await;
            assert_eq!(store.health().mode, LogMode::Serving);
            assert_eq!(store.with_state(|state| state.digest()), digest);
            assert_eq!(read_lengths(&store).await, first);
            store.stop().await.expect("it stops");
        });
    }
}

async fn read_lengths(store: &RealStore) -> Vec<usize> {
    let mut from = QueueOffset(0);
    let mut lengths = Vec::new();
    while Some(from) != store.visible_offset(QUEUE) {
        let read = store
            .read(QUEUE, from, ReadLimits::default())
            .await
            .expect("readable");
        for stored in &read.batches {
            for body in bodies(&stored.bytes) {
                assert!(body.starts_with(lengths.len().to_string().as_bytes()));
                lengths.push(body.len());
            }
        }
        from = read.next_offset;
    }
    lengths
}

fn percentile(sorted: &[u64], permille: usize) -> u64 {
    sorted[(sorted.len() * permille / 1000).min(sorted.len() - 1)]
}

#[test]
#[ignore = "a measurement"]
fn measure_one_small_durable_append_at_a_time() {
    for write_mode in [WriteMode::DurableWrite, WriteMode::WriteThenSync] {
        on_executor(async move |path| {
            let options = StoreOptions {
                write_mode,
                ..StoreOptions::default()
            };
            let store = open(path, options).await;
            store
                .append_control(&create_queue(1))
                .expect("there is room");
            let bytes = big_batch(3700, b'x');
            let mut times_us = Vec::new();
            for _ in 0..5000 {
                let started = Instant::now();
                let appended = append(&store, &bytes).await;
                store.durable(appended.end).await.expect("it runs");
                times_us.push(started.elapsed().as_micros() as u64);
            }
            times_us.sort_unstable();
            println!(
                "{write_mode:?} {} byte batch, one at a time: p50 {} us, p99 {} us, p99.9 {} us",
                bytes.len(),
                percentile(&times_us, 500),
                percentile(&times_us, 990),
                percentile(&times_us, 999),
            );
            store.stop().await.expect("it stops");
        });
    }
}

#[test]
#[ignore = "a measurement"]
fn measure_large_batches() {
    let modes = [WriteMode::DurableWrite, WriteMode::WriteThenSync];
    for (batch_bytes, write_mode) in [64 << 10, 1 << 20]
        .into_iter()
        .flat_map(|b| modes.map(|m| (b, m)))
    {
        on_executor(async move |path| {
            let options = StoreOptions {
                write_mode,
                ..StoreOptions::default()
            };
            let store = open(path, options).await;
            store
                .append_control(&create_queue(1))
                .expect("there is room");
            let bytes = big_batch(batch_bytes - 200, b'x');
            let total: usize = 2 << 30;
            let started = Instant::now();
            let mut end = None;
            for _ in 0..total / batch_bytes {
                end = Some(append(&store, &bytes).await.end);
            }
            store
                .durable(end.expect("appended"))
                .await
                .expect("it runs");
            let took = started.elapsed();
            let metrics = store.metrics();
            println!(
                "{write_mode:?} {batch_bytes} byte batches: {:.2} GB/s; {} frames of {} KiB on average; {} segments sealed",
                total as f64 / took.as_secs_f64() / 1e9,
                metrics.frames_written,
                metrics.frame_bytes_written / metrics.frames_written / 1024,
                metrics.segments_sealed,
            );
            glommio::timer::sleep(Duration::from_millis(100)).await;
            store.stop().await.expect("it stops");
        });
    }
}
