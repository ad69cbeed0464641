//! OffsetFetch: what a group committed.

use super::records::{error_number, local_queue, settled, topic};
use super::{Refusal, SessionInfo};
use crate::shard::Shard;
use crate::state::groups;
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::native::schema::{CommittedOffsetT, OffsetFetchRequestT, OffsetFetchResponseT};

pub async fn handle<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    _session: &SessionInfo,
    request: OffsetFetchRequestT,
) -> Result<OffsetFetchResponseT, Refusal> {
    groups::check_name(&request.group)?;
    shard.flush_commits();
    let asked = request.queues.unwrap_or_default();
    let answer = shard.with_state(|state| {
        let topic = topic(state, &request.topic)?;
        let offsets = asked.iter().map(|&queue| {
            let found =
                local_queue(topic, queue).map(|handle| state.committed(&request.group, handle));
            let committed = found.as_ref().ok().copied().flatten();
            CommittedOffsetT {
                queue,
                committed: committed.is_some(),
                offset: committed.map_or(0, |offset| offset.0),
                error: error_number(&found),
            }
        });
        Ok::<_, Refusal>(OffsetFetchResponseT {
            offsets: Some(offsets.collect()),
        })
    });
    settled(shard).await?;
    answer
}
