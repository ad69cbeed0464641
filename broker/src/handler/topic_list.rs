//! TopicList: all topics that have a share on this shard, but for the broker's own.

use super::records::settled;
use super::{Refusal, SessionInfo};
use crate::shard::Shard;
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::native::schema::{TopicListRequestT, TopicListResponseT};

pub async fn handle<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    _session: &SessionInfo,
    _request: TopicListRequestT,
) -> Result<TopicListResponseT, Refusal> {
    let topics = shard.with_state(|state| {
        let topics = state.topics().filter(|(_, topic)| !topic.settings.system);
        topics.map(|(name, topic)| topic.to_wire(name)).collect()
    });
    settled(shard).await?;
    Ok(TopicListResponseT {
        topics: Some(topics),
    })
}
