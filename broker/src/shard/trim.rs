//! Moves the first offset of queues whose topic keeps messages for a shorter time than the broker.

use super::Shard;
use crate::state::{ControlRecord, retention};
use ringmq_storage_engine::position::{QueueHandle, QueueOffset};
use ringmq_storage_engine::store::AppendError;
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use std::time::Duration;

/// Time between two rounds; messages may stay that much longer.
const ROUND_EVERY: Duration = Duration::from_secs(10);
/// Queues of one record.
const RECORD_QUEUES_MAX: usize = 4_096;

/// Goes round until the shard stops.
pub async fn run<D: Disk, R: Runtime>(shard: Shard<D, R>) {
    while !shard.is_stopping() {
        shard.runtime().sleep(ROUND_EVERY).await;
        if let Err(error) = round(&shard).await {
            // Nothing is lost: the next round finds the same.
            tracing::warn!(shard = shard.name(), %error, "topics' own retention is not applied");
        }
    }
}

/// One round over all queues; returns how many were moved.
pub async fn round<D: Disk, R: Runtime>(shard: &Shard<D, R>) -> Result<usize, AppendError> {
    let store = shard.store();
    let now_ms = store.store_time_ms();
    let expiring = shard.with_state(|state| retention::expiring(state, now_ms));
    let mut moved = 0;
    for queues in expiring.chunks(RECORD_QUEUES_MAX) {
        let mut firsts: Vec<(QueueHandle, QueueOffset)> = Vec::new();
        for queue in queues {
            // A queue that cannot be read now, or is gone, is left for another round.
            let first = store.offset_at_time(queue.handle, queue.before_ms).await;
            firsts.extend(first.ok().map(|first| (queue.handle, first)));
            shard.runtime().yield_now().await;
        }
        // The lookups took time: topics may be gone.
        shard.with_state(|state| {
            firsts.retain(|&(handle, first)| retention::is_trim(state, handle, first));
        });
        if !firsts.is_empty() {
            moved += firsts.len();
            store.append_control(&ControlRecord::QueuesTrim(firsts).encode())?;
        }
    }
    Ok(moved)
}
