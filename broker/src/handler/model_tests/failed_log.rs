//! A log whose write or sync failed, as clients see it: errors for whoever waits, reads go on, health says why, and a
//! restart recovers.

use super::world::{World, code};
use crate::handler::{Refusal, message_query, topic_describe};
use crate::shard::routes;
use ringmq_storage_engine::disk::sim::{Fault, FaultEffect, SimDisk, SimDiskOptions};
use ringmq_storage_engine::disk::{DiskErrorKind, DiskOperation};
use ringmq_storage_engine::runtime::sim::{SimExecutor, SimRuntime};
use ringmq_storage_engine::store::{StoreOptions, WriteMode};
use ringmq_wire::codes::ErrorCode;
use ringmq_wire::native::schema::{MessageQueryBy, MessageQueryRequestT, TopicDescribeRequestT};

fn options(write_mode: WriteMode) -> StoreOptions {
    StoreOptions {
        write_mode,
        ..StoreOptions::test_min()
    }
}

/// Reads one message as a client does.
async fn message(world: &World, offset: u64) -> Result<usize, Refusal> {
    let request = MessageQueryRequestT {
        by: MessageQueryBy::Offset,
        topic: Some("orders".to_owned()),
        offset,
        ..MessageQueryRequestT::default()
    };
    let unsent = world.shard.unsent_budget();
    let found = message_query::handle(&world.shard, unsent, request).await?;
    Ok(found.response.messages.map_or(0, |messages| messages.len()))
}

async fn fails_and_recovers(disk: SimDisk, runtime: SimRuntime, mode: WriteMode) {
    let operation = match mode {
        WriteMode::DurableWrite => DiskOperation::Write,
        WriteMode::WriteThenSync => DiskOperation::Sync,
    };
    let world = World::open_with(&disk, &runtime, options(mode)).await;
    world.create("orders", 9, 1).await.expect("made");
    let handle = world.handle("orders", 0);
    world.produce(handle, 3).await;
    disk.inject(Fault {
        operation,
        file_prefix: "0000".to_owned(),
        skip: 0,
        times: 1,
        effect: FaultEffect::Fail(DiskErrorKind::Failed),
    });

    // Whoever waits gets an error, and so does whoever comes later. Nothing is tried again.
    let end = world.append(handle, 2);
    let waited = world.shard.store().durable(end).await;
    let refusal = Refusal::from(waited.expect_err("the write failed"));
    assert_eq!(refusal.code, ErrorCode::LogFailed);
    let later = world.create("more", 10, 1).await;
    assert_eq!(code(later), ErrorCode::LogFailed);

    // Reads go on, of what was visible and nothing else.
    for offset in 0..3 {
        assert_eq!(message(&world, offset).await, Ok(1), "{operation:?}");
    }
    assert!(message(&world, 3).await.is_err());

    // Health and status say why, and writers are sent elsewhere.
    let condition = world.shard.condition();
    assert!(condition.contains(&format!("{operation:?}")), "{condition}");
    assert_eq!(world.shard.status().health, Some(condition));
    routes::look(&world.shard);
    assert!(!world.shard.node().shares(0, |table| table.writable()));
    assert!(world.shard.store().stop().await.is_err());

    // A restart recovers what was acknowledged, and takes messages again.
    let world = World::open_with(&disk, &runtime, options(mode)).await;
    assert_eq!(world.shard.condition(), "ok");
    let handle = world.handle("orders", 0);
    world.produce(handle, 1).await;
    for offset in 0..3 {
        assert_eq!(message(&world, offset).await, Ok(1), "{operation:?}");
    }
    let request = TopicDescribeRequestT {
        name: "orders".to_owned(),
    };
    let described = topic_describe::handle(&world.shard, &world.session, request).await;
    let queues = described.expect("it is there").queues;
    let visible = queues.expect("always there")[0].visible_offset;
    // What was in flight when the log stopped may or may not have reached the disk.
    assert!([4, 6].contains(&visible), "{visible}");
    world.shard.store().stop().await.expect("stopped");
}

#[test]
fn a_failed_write_or_sync_stops_the_log_until_a_restart() {
    for mode in [WriteMode::DurableWrite, WriteMode::WriteThenSync] {
        let executor = SimExecutor::new(7);
        let runtime = executor.runtime();
        let disk = SimDisk::new(&runtime, SimDiskOptions::default());
        let test = fails_and_recovers(disk, runtime, mode);
        executor.run(test).expect("the run ends");
    }
}
