//! UPDATE_AND_CREATE_TOPIC (17): this shard's share of a topic, made or changed.
//!
//! The queues are those of this shard. A topic that this shard makes is its own; one that lies over several shards
//! grows here by the same number for each of them, and tools ask the others in turn.

use super::{Answer, Caller, Refused, Request};
use crate::handler::automatic::local_spec;
use crate::handler::records::{append, publish_share, settled};
use crate::handler::topic_create::rules;
use crate::shard::Shard;
use crate::state::entries::Attributes;
use crate::state::{ShardState, TopicSettings, attributes, system, topics};
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::remoting::body::topics::{TopicConfig, TopicFilterType};
use ringmq_wire::remoting::response_code;
use std::rc::Rc;

pub async fn handle<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    caller: &Rc<Caller<D>>,
    request: &Request,
) -> Result<Answer, Refused> {
    let command = &request.command;
    let filter: Option<String> = command.optional("topicFilterType")?;
    let wanted = TopicConfig {
        name: command.required("topic")?,
        read_queues: command.required("readQueueNums")?,
        write_queues: command.required("writeQueueNums")?,
        perm: command.required("perm")?,
        topic_filter_type: match filter.as_deref() {
            Some("MULTI_TAG") => TopicFilterType::MultiTag,
            _ => TopicFilterType::SingleTag,
        },
        sys_flag: command.optional("topicSysFlag")?.unwrap_or_default(),
        order: command.optional("order")?.unwrap_or_default(),
        ..TopicConfig::default()
    };
    let changes: Option<String> = command.optional("attributes")?;
    put(shard, &wanted, &changes.unwrap_or_default())?;
    done(shard, [wanted.name.as_str()]).await?;
    tracing::info!(topic = wanted.name, client = %caller.peer(), "topic put by RocketMQ's tools");
    Ok(Answer::ok())
}

/// Appends what is to be changed. `changes` of attributes: `+name=value,-name`.
pub(super) fn put<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    wanted: &TopicConfig,
    changes: &str,
) -> Result<(), Refused> {
    let name = wanted.name.as_str();
    check_not_system(shard, name)?;
    let settings = TopicSettings {
        order: wanted.order,
        multi_tag: wanted.topic_filter_type == TopicFilterType::MultiTag,
        sys_flag: wanted.sys_flag,
        ..TopicSettings::default().with_perm(wanted.perm)
    };
    let queues = |count: i32| u32::try_from(count).unwrap_or(0);
    let (read, write) = (queues(wanted.read_queues), queues(wanted.write_queues));
    let spec = local_spec(shard, name, read.max(write), settings);
    let record = shard.with_state(|state| {
        let attributes = attributes::change(known_attributes(state, name), changes)?;
        topics::put_share(state, rules(shard), &spec, [read, write], attributes)
    })?;
    if let Some(record) = record {
        append(shard, &record)?;
    }
    Ok(())
}

fn known_attributes(state: &ShardState, name: &str) -> Attributes {
    state
        .topic(name)
        .map_or_else(Vec::new, |topic| topic.attributes.clone())
}

/// Waits until what was put is durable, and reachable name servers know it.
pub(super) async fn done<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    names: impl IntoIterator<Item = &str>,
) -> Result<(), Refused> {
    settled(shard).await?;
    for name in names {
        publish_share(shard, name);
    }
    // A name server that cannot be told now is told later.
    let _ = shard.node().registered(shard.settings().index).await;
    Ok(())
}

pub(super) fn check_not_system<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    name: &str,
) -> Result<(), Refused> {
    let cluster = &shard.node().identity().cluster;
    if system::is_system_topic(name, cluster, shard.name()) {
        return Err(Refused::new(
            response_code::INVALID_PARAMETER,
            format!("The topic[{name}] is conflict with system topic."),
        ));
    }
    Ok(())
}
