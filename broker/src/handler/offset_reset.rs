//! OffsetReset: an operator sets committed offsets, backwards too.
//!
//! Refused for queues that a member is consuming, unless forced. A forced reset ends the lease, so that the member
//! has to acquire it again and starts from the new offset instead of committing over it.

use super::records::{ENTRIES_MAX, append, error_number, local_queue, range, settled, topic};
use super::{Refusal, SessionInfo};
use crate::shard::Shard;
use crate::state::record::GroupOffsets;
use crate::state::{ControlRecord, ShardState, Topic, groups, leases, offsets};
use ringmq_storage_engine::position::{QueueHandle, QueueOffset};
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::codes::ErrorCode;
use ringmq_wire::native::schema::{OffsetResetRequestT, OffsetResetResponseT, OffsetResetT};
use std::collections::BTreeMap;

pub async fn handle<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    session: &SessionInfo,
    request: OffsetResetRequestT,
) -> Result<OffsetResetResponseT, Refusal> {
    groups::check_name(&request.group)?;
    shard.flush_commits();
    let resets = request.resets.as_deref().unwrap_or_default();
    let mut errors = Vec::with_capacity(resets.len());
    // A queue may be in the request twice: the last one counts.
    let mut changed: BTreeMap<QueueHandle, QueueOffset> = BTreeMap::new();
    shard.with_state(|state| {
        let topic = topic(state, &request.topic)?;
        for reset in resets {
            let outcome = decide(shard, state, &request, topic, reset);
            errors.push(error_number(&outcome));
            if let Ok((handle, Some(offset))) = outcome {
                changed.insert(handle, offset);
            }
        }
        let is_new = |handle: &&QueueHandle| state.group_queue(&request.group, **handle).is_none();
        offsets::room(state, changed.keys().filter(is_new).count())?;
        Ok::<(), Refusal>(())
    })?;
    let changed: Vec<_> = changed.into_iter().collect();
    for offsets in changed.chunks(ENTRIES_MAX) {
        let offsets = GroupOffsets {
            group: request.group.as_str().into(),
            offsets: offsets.to_vec(),
        };
        append(shard, &ControlRecord::OffsetsReset(offsets))?;
    }
    let directory = shard.directory();
    if directory.clients().consumers(&request.group).is_some()
        && shard.with_resets(|resets| resets.has_room(changed.len()))
    {
        shard.hold_to(&request.group, changed.iter().copied());
    }
    settled(shard).await?;
    tracing::info!(
        group = request.group,
        topic = request.topic,
        queues = changed.len(),
        force = request.force,
        client = %session.client_id,
        "committed offsets reset"
    );
    Ok(OffsetResetResponseT {
        errors: Some(errors),
    })
}

fn decide<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    state: &ShardState,
    request: &OffsetResetRequestT,
    topic: &Topic,
    reset: &OffsetResetT,
) -> Result<(QueueHandle, Option<QueueOffset>), ErrorCode> {
    let handle = local_queue(topic, reset.queue)?;
    let group = request.group.as_str();
    let now = shard.now();
    let is_held = shard
        .with_leases(|deadlines| leases::running(state, deadlines, group, handle, now).is_some());
    let range = range(shard, state, handle);
    let offset = QueueOffset(reset.offset);
    let decided = offsets::reset(state, range, group, handle, offset, request.force, is_held);
    match decided {
        Ok(offset) => Ok((handle, offset)),
        Err(refuse) => Err(refuse.code),
    }
}
