//! Topics and groups that RocketMQ's clients and tools expect on every broker, by name. Each shard has its own.

use super::entries::TopicSettings;
use super::limits::RECORD_ENTRIES_MAX;

/// The template of topics that a first message makes.
pub const TEMPLATE_TOPIC: &str = "TBW102";
/// Where messages wait that are to be delivered later: one queue a delay level.
pub const SCHEDULE_TOPIC: &str = "SCHEDULE_TOPIC_XXXX";
/// Who reads [`SCHEDULE_TOPIC`]: the broker.
pub const SCHEDULE_GROUP: &str = "CID_RMQ_SYS_SCHEDULE";
/// Trace records of clients.
pub const TRACE_TOPIC: &str = "RMQ_SYS_TRACE_TOPIC";
/// In front of a group's name: its messages to be tried again.
pub const RETRY_PREFIX: &str = "%RETRY%";
/// In front of a group's name: its messages that were tried in vain.
pub const DEAD_PREFIX: &str = "%DLQ%";

/// Queues of the template over all shards of a node, as RocketMQ has on a broker.
const TEMPLATE_QUEUES: usize = 8;
/// RocketMQ's number of delay levels; with more of them there are more queues.
const SCHEDULE_QUEUES_MIN: usize = 18;

const FIXED: [&str; 10] = [
    "SELF_TEST_TOPIC",
    TEMPLATE_TOPIC,
    "BenchmarkTest",
    "OFFSET_MOVED_EVENT",
    SCHEDULE_TOPIC,
    TRACE_TOPIC,
    "RMQ_SYS_TRANS_HALF_TOPIC",
    "RMQ_SYS_TRANS_OP_HALF_TOPIC",
    "TRANS_CHECK_MAX_TIME_TOPIC",
    "CHECKPOINT_TOPIC",
];
/// Topics that RocketMQ refuses messages to.
const CLOSED: [&str; 6] = [
    SCHEDULE_TOPIC,
    "RMQ_SYS_TRANS_HALF_TOPIC",
    "RMQ_SYS_TRANS_OP_HALF_TOPIC",
    "TRANS_CHECK_MAX_TIME_TOPIC",
    "SELF_TEST_TOPIC",
    "OFFSET_MOVED_EVENT",
];
const GROUPS: [&str; 6] = [
    "DEFAULT_CONSUMER",
    "DEFAULT_PRODUCER",
    "TOOLS_CONSUMER",
    "FILTERSRV_CONSUMER",
    "SELF_TEST_C_GROUP",
    "__MONITOR_CONSUMER",
];

/// A topic that a shard makes when it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemTopic {
    pub name: String,
    pub queues: u32,
    pub settings: TopicSettings,
}

/// Who asks for its system topics.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    pub cluster: &'a str,
    /// The shard's name.
    pub shard: &'a str,
    /// Shards of the node.
    pub shards: usize,
    pub delay_levels: usize,
    /// Whether first messages make topics: without it there is no template.
    pub auto_create: bool,
}

/// Queues that a topic made by a first message has on each of `shards` shards at most.
pub fn template_queues(shards: usize) -> u32 {
    (TEMPLATE_QUEUES / shards.max(1)).max(1) as u32
}

/// The system topics of one shard. A cluster whose name cannot name a topic goes without those that carry it.
pub fn topics(place: Place<'_>) -> Vec<SystemTopic> {
    let schedule_queues = place.delay_levels.max(SCHEDULE_QUEUES_MIN);
    let template_queues = template_queues(place.shards);
    let mut topics = vec![
        topic("SELF_TEST_TOPIC", 1, 6),
        topic("OFFSET_MOVED_EVENT", 1, 6),
        // Closed for clients; the broker itself does not ask.
        topic(SCHEDULE_TOPIC, schedule_queues as u32, 4),
        topic(TRACE_TOPIC, 1, 6),
        topic(place.cluster, 16.min(2 * template_queues), 7),
        topic(place.shard, 1, 7),
        topic(&reply_topic(place.cluster), 1, 6),
    ];
    if place.auto_create {
        topics.push(topic(TEMPLATE_TOPIC, template_queues, 7));
    }
    topics.retain(|topic| ringmq_wire::limits::is_valid_name(&topic.name));
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    topics.dedup_by(|a, b| a.name == b.name);
    topics
}

fn topic(name: &str, queues: u32, perm: i32) -> SystemTopic {
    SystemTopic {
        name: name.to_owned(),
        queues,
        settings: TopicSettings {
            system: true,
            ..TopicSettings::default().with_perm(perm)
        },
    }
}

/// Where replies to requests of a cluster's clients go.
pub fn reply_topic(cluster: &str) -> String {
    format!("{cluster}_REPLY_TOPIC")
}

/// The topic of a group's messages to be tried again.
pub fn retry_topic(group: &str) -> String {
    format!("{RETRY_PREFIX}{group}")
}

/// The topic of a group's messages that were tried in vain.
pub fn dead_topic(group: &str) -> String {
    format!("{DEAD_PREFIX}{group}")
}

/// Whether operators leave this topic alone. `cluster` and `shard` name topics, too.
pub fn is_system_topic(name: &str, cluster: &str, shard: &str) -> bool {
    FIXED.contains(&name)
        || name.starts_with("rmq_sys_")
        || name == cluster
        || name == shard
        || name.strip_suffix("_REPLY_TOPIC") == Some(cluster)
}

/// Whether clients may not send to this topic.
pub fn is_closed(name: &str) -> bool {
    CLOSED.contains(&name)
}

/// Whether operators leave this group alone.
pub fn is_system_group(name: &str) -> bool {
    GROUPS.contains(&name) || name.starts_with("CID_RMQ_SYS_")
}

const _: () = assert!(SCHEDULE_QUEUES_MIN <= RECORD_ENTRIES_MAX);
