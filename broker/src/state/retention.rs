//! Topics that keep messages for a shorter time than the broker.
//!
//! The log goes bundle by bundle, for all topics alike; a topic's own retention moves the first offset of its queues,
//! by a record. Time is the log's, so that a wall clock that jumps ahead and back removes nothing early.

use super::ShardState;
use ringmq_storage_engine::position::{QueueHandle, QueueOffset};

/// A queue whose messages stored before `before_ms` may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expiring {
    pub handle: QueueHandle,
    pub before_ms: i64,
}

/// The queues to look at: of topics with their own retention, and not empty. `store_time_ms`: the log's time now.
pub fn expiring(state: &ShardState, store_time_ms: i64) -> Vec<Expiring> {
    let own = state
        .topics()
        .filter(|(_, topic)| topic.settings.retention_ms >= 0);
    let queues = own.flat_map(|(_, topic)| {
        let before_ms = store_time_ms.saturating_sub(topic.settings.retention_ms);
        let handles = topic.handles.iter();
        handles.map(move |&handle| Expiring { handle, before_ms })
    });
    queues
        .filter(|expiring| {
            let queue = state.queue(expiring.handle);
            queue.is_some_and(|queue| queue.trim_offset < queue.next_offset)
        })
        .collect()
}

/// Whether moving the first offset of a queue to `offset` is a change: it exists still, and ends at or above it.
pub fn is_trim(state: &ShardState, handle: QueueHandle, offset: QueueOffset) -> bool {
    let queue = state.queue(handle);
    queue.is_some_and(|queue| queue.trim_offset < offset && offset <= queue.next_offset)
}
