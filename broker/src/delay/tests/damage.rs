//! Delayed messages that cannot be read: for a moment, or for good.

use super::world::World;
use ringmq_storage_engine::disk::sim::{Fault, FaultEffect, SimDisk, SimDiskOptions};
use ringmq_storage_engine::disk::{DiskErrorKind, DiskOperation};
use ringmq_storage_engine::marks::assert_reached;
use ringmq_storage_engine::runtime::sim::SimExecutor;
use ringmq_storage_engine::store::StoreOptions;

/// Two messages wait when a shard is opened that refuses so many reads; how many are delivered, lost and wait half a
/// minute later.
fn after_refused_reads(times: u32) -> (usize, u64, u64) {
    let executor = SimExecutor::new(5);
    let runtime = executor.runtime();
    let disk = SimDisk::new(&runtime, SimDiskOptions::default());
    let ended = executor.run(async move {
        let options = StoreOptions {
            read_cache_bytes: 0,
            ..StoreOptions::test_min()
        };
        let world = World::open(&disk, &runtime, options.clone()).await;
        world.park(3, 0, "one").await.expect("parked");
        world.park(3, 1, "two").await.expect("parked");
        world.stop().await;
        // Nothing of the log is in memory now.
        let world = World::open(&disk, &runtime, options).await;
        disk.inject(Fault {
            operation: DiskOperation::Read,
            file_prefix: "0000".to_owned(),
            skip: 0,
            times,
            effect: FaultEffect::Fail(DiskErrorKind::Failed),
        });
        world.sleep_ms(30_000).await;
        disk.clear_faults();
        let lost = world.shard.counters().delayed_lost.get();
        (world.delivered().await.len(), lost, world.waiting())
    });
    ended.expect("it ends")
}

/// Simulated cluster, seed 1427: an acknowledged message was passed over for good after one failed read.
#[test]
fn reads_that_fail_for_a_moment_lose_nothing() {
    for times in 1..=4 {
        assert_eq!(
            after_refused_reads(times),
            (2, 0, 0),
            "{times} reads failed"
        );
    }
    assert_reached(&["verdict: delayed messages wait for the disk"]);
}

#[test]
fn what_stays_unreadable_is_passed_over_and_counted() {
    assert_eq!(after_refused_reads(u32::MAX), (0, 2, 0));
    assert_reached(&["verdict: delayed messages are passed over"]);
}
