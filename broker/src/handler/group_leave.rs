//! GroupLeave: ends a membership at this node and gives back the leases that the member holds at this shard.

use super::{Refusal, SessionInfo, lease_release};
use crate::shard::Shard;
use crate::state::groups;
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::native::schema::{GroupLeaveRequestT, GroupLeaveResponseT};

pub async fn handle<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    _session: &SessionInfo,
    request: GroupLeaveRequestT,
) -> Result<GroupLeaveResponseT, Refusal> {
    groups::check_name(&request.group)?;
    groups::check_member(&request.member)?;
    // Leases first: whoever sees that the member is gone finds its queues free.
    lease_release::release_all(shard, &request.group, &request.member).await?;
    shard.node().leave(&request.group, &request.member).await?;
    Ok(GroupLeaveResponseT::default())
}
