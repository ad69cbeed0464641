//! Ping: the connection is alive.

use super::{Refusal, SessionInfo};
use crate::shard::Shard;
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::native::schema::{PingRequestT, PingResponseT};

pub async fn handle<D: Disk, R: Runtime>(
    _shard: &Shard<D, R>,
    _session: &SessionInfo,
    _request: PingRequestT,
) -> Result<PingResponseT, Refusal> {
    Ok(PingResponseT::default())
}
