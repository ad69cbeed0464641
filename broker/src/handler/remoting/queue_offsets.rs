//! 29, 30, 31, 32: where in a queue the end, the start or a point in time lies. Tools ask every shard in turn and stop
//! at an error, so a queue that is not here is answered as an empty one.

use super::{Answer, Caller, Refused, Request, queues};
use crate::handler::records::range;
use crate::shard::Shard;
use crate::state::offsets::QueueRange;
use ringmq_storage_engine::position::{QueueHandle, QueueOffset};
use ringmq_storage_engine::store::ReadLimits;
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use std::rc::Rc;

/// 30: the offset that the next message gets.
pub async fn max<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    _caller: &Rc<Caller<D>>,
    request: &Request,
) -> Result<Answer, Refused> {
    let visible = find(shard, request)?.map_or(0, |(_, range)| range.visible.0);
    Ok(Answer::ok().field("offset", visible))
}

/// 31: the offset of the first message.
pub async fn min<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    _caller: &Rc<Caller<D>>,
    request: &Request,
) -> Result<Answer, Refused> {
    let min = find(shard, request)?.map_or(0, |(_, range)| range.min.0);
    Ok(Answer::ok().field("offset", min))
}

/// 29: the first offset stored at a time or after it; with `UPPER`, the last one stored at it or before.
pub async fn at_time<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    _caller: &Rc<Caller<D>>,
    request: &Request,
) -> Result<Answer, Refused> {
    let time_ms: i64 = request.command.required("timestamp")?;
    let boundary: Option<String> = request.command.optional("boundaryType")?;
    let upper = boundary.is_some_and(|boundary| boundary.eq_ignore_ascii_case("upper"));
    let Some((handle, range)) = find(shard, request)? else {
        return Ok(Answer::ok().field("offset", 0));
    };
    let from_ms = if upper {
        time_ms.saturating_add(1)
    } else {
        time_ms
    };
    let offset = shard.store().offset_at_time(handle, from_ms).await?;
    let offset = if upper {
        QueueOffset(offset.0.saturating_sub(1))
    } else {
        offset
    };
    Ok(Answer::ok().field("offset", range.clamp(offset).0))
}

/// 32: when the first message was stored; -1: there is none.
pub async fn earliest_time<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    _caller: &Rc<Caller<D>>,
    request: &Request,
) -> Result<Answer, Refused> {
    let none = Answer::ok().field("timestamp", -1);
    let Some((handle, range)) = find(shard, request)? else {
        return Ok(none);
    };
    let limits = ReadLimits {
        max_bytes: 1,
        max_batches: 1,
    };
    let read = shard.store().read(handle, range.min, limits).await?;
    Ok(read.batches.first().map_or(none, |batch| {
        Answer::ok().field("timestamp", batch.header.store_time_ms)
    }))
}

fn find<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    request: &Request,
) -> Result<Option<(QueueHandle, QueueRange)>, Refused> {
    let topic: String = request.command.required("topic")?;
    let queue_id: i32 = request.command.required("queueId")?;
    let handle = queues::find(shard, &topic, queue_id);
    Ok(handle.map(|handle| {
        (
            handle,
            shard.with_state(|state| range(shard, state, handle)),
        )
    }))
}
