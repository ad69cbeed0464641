//! TopicCreate: this shard's share of a topic, or, without a placement, the topic on all shards of the node.

use super::records::{append, publish_share, settled};
use super::{Refusal, SessionInfo};
use crate::shard::Shard;
use crate::state::topics::{self, TopicRules, TopicSpec};
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::codes::ErrorCode;
use ringmq_wire::native::schema::{TopicCreateRequestT, TopicCreateResponseT, TopicRecordT};

pub async fn handle<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    _session: &SessionInfo,
    request: TopicCreateRequestT,
) -> Result<TopicCreateResponseT, Refusal> {
    let node = shard.node();
    if request.automatic && !node.automatic().topics.or(node.identity().auto_create) {
        return Err(Refusal::new(
            ErrorCode::AutoCreateDisabled,
            format!(
                "topic {} does not exist, and this broker does not make topics by themselves",
                request.topic.name
            ),
        ));
    }
    let is_placed = request
        .topic
        .placement
        .as_ref()
        .is_some_and(|shards| !shards.is_empty());
    if !is_placed {
        return Ok(node.create_topic_everywhere(*request.topic).await?);
    }
    let response = create_share(shard, *request.topic).await?;
    // So that a client that asks for the route next finds it. A name server that cannot be told now is told later.
    let _ = node.registered(shard.settings().index).await;
    Ok(response)
}

/// Makes this shard's share and tells the node of it; answered when it is durable.
pub async fn create_share<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    topic: TopicRecordT,
) -> Result<TopicCreateResponseT, Refusal> {
    let spec = TopicSpec::from_wire(topic);
    let rules = rules(shard);
    let record = shard.with_state(|state| topics::create(state, rules, &spec))?;
    if let Some(record) = &record {
        append(shard, record)?;
    }
    let topic = shard.with_state(|state| state.topic(&spec.name).map(|t| t.to_wire(&spec.name)));
    settled(shard).await?;
    if record.is_some() {
        publish_share(shard, &spec.name);
    }
    Ok(TopicCreateResponseT {
        topic: topic.map(Box::new),
        existed: record.is_none(),
    })
}

/// What the broker allows topics to ask for.
pub(super) fn rules<D: Disk, R: Runtime>(shard: &Shard<D, R>) -> TopicRules<'_> {
    TopicRules {
        shard: shard.name(),
        retention_ms: shard.settings().retention_ms,
    }
}
