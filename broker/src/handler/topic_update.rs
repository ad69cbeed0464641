//! TopicUpdate: more queues, other settings. Each shard of the topic is asked on its own.

use super::records::{append, publish_share, settled};
use super::topic_create::rules;
use super::{Refusal, SessionInfo};
use crate::shard::Shard;
use crate::state::{TopicSettings, topics};
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::native::schema::{TopicUpdateRequestT, TopicUpdateResponseT};

pub async fn handle<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    _session: &SessionInfo,
    request: TopicUpdateRequestT,
) -> Result<TopicUpdateResponseT, Refusal> {
    let name = request.name.as_str();
    let settings = request.settings.as_deref().map(TopicSettings::from_wire);
    let rules = rules(shard);
    let decided = shard.with_state(|state| {
        topics::check_not_system(state, name)?;
        topics::update(state, rules, name, request.queues, settings)
    });
    if let Ok(Some(record)) = &decided {
        append(shard, record)?;
    }
    let topic = shard.with_state(|state| state.topic(name).map(|topic| topic.to_wire(name)));
    settled(shard).await?;
    if decided?.is_some() {
        publish_share(shard, name);
    }
    Ok(TopicUpdateResponseT {
        topic: topic.map(Box::new),
    })
}
