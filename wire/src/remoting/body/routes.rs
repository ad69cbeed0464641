//! What a name server answers: routes (105), clusters (106), brokers of a name (901), pairs (219).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::scalar::{boolean, number, or_empty, text};

/// Brokers and queues of a topic.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicRoute {
    #[serde(rename = "brokerDatas", deserialize_with = "or_empty")]
    pub brokers: Vec<BrokerData>,
    /// Always there, and empty: the Rust client fails without it.
    #[serde(deserialize_with = "or_empty")]
    pub filter_server_table: BTreeMap<String, Vec<String>>,
    /// Queues of an ordered topic, such as `broker-a:4;broker-b:4`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_topic_conf: Option<String>,
    #[serde(rename = "queueDatas", deserialize_with = "or_empty")]
    pub queues: Vec<QueueData>,
    /// Of topics whose queues are mapped over brokers; we have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic_queue_mapping_by_broker: Option<Value>,
}

/// The brokers of one name: number 0 takes messages, others have copies.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BrokerData {
    #[serde(rename = "brokerAddrs", deserialize_with = "or_empty")]
    pub addresses: BTreeMap<i64, String>,
    #[serde(rename = "brokerName", deserialize_with = "text")]
    pub name: String,
    #[serde(deserialize_with = "text")]
    pub cluster: String,
    #[serde(deserialize_with = "boolean")]
    pub enable_acting_master: bool,
}

/// Queues of a topic on one broker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QueueData {
    #[serde(deserialize_with = "text")]
    pub broker_name: String,
    /// See [`super::topics::perm`].
    #[serde(deserialize_with = "number")]
    pub perm: i32,
    #[serde(rename = "readQueueNums", deserialize_with = "number")]
    pub read_queues: i32,
    #[serde(rename = "topicSysFlag", deserialize_with = "number")]
    pub sys_flag: i32,
    #[serde(rename = "writeQueueNums", deserialize_with = "number")]
    pub write_queues: i32,
}

/// All brokers, by name and by cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClusterInfo {
    #[serde(rename = "brokerAddrTable", deserialize_with = "or_empty")]
    pub brokers: BTreeMap<String, BrokerData>,
    #[serde(rename = "clusterAddrTable", deserialize_with = "or_empty")]
    pub clusters: BTreeMap<String, BTreeSet<String>>,
}

/// The brokers of one name, for the brokers themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct MemberGroup {
    pub broker_member_group: Members,
}

/// See [`MemberGroup`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Members {
    #[serde(rename = "brokerAddrs", deserialize_with = "or_empty")]
    pub addresses: BTreeMap<i64, String>,
    #[serde(rename = "brokerName", deserialize_with = "text")]
    pub name: String,
    #[serde(deserialize_with = "text")]
    pub cluster: String,
}

/// Pairs: request 219, the answer to a registration, and a broker's figures (28).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pairs {
    #[serde(deserialize_with = "or_empty")]
    pub table: BTreeMap<String, String>,
}
