//! GroupDescribe: the members at this node, and the queues of this shard that the group committed or holds.

use super::records::{range, settled};
use super::{Refusal, SessionInfo};
use crate::shard::Shard;
use crate::state::{GroupQueue, ShardState, groups, leases};
use ringmq_storage_engine::position::QueueHandle;
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::codes::ErrorCode;
use ringmq_wire::native::schema::{GroupDescribeRequestT, GroupDescribeResponseT, GroupQueueT};

pub async fn handle<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    _session: &SessionInfo,
    request: GroupDescribeRequestT,
) -> Result<GroupDescribeResponseT, Refusal> {
    groups::check_name(&request.group)?;
    let (version, members) = shard.node().members(&request.group).await?;
    shard.flush_commits();
    let queues = shard.with_state(|state| {
        let group = state.group(&request.group)?;
        let queues = group.queues();
        Some(
            queues
                .filter_map(|(handle, queue)| describe(shard, state, &request.group, handle, queue))
                .collect::<Vec<_>>(),
        )
    });
    settled(shard).await?;
    if queues.is_none() && members.is_empty() {
        return Err(Refusal::new(
            ErrorCode::GroupNotFound,
            format!(
                "group {} has no members at this node and no offsets at this shard",
                request.group
            ),
        ));
    }
    let mut response = GroupDescribeResponseT::default();
    response.version = version;
    response.members = Some(members);
    response.queues = Some(queues.unwrap_or_default());
    Ok(response)
}

fn describe<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    state: &ShardState,
    group: &str,
    handle: QueueHandle,
    entry: &GroupQueue,
) -> Option<GroupQueueT> {
    let queue = state.queue(handle)?;
    let range = range(shard, state, handle);
    let mut described = GroupQueueT::default();
    described.topic = queue.topic.to_string();
    described.queue = queue.queue;
    described.committed = entry.committed.is_some();
    described.offset = entry.committed.map_or(0, |offset| offset.0);
    described.visible_offset = range.visible.0;
    described.min_offset = range.min.0;
    let now = shard.now();
    shard.with_leases(|deadlines| {
        if let Some((lease, remaining)) = leases::running(state, deadlines, group, handle, now) {
            described.holder = Some(lease.member.to_string());
            described.lease_remaining_ms = u32::try_from(remaining.as_millis()).unwrap_or(u32::MAX);
        }
    });
    Some(described)
}
