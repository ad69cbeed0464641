//! What comes into being because somebody uses it: topics of first messages, groups and their retry topics, and the
//! topics that RocketMQ's clients expect on every broker.
//!
//! A topic of a first message is made on all shards of the node. The others are local: each shard has its own, of one
//! shard, with its own incarnation.

use super::Refusal;
use super::records::{append, publish_share, settled};
use super::topic_create::rules;
use crate::shard::Shard;
use crate::state::system::{self, Place, SystemTopic, dead_topic, retry_topic};
use crate::state::topics::{self, TopicSpec};
use crate::state::{GroupSettings, TopicSettings, group_settings, groups};
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::codes::ErrorCode;
use ringmq_wire::limits::is_valid_name;
use ringmq_wire::native::schema::TopicRecordT;

/// Makes the topic of a first message as RocketMQ does, after `template`, with up to `queues` queues a shard; returns
/// at once if this shard has it. When it returns, reachable name servers know the topic.
pub async fn ensure_topic_for_send<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    name: &str,
    template: &str,
    queues: i32,
) -> Result<(), Refusal> {
    if shard.with_state(|state| state.topic(name).is_some()) {
        return Ok(());
    }
    if name.starts_with(system::RETRY_PREFIX) {
        return ensure_share(shard, name, 1, TopicSettings::default()).await;
    }
    let (queues, settings) = after_template(shard, name, template, queues)?;
    let shards = shard.node().shards().len() as u32;
    let wanted = TopicRecordT {
        name: name.to_owned(),
        queues: queues * shards,
        settings: Some(Box::new(settings.to_wire())),
        ..TopicRecordT::default()
    };
    shard.node().create_topic_everywhere(wanted).await?;
    // It may have existed elsewhere only: then this shard gets a topic of its own, as a RocketMQ broker would.
    ensure_share(shard, name, queues, settings).await
}

fn after_template<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    name: &str,
    template: &str,
    queues: i32,
) -> Result<(u32, TopicSettings), Refusal> {
    let node = shard.node();
    if !node.automatic().topics.or(node.identity().auto_create) {
        return Err(Refusal::new(
            ErrorCode::AutoCreateDisabled,
            format!(
                "topic {name} does not exist, and this broker does not make topics by themselves"
            ),
        ));
    }
    let found = shard.with_state(|state| {
        let topic = state
            .topic(template)
            .filter(|topic| topic.settings.inherit)?;
        Some((topic.write_queues(), topic.settings))
    });
    let Some((most, settings)) = found else {
        return Err(Refusal::new(
            ErrorCode::TopicNotFound,
            format!("topic {name} does not exist, and {template} is no template to make it after"),
        ));
    };
    let wished = u32::try_from(queues).unwrap_or(0).max(1);
    let settings = TopicSettings {
        inherit: false,
        system: false,
        read_queues: None,
        write_queues: None,
        ..settings
    };
    Ok((wished.min(most.max(1)), settings))
}

/// Makes a topic of this shard alone, unless there is one of that name.
pub async fn ensure_share<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    name: &str,
    queues: u32,
    settings: TopicSettings,
) -> Result<(), Refusal> {
    let made = put_share(shard, name, queues, settings)?;
    settled(shard).await?;
    if made {
        publish_share(shard, name);
        // So that a client that asks for the route next finds it. A name server that cannot be told now is told later.
        let _ = shard.node().registered(shard.settings().index).await;
    }
    Ok(())
}

/// Appends the record of a topic of this shard alone, unless there is one of that name.
fn put_share<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    name: &str,
    queues: u32,
    settings: TopicSettings,
) -> Result<bool, Refusal> {
    if shard.with_state(|state| state.topic(name).is_some()) {
        return Ok(false);
    }
    let spec = local_spec(shard, name, queues, settings);
    let record = shard.with_state(|state| topics::create(state, rules(shard), &spec))?;
    match &record {
        Some(record) => append(shard, record).map(|_| true),
        None => Ok(false),
    }
}

/// A new topic of this shard alone.
pub(super) fn local_spec<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    name: &str,
    queues: u32,
    settings: TopicSettings,
) -> TopicSpec {
    let (high, low) = (shard.runtime().random_u64(), shard.runtime().random_u64());
    TopicSpec {
        name: name.to_owned(),
        // The low half is told to clients, where 0 means "do not check".
        incarnation: topics::incarnation(high, low.max(1)),
        queues,
        placement: vec![shard.name().to_owned()],
        settings,
    }
}

/// The settings of a group, made if nobody did, with the group's retry topic on this shard.
pub async fn ensure_group<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    group: &str,
) -> Result<GroupSettings, Refusal> {
    groups::check_name(group)?;
    let topic = retry_topic(group);
    if !is_valid_name(&topic) {
        let message = format!("group {group} is too long: topic {topic} could not be named");
        return Err(Refusal::new(ErrorCode::InvalidName, message));
    }
    let known = shard.with_state(|state| state.group_settings(group).cloned());
    let settings = match known {
        Some(settings) => settings,
        None if shard.makes_groups() => {
            let settings = GroupSettings::default();
            let record =
                shard.with_state(|state| group_settings::put(state, group, settings.clone()))?;
            if let Some(record) = record {
                append(shard, &record)?;
            }
            settings
        }
        None => {
            let message = format!(
                "group {group} does not exist, and this broker does not make groups by themselves"
            );
            return Err(Refusal::new(ErrorCode::GroupNotFound, message));
        }
    };
    match u32::try_from(settings.retry_queues) {
        Ok(queues) if queues > 0 => {
            ensure_share(shard, &topic, queues, TopicSettings::default()).await?;
        }
        _ => settled(shard).await?,
    }
    Ok(settings)
}

/// The topic of a group's dead letters, made if it is not there; returns its name.
pub async fn ensure_dead_topic<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    group: &str,
) -> Result<String, Refusal> {
    let topic = dead_topic(group);
    ensure_share(shard, &topic, 1, TopicSettings::default()).await?;
    Ok(topic)
}

/// The topics that RocketMQ's clients expect on this shard.
pub fn system_topics<D: Disk, R: Runtime>(shard: &Shard<D, R>) -> Vec<SystemTopic> {
    let identity = shard.node().identity();
    system::topics(Place {
        cluster: &identity.cluster,
        shard: shard.name(),
        shards: shard.node().shards().len(),
        delay_levels: shard.settings().delay_levels.count(),
        auto_create: identity.auto_create,
    })
}

/// Makes the topics that RocketMQ's clients expect on every broker; to be called before the shard is registered.
pub async fn ensure_system_topics<D: Disk, R: Runtime>(shard: &Shard<D, R>) -> Result<(), Refusal> {
    let wanted = system_topics(shard);
    for topic in wanted {
        if put_share(shard, &topic.name, topic.queues, topic.settings)? {
            continue;
        }
        // More delay levels than before.
        let grown = shard.with_state(|state| {
            let there = state.topic(&topic.name);
            let is_smaller =
                there.is_some_and(|there| there.settings.system && there.queues < topic.queues);
            let queues = if is_smaller { topic.queues } else { 0 };
            topics::update(state, rules(shard), &topic.name, queues, None)
        })?;
        if let Some(record) = grown {
            append(shard, &record)?;
        }
    }
    settled(shard).await
}
