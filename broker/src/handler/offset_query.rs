//! OffsetQuery: where in each queue the start, the end, or a point in time lies.

use super::records::{error_number, local_queue, range, settled, topic};
use super::{Refusal, SessionInfo};
use crate::shard::Shard;
use crate::state::offsets::QueueRange;
use ringmq_storage_engine::position::{QueueHandle, QueueOffset};
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::codes::ErrorCode;
use ringmq_wire::native::schema::{
    OffsetAt, OffsetQueryRequestT, OffsetQueryResponseT, QueueOffsetT,
};

pub async fn handle<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    _session: &SessionInfo,
    request: OffsetQueryRequestT,
) -> Result<OffsetQueryResponseT, Refusal> {
    let asked = request.queues.unwrap_or_default();
    let found = shard.with_state(|state| {
        let topic = topic(state, &request.topic)?;
        let found = asked.iter().map(|&queue| {
            local_queue(topic, queue).map(|handle| (handle, range(shard, state, handle)))
        });
        Ok::<Vec<_>, Refusal>(found.collect())
    });
    settled(shard).await?;
    let mut offsets = Vec::with_capacity(asked.len());
    for (queue, found) in asked.into_iter().zip(found?) {
        let offset = match found {
            Ok((handle, range)) => locate(shard, &request.at, request.time_ms, handle, range).await,
            Err(code) => Err(code),
        };
        offsets.push(QueueOffsetT {
            queue,
            offset: offset.as_ref().map_or(0, |offset| offset.0),
            error: error_number(&offset),
        });
    }
    Ok(OffsetQueryResponseT {
        offsets: Some(offsets),
    })
}

async fn locate<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    at: &OffsetAt,
    time_ms: i64,
    handle: QueueHandle,
    range: QueueRange,
) -> Result<QueueOffset, ErrorCode> {
    match *at {
        OffsetAt::Earliest => Ok(range.min),
        OffsetAt::Latest => Ok(range.visible),
        OffsetAt::Time => {
            let offset = shard.store().offset_at_time(handle, time_ms).await;
            offset
                .map(|offset| offset.max(range.min))
                .map_err(|error| Refusal::from(error).code)
        }
        _ => Err(ErrorCode::InvalidRequest),
    }
}
