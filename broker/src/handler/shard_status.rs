//! ShardStatus: how the shard is, for tools.

use super::{Refusal, SessionInfo};
use crate::shard::Shard;
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::native::schema::{ShardStatusRequestT, ShardStatusResponseT};

pub async fn handle<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    _session: &SessionInfo,
    _request: ShardStatusRequestT,
) -> Result<ShardStatusResponseT, Refusal> {
    Ok(shard.status())
}
