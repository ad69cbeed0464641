//! Looks into the shards while they run: what must hold at every moment.

use super::chaos::Chaos;
use super::connection::SimShard;
use super::world::World;
use ringmq_storage_engine::position::QueueOffset;
use ringmq_storage_engine::runtime::Runtime;
use ringmq_storage_engine::store::{ReadError, ReadLimits};
use std::rc::Rc;
use std::time::Duration;

const EVERY: Duration = Duration::from_millis(40);

/// Looks until the run is over.
pub async fn run(world: Rc<World>, chaos: Rc<Chaos>) {
    while !world.is_over() {
        world.runtime.sleep(EVERY).await;
        for node in &chaos.nodes {
            node.shards().iter().for_each(look);
        }
    }
}

/// Frontiers in order, committed offsets within what is visible, bounds kept, nothing panicked.
pub fn look(shard: &SimShard) {
    let store = shard.store();
    let at = store.frontiers();
    let ordered = at.appended >= at.written && at.written >= at.durable && at.durable >= at.visible;
    assert!(ordered, "{}: {at:?}", shard.name());
    assert_eq!(
        shard.counters().panics.get(),
        0,
        "{}: a request panicked",
        shard.name()
    );
    let half = shard.limits().shard_bytes_max / 2;
    // One permit may be larger than what is left of a budget.
    let slack = shard.limits().connection_bytes_max;
    assert!(
        shard.received_budget().used() <= half + slack,
        "{}",
        shard.name()
    );
    assert!(
        shard.unsent_budget().used() <= half + slack,
        "{}",
        shard.name()
    );
    shard.with_state(|state| {
        for (name, group) in state.groups() {
            for (handle, queue) in group.queues() {
                let visible = store.visible_offset(handle);
                let Some(committed) = queue.committed else {
                    continue;
                };
                assert!(
                    visible.is_some_and(|visible| committed <= visible),
                    "{}: {name} has committed {committed:?} of {visible:?}",
                    shard.name()
                );
            }
        }
    });
}

/// Reads the first visible messages of each queue: that must work whatever became of the log.
pub async fn read_something(shard: &SimShard) {
    let store = shard.store();
    let queues: Vec<_> =
        shard.with_state(|state| state.queues().map(|(handle, _)| handle).collect());
    for handle in queues {
        let (Some(min), Some(visible)) = (store.min_offset(handle), store.visible_offset(handle))
        else {
            continue;
        };
        if min >= visible {
            continue;
        }
        let limits = ReadLimits {
            max_bytes: 1,
            max_batches: 1,
        };
        match store.read(handle, min, limits).await {
            Ok(read) => {
                let first = read.batches.first().expect("there are visible messages");
                assert!(QueueOffset(first.header.base_offset) <= min);
            }
            // Retention went on meanwhile.
            Err(ReadError::OffsetOutOfRange { .. } | ReadError::QueueNotFound(_)) => {}
            Err(error) => panic!(
                "{}: a log that stopped cannot be read: {error}",
                shard.name()
            ),
        }
    }
}
