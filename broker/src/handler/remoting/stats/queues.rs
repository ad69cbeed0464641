//! What statistics look at: the queues of a topic here, and when a message of theirs was stored.

use crate::handler::records::range;
use crate::shard::Shard;
use crate::state::offsets::QueueRange;
use crate::state::{ShardState, Topic};
use ringmq_storage_engine::position::{QueueHandle, QueueOffset};
use ringmq_storage_engine::{disk::Disk, runtime::Runtime, store::ReadLimits};

/// A queue, by the number that RocketMQ's clients know it by.
#[derive(Debug, Clone, Copy)]
pub(super) struct LocalQueue {
    pub(super) id: u32,
    pub(super) handle: QueueHandle,
    pub(super) range: QueueRange,
    /// Of the last message; 0 before the first.
    pub(super) last_store_time_ms: i64,
}

/// The queues of a topic that clients read or write here.
pub(super) fn of_topic<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    state: &ShardState,
    topic: &Topic,
) -> Vec<LocalQueue> {
    let count = topic.read_queues().max(topic.write_queues()) as usize;
    let handles = (0u32..).zip(&topic.handles).take(count);
    let queue = |(id, &handle): (u32, &QueueHandle)| LocalQueue {
        id,
        handle,
        range: range(shard, state, handle),
        last_store_time_ms: state
            .queue(handle)
            .map_or(0, |queue| queue.last_store_time_ms),
    };
    handles.map(queue).collect()
}

/// The topics in which a group has committed something here, sorted by name.
pub(super) fn topics_of_group(state: &ShardState, group: &str) -> Vec<String> {
    let Some(group) = state.group(group) else {
        return Vec::new();
    };
    let committed = group
        .queues()
        .filter(|(_, queue)| queue.committed.is_some());
    let mut topics: Vec<String> = committed
        .filter_map(|(handle, _)| Some(state.queue(handle)?.topic.to_string()))
        .collect();
    topics.sort_unstable();
    topics.dedup();
    topics
}

/// When the message at `offset` was stored; 0 if it is not there.
pub(super) async fn store_time<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    queue: &LocalQueue,
    offset: QueueOffset,
) -> i64 {
    if offset < queue.range.min || offset >= queue.range.visible {
        return 0;
    }
    let one = ReadLimits {
        max_bytes: 1,
        max_batches: 1,
    };
    // Statistics of a damaged place are no reason to refuse the rest.
    let read = shard.store().read(queue.handle, offset, one).await.ok();
    let batch = read.and_then(|read| read.batches.into_iter().next());
    batch.map_or(0, |batch| batch.header.store_time_ms)
}
