//! GroupJoin: makes or refreshes a membership at this node; all its shards know it when this is answered.

use super::{Refusal, SessionInfo};
use crate::node::Join;
use crate::shard::Shard;
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::native::schema::{GroupJoinRequestT, GroupJoinResponseT};

pub async fn handle<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    session: &SessionInfo,
    request: GroupJoinRequestT,
) -> Result<GroupJoinResponseT, Refusal> {
    let join = Join {
        group: request.group,
        member: request.member,
        client_address: session.peer.to_string(),
        subscriptions: request.subscriptions.unwrap_or_default(),
        session_timeout_ms: request.session_timeout_ms,
    };
    Ok(shard.node().join(join).await?)
}
