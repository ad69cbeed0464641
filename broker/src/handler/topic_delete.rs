//! TopicDelete: this shard's share of a topic, with its queues and what groups and producers had in them.

use super::records::{append, publish_share, settled};
use super::{Refusal, SessionInfo};
use crate::shard::Shard;
use crate::state::{ControlRecord, topics};
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::native::schema::{TopicDeleteRequestT, TopicDeleteResponseT};

pub async fn handle<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    session: &SessionInfo,
    request: TopicDeleteRequestT,
) -> Result<TopicDeleteResponseT, Refusal> {
    let name = request.name.as_str();
    let incarnation = topics::incarnation(request.incarnation_high, request.incarnation_low);
    let decided = shard.with_state(|state| {
        topics::check_not_system(state, name)?;
        topics::delete(state, name, incarnation)
    });
    if let Ok(Some(record)) = &decided {
        append(shard, record)?;
    }
    settled(shard).await?;
    let Some(record) = decided? else {
        return Ok(TopicDeleteResponseT { existed: false });
    };
    tracing::info!(topic = name, client = %session.client_id, "topic deleted");
    if let ControlRecord::TopicRemove { handles, .. } = &record {
        shard.queues_removed(handles);
    }
    publish_share(shard, name);
    Ok(TopicDeleteResponseT { existed: true })
}
