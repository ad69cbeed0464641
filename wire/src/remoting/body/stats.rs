//! Offsets and figures: requests 202, 208, 220 to 223, 303, 315 and 317.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::locks::MessageQueue;
use super::queue_map::QueueMap;
use super::scalar::number;

/// The bounds of a queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicOffset {
    /// When the last message was stored, in milliseconds; 0: never.
    #[serde(deserialize_with = "number")]
    pub last_update_timestamp: i64,
    #[serde(deserialize_with = "number")]
    pub max_offset: i64,
    #[serde(deserialize_with = "number")]
    pub min_offset: i64,
}

/// The queues of a topic: request 202.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicStats {
    #[serde(rename = "offsetTable")]
    pub offsets: QueueMap<TopicOffset>,
    /// Messages a second that come in.
    pub topic_put_tps: f64,
}

impl TopicStats {
    pub fn encode(&self) -> Vec<u8> {
        let members: [(&str, &dyn super::queue_map::Member); 1] =
            [("topicPutTps", &self.topic_put_tps)];
        self.offsets.body("offsetTable", &members)
    }
}

/// How far a group is in a queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumeOffset {
    /// Behind the last message.
    #[serde(deserialize_with = "number")]
    pub broker_offset: i64,
    #[serde(deserialize_with = "number")]
    pub consumer_offset: i64,
    /// When the last consumed message was stored, in milliseconds; 0: unknown.
    #[serde(deserialize_with = "number")]
    pub last_timestamp: i64,
    #[serde(deserialize_with = "number")]
    pub pull_offset: i64,
}

/// How far a group is: request 208.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumeStats {
    /// Messages a second that go out.
    pub consume_tps: f64,
    #[serde(rename = "offsetTable")]
    pub offsets: QueueMap<ConsumeOffset>,
}

impl ConsumeStats {
    pub fn encode(&self) -> Vec<u8> {
        let members: [(&str, &dyn super::queue_map::Member); 1] =
            [("consumeTps", &self.consume_tps)];
        self.offsets.body("offsetTable", &members)
    }
}

/// Where to go on: the answer to 222, and request 220 to clients of all languages but C++.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ResetOffsets {
    #[serde(rename = "offsetTable")]
    pub offsets: QueueMap<i64>,
}

impl ResetOffsets {
    pub fn encode(&self) -> Vec<u8> {
        self.offsets.body("offsetTable", &[])
    }

    /// The form for C++ clients: a list, which is JSON.
    pub fn encode_for_cpp(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Entry<'a> {
            #[serde(flatten)]
            queue: &'a MessageQueue,
            offset: i64,
        }
        let entries = self.offsets.0.iter();
        let list: Vec<Entry<'_>> = entries
            .map(|(queue, offset)| Entry {
                queue,
                offset: *offset,
            })
            .collect();
        super::encode(&BTreeMap::from([("offsetTable", list)]))
    }
}

/// Where a client says that it is: its answer to 221.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClientStatus {
    #[serde(rename = "messageQueueTable")]
    pub queues: QueueMap<i64>,
}

/// Where the members of a group are, by client id: the answer to 223.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupStatus {
    pub consumers: BTreeMap<String, QueueMap<i64>>,
}

impl GroupStatus {
    pub fn encode(&self) -> Vec<u8> {
        let mut body = b"{\"consumerTable\":{".to_vec();
        for (index, (client, queues)) in self.consumers.iter().enumerate() {
            if index > 0 {
                body.push(b',');
            }
            body.extend(super::encode(client));
            body.push(b':');
            queues.append_to(&mut body);
        }
        body.extend_from_slice(b"},\"messageQueueTable\":{}}");
        body
    }
}

/// Times of a group's progress in a queue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QueueTimeSpan {
    #[serde(rename = "consumeTimeStamp", deserialize_with = "number")]
    pub consumed: i64,
    /// How long the next message has waited, in milliseconds.
    #[serde(deserialize_with = "number")]
    pub delay_time: i64,
    #[serde(rename = "maxTimeStamp", deserialize_with = "number")]
    pub last: i64,
    pub message_queue: MessageQueue,
    #[serde(rename = "minTimeStamp", deserialize_with = "number")]
    pub first: i64,
}

/// The answer to 303.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TimeSpans {
    #[serde(rename = "consumeTimeSpanSet")]
    pub spans: Vec<QueueTimeSpan>,
}

/// One statistic over one period.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Figures {
    /// Average of a value a call.
    #[serde(rename = "avgpt")]
    pub average: f64,
    #[serde(deserialize_with = "number")]
    pub sum: i64,
    /// Calls a second.
    pub tps: f64,
}

/// The answer to 315.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BrokerStats {
    pub stats_day: Figures,
    pub stats_hour: Figures,
    pub stats_minute: Figures,
}

/// How far all groups are behind: the answer to 317.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BrokerConsumeStats {
    /// `ip:port`.
    pub broker_addr: String,
    /// By group, one entry for each of its topics.
    pub groups: Vec<(String, Vec<ConsumeStats>)>,
    pub total_diff: i64,
    pub total_inflight_diff: i64,
}

impl BrokerConsumeStats {
    pub fn encode(&self) -> Vec<u8> {
        let mut body = b"{\"brokerAddr\":".to_vec();
        body.extend(super::encode(&self.broker_addr));
        body.extend_from_slice(b",\"consumeStatsList\":[");
        for (index, (group, stats)) in self.groups.iter().enumerate() {
            body.extend_from_slice(if index > 0 { b",{" } else { b"{" });
            body.extend(super::encode(group));
            body.extend_from_slice(b":[");
            let stats: Vec<Vec<u8>> = stats.iter().map(ConsumeStats::encode).collect();
            body.extend(stats.join(&b","[..]));
            body.extend_from_slice(b"]}");
        }
        let totals = format!(
            "],\"totalDiff\":{},\"totalInflightDiff\":{}}}",
            self.total_diff, self.total_inflight_diff
        );
        body.extend_from_slice(totals.as_bytes());
        body
    }
}
