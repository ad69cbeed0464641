//! Finding queues by RocketMQ's numbers: local to the shard, from 0.

use crate::shard::Shard;
use ringmq_storage_engine::position::QueueHandle;
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};

/// The queue with this number, if the topic has one here.
pub fn find<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    topic: &str,
    queue_id: i32,
) -> Option<QueueHandle> {
    let index = usize::try_from(queue_id).ok()?;
    shard.with_state(|state| state.topic(topic)?.handles.get(index).copied())
}
