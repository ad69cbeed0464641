//! Each kind of request, by itself.

use super::world::{GROUP, World, code, commit_of};
use crate::handler::{offset_query, offset_reset, topic_describe, topic_list};
use crate::shard::trim;
use futures_lite::future;
use ringmq_storage_engine::disk::sim::{SimDisk, SimDiskOptions};
use ringmq_storage_engine::position::QueueOffset;
use ringmq_storage_engine::runtime::Runtime;
use ringmq_storage_engine::runtime::sim::{SimExecutor, SimRuntime};
use ringmq_wire::codes::ErrorCode;
use ringmq_wire::native::schema::{
    OffsetAt, OffsetQueryRequestT, OffsetResetRequestT, OffsetResetT, TopicDescribeRequestT,
    TopicListRequestT, TopicSettingsT,
};
use std::pin::pin;
use std::time::Duration;

fn simulate<F: Future<Output = ()> + 'static>(test: impl FnOnce(SimDisk, SimRuntime) -> F) {
    let executor = SimExecutor::new(7);
    let runtime = executor.runtime();
    let disk = SimDisk::new(&runtime, SimDiskOptions::default());
    executor.run(test(disk, runtime)).expect("the run ends");
}

async fn describe(world: &World, name: &str) -> Vec<(u32, u64, u64, u64)> {
    let request = TopicDescribeRequestT {
        name: name.to_owned(),
    };
    let response = topic_describe::handle(&world.shard, &world.session, request).await;
    let queues = response.expect("it is there").queues.expect("always there");
    let row = |q: &ringmq_wire::native::schema::QueueStateT| {
        (q.queue, q.min_offset, q.visible_offset, q.next_offset)
    };
    queues.iter().map(row).collect()
}

#[test]
fn a_topic_lives_and_dies() {
    simulate(async |disk, runtime| {
        let world = World::open(&disk, &runtime).await;
        let made = world.create("orders", 9, 2).await.expect("made");
        assert!(!made.existed);
        assert!(
            world
                .create("orders", 9, 2)
                .await
                .expect("the same")
                .existed
        );
        assert_eq!(
            code(world.create("orders", 10, 2).await),
            ErrorCode::TopicExists
        );
        assert_eq!(world.shares(), [("orders".to_owned(), 1)]);
        world.produce(world.handle("orders", 1), 3).await;
        assert_eq!(
            describe(&world, "orders").await,
            [(0, 0, 0, 0), (1, 0, 3, 3)]
        );

        let grown = world.update("orders", 3, None).await.expect("grown");
        assert_eq!(grown.topic.expect("always there").queues, 3);
        assert_eq!(
            code(world.update("orders", 2, None).await),
            ErrorCode::InvalidRequest
        );
        assert_eq!(world.shares(), [("orders".to_owned(), 2)]);
        let listed = topic_list::handle(&world.shard, &world.session, TopicListRequestT {}).await;
        assert_eq!(
            listed
                .expect("answered")
                .topics
                .expect("always there")
                .len(),
            1
        );

        assert_eq!(
            code(world.delete("orders", 8).await),
            ErrorCode::StaleIncarnation
        );
        assert_eq!(world.delete("orders", 9).await, Ok(true));
        assert_eq!(world.delete("orders", 9).await, Ok(false));
        assert_eq!(world.shares(), []);
        world.create("orders", 11, 1).await.expect("made again");
        assert_eq!(describe(&world, "orders").await, [(0, 0, 0, 0)]);
        world.shard.store().stop().await.expect("stopped");
    });
}

#[test]
fn a_member_consumes_under_its_lease() {
    simulate(async |disk, runtime| {
        let world = World::open(&disk, &runtime).await;
        world.create("orders", 9, 2).await.expect("made");
        let handle = world.handle("orders", 0);
        world.produce(handle, 10).await;
        let leases = world
            .acquire("m1", "orders", &[0, 1, 5])
            .await
            .expect("answered");
        let lease = leases[0].lease;
        assert_eq!((leases[0].error, leases[1].error), (0, 0));
        assert_eq!(leases[2].error, ErrorCode::QueueNotFound.number());
        assert_eq!(
            world.acquire("m1", "orders", &[0]).await.expect("held")[0].lease,
            lease
        );
        let refused = world
            .acquire("m2", "orders", &[0])
            .await
            .expect("answered")
            .remove(0);
        assert_eq!(refused.error, ErrorCode::LeaseHeld.number());
        assert_eq!(refused.holder.as_deref(), Some("m1"));
        assert!((1..=5_000).contains(&refused.remaining_ms));

        // The furthest of a request counts, over the end is clamped, without the lease is refused.
        let commits = vec![
            commit_of("orders", 0, 4, lease),
            commit_of("orders", 0, 3, lease),
            commit_of("orders", 1, 99, lease),
            commit_of("orders", 0, 5, lease + 8),
            commit_of("none", 0, 5, lease),
        ];
        let errors = world.commit("m1", commits).await.expect("answered");
        let (lost, none) = (ErrorCode::LeaseLost, ErrorCode::TopicNotFound);
        assert_eq!(errors, [0, 0, 0, lost.number(), none.number()]);
        let offsets = world.committed("orders", &[0, 1]).await;
        assert_eq!((offsets[0].committed, offsets[0].offset), (true, 4));
        assert_eq!((offsets[1].committed, offsets[1].offset), (true, 0));
        // What changes nothing writes nothing.
        let before = world.shard.store().frontiers().appended;
        let again = world
            .commit("m1", vec![commit_of("orders", 0, 4, lease)])
            .await;
        assert_eq!(again, Ok(vec![0]));
        assert_eq!(world.shard.store().frontiers().appended, before);

        // Silent for its term: somebody else gets the queue, and where the group is.
        runtime.sleep(Duration::from_millis(5_001)).await;
        let taken = world
            .acquire("m2", "orders", &[0])
            .await
            .expect("answered")
            .remove(0);
        assert_eq!((taken.error, taken.committed, taken.offset), (0, true, 4));
        let late = world
            .commit("m1", vec![commit_of("orders", 0, 6, lease)])
            .await;
        assert_eq!(late, Ok(vec![ErrorCode::LeaseLost.number()]));
        assert_eq!(world.release("m1", "orders", &[0, 1]).await, [0, 0]);
        assert_eq!(world.release("m2", "orders", &[0]).await, [0]);
        let next = world
            .acquire("m3", "orders", &[0, 1])
            .await
            .expect("answered");
        assert_eq!((next[0].error, next[1].error), (0, 0));
        world.shard.store().stop().await.expect("stopped");
    });
}

async fn reset(world: &World, offset: u64, force: bool) -> Vec<u16> {
    let request = OffsetResetRequestT {
        group: GROUP.to_owned(),
        topic: "orders".to_owned(),
        resets: Some(vec![OffsetResetT { queue: 0, offset }]),
        force,
    };
    let response = offset_reset::handle(&world.shard, &world.session, request).await;
    response.expect("answered").errors.expect("always there")
}

#[test]
fn an_operator_resets_offsets() {
    simulate(async |disk, runtime| {
        let world = World::open(&disk, &runtime).await;
        world.create("orders", 9, 1).await.expect("made");
        world.produce(world.handle("orders", 0), 10).await;
        assert_eq!(reset(&world, 7, false).await, [0]);
        assert_eq!(world.committed("orders", &[0]).await[0].offset, 7);
        let lease = world.acquire("m1", "orders", &[0]).await.expect("granted")[0].lease;
        assert_eq!(
            reset(&world, 2, false).await,
            [ErrorCode::LeaseHeld.number()]
        );
        assert_eq!(reset(&world, 2, true).await, [0]);
        assert_eq!(world.committed("orders", &[0]).await[0].offset, 2);
        let over = world
            .commit("m1", vec![commit_of("orders", 0, 9, lease)])
            .await;
        assert_eq!(over, Ok(vec![ErrorCode::LeaseLost.number()]));
        world.shard.store().stop().await.expect("stopped");
    });
}

async fn query(world: &World, at: OffsetAt, time_ms: i64) -> Vec<(u64, u16)> {
    let request = OffsetQueryRequestT {
        topic: "orders".to_owned(),
        queues: Some(vec![0, 9]),
        at,
        time_ms,
    };
    let response = offset_query::handle(&world.shard, &world.session, request).await;
    let offsets = response.expect("answered").offsets.expect("always there");
    offsets
        .iter()
        .map(|found| (found.offset, found.error))
        .collect()
}

#[test]
fn offsets_are_found_by_time_and_a_topic_keeps_its_own_retention() {
    simulate(async |disk, runtime| {
        let world = World::open(&disk, &runtime).await;
        world.create("orders", 9, 1).await.expect("made");
        let handle = world.handle("orders", 0);
        world.produce(handle, 4).await;
        runtime.sleep(Duration::from_secs(60)).await;
        let middle_ms = world.shard.store().store_time_ms();
        world.produce(handle, 2).await;
        let missing = (0, ErrorCode::QueueNotFound.number());
        assert_eq!(
            query(&world, OffsetAt::Earliest, 0).await,
            [(0, 0), missing]
        );
        assert_eq!(query(&world, OffsetAt::Latest, 0).await, [(6, 0), missing]);
        assert_eq!(
            query(&world, OffsetAt::Time, middle_ms).await,
            [(4, 0), missing]
        );

        assert_eq!(trim::round(&world.shard).await.expect("a round"), 0);
        let settings = TopicSettingsT {
            retention_ms: 30_000,
            ..TopicSettingsT::default()
        };
        world
            .update("orders", 0, Some(settings))
            .await
            .expect("changed");
        assert_eq!(trim::round(&world.shard).await.expect("a round"), 1);
        assert_eq!(
            query(&world, OffsetAt::Earliest, 0).await,
            [(4, 0), missing]
        );
        assert_eq!(world.shard.store().min_offset(handle), Some(QueueOffset(4)));
        assert_eq!(trim::round(&world.shard).await.expect("a round"), 0);
        world.shard.store().stop().await.expect("stopped");
        let world = World::open(&disk, &runtime).await;
        assert_eq!(
            query(&world, OffsetAt::Earliest, 0).await,
            [(4, 0), missing]
        );
        world.shard.store().stop().await.expect("stopped");
    });
}

/// An answer may not show what a power cut could still undo: neither what is there nor what is missing.
#[test]
fn answers_wait_for_what_they_show() {
    simulate(async |disk, runtime| {
        let world = World::open(&disk, &runtime).await;
        world.create("orders", 9, 1).await.expect("made");
        world.produce(world.handle("orders", 0), 10).await;
        let lease = world.acquire("m1", "orders", &[0]).await.expect("granted")[0].lease;
        let store = world.shard.store();
        let is_settled = || store.frontiers().durable == store.frontiers().appended;
        assert!(is_settled());

        let mut commit = pin!(world.commit("m1", vec![commit_of("orders", 0, 5, lease)]));
        assert!(future::poll_once(&mut commit).await.is_none());
        assert!(!is_settled());
        let mut fetch = pin!(world.committed("orders", &[0]));
        assert!(future::poll_once(&mut fetch).await.is_none());
        let mut again = pin!(world.create("orders", 9, 1));
        assert!(future::poll_once(&mut again).await.is_none());
        assert_eq!(fetch.await[0].offset, 5);
        assert!(is_settled());
        commit.await.expect("answered");
        again.await.expect("answered");

        let mut delete = pin!(world.delete("orders", 9));
        assert!(future::poll_once(&mut delete).await.is_none());
        let mut missing = pin!(world.update("orders", 3, None));
        assert!(future::poll_once(&mut missing).await.is_none());
        assert_eq!(code(missing.await), ErrorCode::TopicNotFound);
        assert!(is_settled());
        delete.await.expect("answered");
        world.shard.store().stop().await.expect("stopped");
    });
}
