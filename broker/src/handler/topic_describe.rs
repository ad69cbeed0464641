//! TopicDescribe: a topic, and the state of its queues on this shard.

use super::records::{range, settled, topic};
use super::{Refusal, SessionInfo};
use crate::shard::Shard;
use crate::state::{Queue, ShardState};
use ringmq_storage_engine::position::QueueHandle;
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::native::schema::{QueueStateT, TopicDescribeRequestT, TopicDescribeResponseT};

pub async fn handle<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    _session: &SessionInfo,
    request: TopicDescribeRequestT,
) -> Result<TopicDescribeResponseT, Refusal> {
    let answer = shard.with_state(|state| {
        let topic = topic(state, &request.name)?;
        let queues = topic.local().filter_map(|(number, handle)| {
            let queue = state.queue(handle)?;
            Some(describe(shard, state, number, handle, queue))
        });
        Ok::<_, Refusal>(TopicDescribeResponseT {
            topic: Some(Box::new(topic.to_wire(&request.name))),
            queues: Some(queues.collect()),
        })
    });
    settled(shard).await?;
    answer
}

fn describe<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    state: &ShardState,
    number: u32,
    handle: QueueHandle,
    queue: &Queue,
) -> QueueStateT {
    let range = range(shard, state, handle);
    QueueStateT {
        queue: number,
        min_offset: range.min.0,
        visible_offset: range.visible.0,
        next_offset: queue.next_offset.0,
        last_store_time_ms: queue.last_store_time_ms,
    }
}
