//! Making, changing and deleting the share of a topic on this shard.
//!
//! Queue 0's home shard is asked first and is the lock: another incarnation there means that the topic exists. A
//! repeated create of the same incarnation is answered with what is there, so a half-made topic can be completed.

use super::entries::{Attributes, Topic, TopicSettings};
use super::limits::{PLACEMENT_MAX, RETENTION_MS_MIN, SHARD_NAME_BYTES_MAX};
use super::record::ControlRecord;
use super::{Refuse, ShardState};
use ringmq_storage_engine::position::QueueHandle;
use ringmq_wire::codes::ErrorCode;
use ringmq_wire::limits::{BATCH_BYTES_MAX, TOPIC_QUEUES_MAX, is_valid_name, is_valid_node_name};
use ringmq_wire::native::schema;

/// What the broker allows a topic to ask for.
#[derive(Debug, Clone, Copy)]
pub struct TopicRules<'a> {
    /// This shard's name.
    pub shard: &'a str,
    /// The broker's own retention; `None`: by space alone.
    pub retention_ms: Option<i64>,
}

/// A topic to be made; comes from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    pub name: String,
    pub incarnation: u128,
    pub queues: u32,
    pub placement: Vec<String>,
    pub settings: TopicSettings,
}

impl TopicSpec {
    pub fn from_wire(wire: schema::TopicRecordT) -> Self {
        let settings = wire.settings.as_deref();
        Self {
            name: wire.name,
            incarnation: incarnation(wire.incarnation_high, wire.incarnation_low),
            queues: wire.queues,
            placement: wire.placement.unwrap_or_default(),
            settings: settings.map(TopicSettings::from_wire).unwrap_or_default(),
        }
    }
}

/// The two halves on the wire as one number.
pub fn incarnation(high: u64, low: u64) -> u128 {
    u128::from(high) << 64 | u128::from(low)
}

/// Makes this shard's share. `None`: the same incarnation is here already.
pub fn create(
    state: &ShardState,
    rules: TopicRules<'_>,
    spec: &TopicSpec,
) -> Result<Option<ControlRecord>, Refuse> {
    check_name(&spec.name)?;
    let placement_index = check_placement(rules.shard, spec)?;
    check_settings(rules, &spec.settings)?;
    if let Some(topic) = state.topic(&spec.name) {
        if topic.incarnation == spec.incarnation {
            return Ok(None);
        }
        return Err(Refuse::new(
            ErrorCode::TopicExists,
            format!("topic {} exists", spec.name),
        ));
    }
    if state.topics.len() >= state.limits().topics_max {
        return Err(full("topics", state.limits().topics_max));
    }
    let mut topic = Topic {
        incarnation: spec.incarnation,
        queues: 0,
        placement: spec.placement.iter().map(|s| s.as_str().into()).collect(),
        placement_index,
        settings: spec.settings,
        attributes: Vec::new(),
        version: 1,
        handles: Vec::new(),
    };
    grow(state, &mut topic, spec.queues)?;
    Ok(Some(ControlRecord::TopicPut {
        name: spec.name.as_str().into(),
        topic,
    }))
}

/// Changes queues (0: as they are) and settings (`None`: as they are). `None`: nothing changes.
pub fn update(
    state: &ShardState,
    rules: TopicRules<'_>,
    name: &str,
    queues: u32,
    settings: Option<TopicSettings>,
) -> Result<Option<ControlRecord>, Refuse> {
    let Some(old) = state.topic(name) else {
        return Err(not_found(name));
    };
    let mut topic = old.clone();
    if queues != 0 {
        if queues < old.queues {
            return Err(Refuse::new(
                ErrorCode::InvalidRequest,
                format!(
                    "topic {name} has {} queues; their number can only grow, not become {queues}",
                    old.queues
                ),
            ));
        }
        check_queues(queues)?;
        grow(state, &mut topic, queues)?;
    }
    if let Some(settings) = settings {
        check_settings(rules, &settings)?;
        topic.settings = settings;
    }
    if topic == *old {
        return Ok(None);
    }
    topic.version += 1;
    Ok(Some(ControlRecord::TopicPut {
        name: name.into(),
        topic,
    }))
}

/// Makes this shard's share, or changes it, as RocketMQ's tools do: `queues` are those of this shard that are read and
/// written. Queues are never taken away, only hidden. A topic over several shards grows by the same number for each;
/// each shard is told on its own. `None`: nothing changes.
pub fn put_share(
    state: &ShardState,
    rules: TopicRules<'_>,
    spec: &TopicSpec,
    queues: [u32; 2],
    attributes: Attributes,
) -> Result<Option<ControlRecord>, Refuse> {
    let Some(old) = state.topic(&spec.name) else {
        let made = create(state, rules, spec)?;
        let Some(ControlRecord::TopicPut { name, mut topic }) = made else {
            return Ok(made);
        };
        topic.attributes = attributes;
        hide_queues(&mut topic, queues);
        return Ok(Some(ControlRecord::TopicPut { name, topic }));
    };
    let mut topic = old.clone();
    let most = queues[0].max(queues[1]);
    if most as usize > topic.handles.len() {
        let all = most.saturating_mul(topic.placement.len() as u32);
        check_queues(all)?;
        grow(state, &mut topic, all)?;
    }
    topic.settings = TopicSettings {
        retention_ms: old.settings.retention_ms,
        message_bytes_max: old.settings.message_bytes_max,
        ..spec.settings
    };
    topic.attributes = attributes;
    hide_queues(&mut topic, queues);
    if topic == *old {
        return Ok(None);
    }
    topic.version += 1;
    Ok(Some(ControlRecord::TopicPut {
        name: spec.name.as_str().into(),
        topic,
    }))
}

fn hide_queues(topic: &mut Topic, [read, write]: [u32; 2]) {
    let all = topic.handles.len() as u32;
    topic.settings.read_queues = (read < all).then_some(read);
    topic.settings.write_queues = (write < all).then_some(write);
}

/// Refuses to touch a topic that is the broker's own.
pub fn check_not_system(state: &ShardState, name: &str) -> Result<(), Refuse> {
    match state.topic(name) {
        Some(topic) if topic.settings.system => {
            Err(invalid(format!("topic {name} is the broker's own")))
        }
        _ => Ok(()),
    }
}

/// Deletes the share. `None`: there is none.
pub fn delete(
    state: &ShardState,
    name: &str,
    incarnation: u128,
) -> Result<Option<ControlRecord>, Refuse> {
    let Some(topic) = state.topic(name) else {
        return Ok(None);
    };
    if topic.incarnation != incarnation {
        return Err(Refuse::new(
            ErrorCode::StaleIncarnation,
            format!("topic {name} was deleted and made again; describe it and say which to delete"),
        ));
    }
    Ok(Some(ControlRecord::TopicRemove {
        name: name.into(),
        handles: topic.handles.clone(),
    }))
}

/// The topic is not on this shard.
pub fn not_found(name: &str) -> Refuse {
    Refuse::new(
        ErrorCode::TopicNotFound,
        format!("topic {name} is not on this shard"),
    )
}

/// Gives handles to the queues that `queues` adds here.
fn grow(state: &ShardState, topic: &mut Topic, queues: u32) -> Result<(), Refuse> {
    let wanted = Topic::local_queues(queues, topic.placement.len(), topic.placement_index);
    let added = wanted.saturating_sub(topic.handles.len());
    let limit = state.limits().queues_max;
    if state.queue_count() + added > limit {
        return Err(full("queues", limit));
    }
    let handles_left = (u32::MAX - state.meta.next_handle) as usize;
    if added > handles_left {
        return Err(full("queue handles", u32::MAX as usize));
    }
    let first = state.meta.next_handle;
    topic.handles.extend((first..).take(added).map(QueueHandle));
    topic.queues = queues;
    Ok(())
}

fn full(what: &str, limit: usize) -> Refuse {
    Refuse::new(
        ErrorCode::Busy,
        format!("the shard has its {limit} {what}; delete topics or use other shards"),
    )
}

fn check_name(name: &str) -> Result<(), Refuse> {
    if is_valid_name(name) {
        return Ok(());
    }
    Err(Refuse::new(
        ErrorCode::InvalidName,
        "a topic name has 1 to 127 of the characters A-Z a-z 0-9 % | _ -",
    ))
}

fn check_queues(queues: u32) -> Result<(), Refuse> {
    if (1..=TOPIC_QUEUES_MAX).contains(&queues) {
        return Ok(());
    }
    Err(invalid(format!(
        "a topic has 1 to {TOPIC_QUEUES_MAX} queues, not {queues}"
    )))
}

fn check_placement(shard: &str, spec: &TopicSpec) -> Result<u32, Refuse> {
    check_queues(spec.queues)?;
    if spec.incarnation == 0 {
        return Err(invalid("the incarnation must not be 0".to_owned()));
    }
    let shards = &spec.placement;
    if shards.is_empty() || shards.len() > PLACEMENT_MAX {
        return Err(invalid(format!(
            "a topic is placed on 1 to {PLACEMENT_MAX} shards, not {}",
            shards.len()
        )));
    }
    let is_shard_name = |name: &String| {
        name.len() <= SHARD_NAME_BYTES_MAX
            && name.split_once('-').is_some_and(|(number, node)| {
                number.starts_with('s') && is_valid_node_name(number) && is_valid_node_name(node)
            })
    };
    if let Some(bad) = shards.iter().find(|name| !is_shard_name(name)) {
        return Err(invalid(format!("{bad:?} is not a shard's name")));
    }
    let mut sorted: Vec<&String> = shards.iter().collect();
    sorted.sort_unstable();
    if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(invalid(format!("shard {} is named twice", pair[0])));
    }
    match shards.iter().position(|name| name == shard) {
        Some(index) => Ok(index as u32),
        None => Err(Refuse::new(
            ErrorCode::WrongShard,
            format!("this is shard {shard}, which is not in the placement"),
        )),
    }
}

fn check_settings(rules: TopicRules<'_>, settings: &TopicSettings) -> Result<(), Refuse> {
    let retention_ms = settings.retention_ms;
    if retention_ms != -1 {
        if retention_ms < RETENTION_MS_MIN {
            return Err(invalid(format!(
                "retention_ms is {retention_ms}; at least {RETENTION_MS_MIN}, or -1 for the broker's"
            )));
        }
        if let Some(limit) = rules.retention_ms.filter(|&limit| retention_ms > limit) {
            return Err(invalid(format!(
                "retention_ms is {retention_ms}; a topic may keep messages shorter than the broker ({limit}), not longer"
            )));
        }
    }
    if settings.message_bytes_max as usize > BATCH_BYTES_MAX {
        return Err(invalid(format!(
            "message_bytes_max is {}; at most {BATCH_BYTES_MAX}",
            settings.message_bytes_max
        )));
    }
    Ok(())
}

fn invalid(message: String) -> Refuse {
    Refuse::new(ErrorCode::InvalidRequest, message)
}
