//! GroupHeartbeat: keeps a membership at this node, and the leases that the member holds at this shard.

use super::{Refusal, SessionInfo};
use crate::shard::Shard;
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::codes::ErrorCode;
use ringmq_wire::native::schema::{GroupHeartbeatRequestT, GroupHeartbeatResponseT};

pub async fn handle<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    _session: &SessionInfo,
    request: GroupHeartbeatRequestT,
) -> Result<GroupHeartbeatResponseT, Refusal> {
    // First, and whatever becomes of the membership: leases are this shard's alone, and who asks is alive.
    let now = shard.now();
    shard.with_leases(|leases| {
        shard.with_state(|state| leases.renew(state, &request.group, &request.member, now));
    });
    let Some(version) = shard.node().heartbeat(&request.group, &request.member)? else {
        return Err(Refusal::new(
            ErrorCode::UnknownMember,
            format!(
                "{} is not a member of group {} at this node; join again",
                request.member, request.group
            ),
        ));
    };
    let mut response = GroupHeartbeatResponseT::default();
    response.version = version;
    Ok(response)
}
