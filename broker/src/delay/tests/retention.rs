//! What waits outlives retention and a full disk; what is delivered is as it was.

use super::world::{QUEUES, World};
use crate::delay;
use crate::handler::automatic::ensure_share;
use crate::state::TopicSettings;
use ringmq_storage_engine::disk::sim::{SimDisk, SimDiskOptions};
use ringmq_storage_engine::position::QueueHandle;
use ringmq_storage_engine::runtime::Runtime;
use ringmq_storage_engine::runtime::sim::{SimExecutor, SimRuntime};
use ringmq_storage_engine::store::{AppendError, StoreOptions};
use ringmq_wire::batch::{BatchBuilder, BatchOptions, Record};

fn on_disk<F: Future<Output = ()> + 'static>(
    options: SimDiskOptions,
    test: impl FnOnce(SimDisk, SimRuntime) -> F,
) {
    let executor = SimExecutor::new(11);
    let runtime = executor.runtime();
    let disk = SimDisk::new(&runtime, options);
    executor.run(test(disk, runtime)).expect("the test ends");
}

/// A batch that takes most of a segment's frame.
fn filler() -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    let record = Record {
        born_time_ms: 0,
        keys: &[],
        tag: "",
        properties: &[],
        envelope: None,
        body: &[1; 8 << 10],
    };
    builder.push(&record).expect("small");
    builder
        .finish(&BatchOptions::default())
        .expect("one record")
}

async fn fill(world: &World, handle: QueueHandle, batches: usize) -> Result<(), AppendError> {
    let (store, batch) = (world.shard.store(), filler());
    for _ in 0..batches {
        loop {
            let end = world
                .shard
                .with_state(|state| state.queue(handle).map(|q| q.next_offset));
            match store.append_batch(handle, end.expect("there"), &batch) {
                Ok(appended) => break store.durable(appended.end).await.expect("durable"),
                Err(AppendError::Busy) => store.wait_room(batch.len()).await.expect("it runs"),
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

async fn filler_queue(world: &World) -> QueueHandle {
    ensure_share(&world.shard, "filler", 1, TopicSettings::default())
        .await
        .expect("made");
    let handle = world
        .shard
        .with_state(|state| state.topic("filler").map(|t| t.handles[0]));
    handle.expect("made")
}

#[test]
fn a_message_that_waits_keeps_its_segment() {
    on_disk(SimDiskOptions::default(), |disk, runtime| async move {
        let options = StoreOptions {
            retention_bytes: Some(3 * StoreOptions::test_min().segment_bytes),
            ..StoreOptions::test_min()
        };
        let world = World::open(&disk, &runtime, options.clone()).await;
        world.park(3, 1, "1").await.expect("stored");
        let handle = filler_queue(&world).await;
        fill(&world, handle, 60).await.expect("taken");
        world.sleep_ms(1_000).await;
        assert_eq!(world.shard.store().metrics().segments_retired, 0);
        // Not after a restart either.
        world.stop().await;
        let world = World::open(&disk, &runtime, options).await;
        world.sleep_ms(1_000).await;
        assert_eq!(world.shard.store().metrics().segments_retired, 0);
        assert_eq!(world.waiting(), 1);
        world.sleep_ms(10_000).await;
        assert_eq!(world.delivered().await.len(), 1);
        fill(&world, handle, 30).await.expect("taken");
        world.sleep_ms(1_000).await;
        assert!(world.shard.store().metrics().segments_retired > 0);
        world.stop().await;
    });
}

#[test]
fn a_full_disk_refuses_messages_but_delivers_and_so_gets_space() {
    let options = StoreOptions {
        disk_early_percent: 50,
        disk_forced_percent: 60,
        disk_refuse_percent: 70,
        ..StoreOptions::test_min()
    };
    let capacity_bytes = 24 * options.segment_bytes;
    let disk_options = SimDiskOptions {
        capacity_bytes,
        ..SimDiskOptions::default()
    };
    on_disk(disk_options, |disk, runtime| async move {
        let world = World::open(&disk, &runtime, options).await;
        world.park(3, 1, "1").await.expect("stored");
        let handle = filler_queue(&world).await;
        let refused = loop {
            match fill(&world, handle, 10).await {
                Ok(()) => world.sleep_ms(100).await,
                Err(error) => break error,
            }
        };
        assert!(matches!(refused, AppendError::NoSpace), "{refused}");
        assert!(world.park(1, 1, "2").await.is_none());
        assert_eq!(world.delivered().await.len(), 0);
        world.sleep_ms(12_000).await;
        assert_eq!(world.delivered().await.len(), 1);
        fill(&world, handle, 10).await.expect("space returned");
        world.stop().await;
    });
}

#[test]
fn a_delivered_message_is_as_it_was() {
    on_disk(SimDiskOptions::default(), |disk, runtime| async move {
        let world = World::open(&disk, &runtime, StoreOptions::test_min()).await;
        // Higher than the highest level: the highest.
        world.park(99, QUEUES - 1, "1").await.expect("stored");
        let parked_ms = runtime.wall_ms();
        world.sleep_ms(9_900).await;
        assert_eq!(world.delivered().await, []);
        world.sleep_ms(200).await;
        let delivered = world.delivered().await;
        let message = &delivered[0];
        assert_eq!(message.queue, QUEUES - 1);
        assert!((9_900..10_100).contains(&(message.store_time_ms - parked_ms)));
        let real =
            "DELAY\u{1}99\u{2}UNIQ_KEY\u{1}1\u{2}REAL_TOPIC\u{1}orders\u{2}REAL_QID\u{1}2\u{2}";
        assert_eq!(message.properties, real);
        assert_eq!(message.native, [("colour".to_owned(), "red".to_owned())]);
        let counters = world.shard.counters();
        assert_eq!(counters.delayed_parked.get(), 1);
        assert_eq!(counters.delayed_delivered.get(), 1);
        world.stop().await;
    });
}

#[test]
fn many_due_at_once_come_in_order_in_few_frames() {
    on_disk(SimDiskOptions::default(), |disk, runtime| async move {
        let world = World::open(&disk, &runtime, StoreOptions::test_min()).await;
        for id in 0..300 {
            world.park(2, 0, &id.to_string()).await.expect("stored");
        }
        let before = world.shard.store().metrics().frames_written;
        world.sleep_ms(5_000).await;
        let bodies = world.delivered().await.into_iter().map(|m| m.body);
        let expected = (0..300).map(|id| id.to_string());
        assert_eq!(bodies.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
        let frames = world.shard.store().metrics().frames_written - before;
        assert!(frames < 60, "{frames} frames");
        assert_eq!(world.shard.with_state(delay::waiting), 0);
        world.stop().await;
    });
}

#[test]
fn messages_of_a_deleted_topic_go_with_it() {
    on_disk(SimDiskOptions::default(), |disk, runtime| async move {
        let world = World::open(&disk, &runtime, StoreOptions::test_min()).await;
        world.park(1, 0, "1").await.expect("stored");
        let record = world.shard.with_state(|state| {
            let incarnation = state.topic("orders").expect("made").incarnation;
            crate::state::topics::delete(state, "orders", incarnation)
        });
        let record = record.expect("right").expect("there").encode();
        world.shard.store().append_control(&record).expect("taken");
        world.sleep_ms(2_000).await;
        assert_eq!(world.shard.counters().delayed_gone.get(), 1);
        assert_eq!(world.waiting(), 0);
        world.stop().await;
    });
}
