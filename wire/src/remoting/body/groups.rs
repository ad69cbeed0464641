//! Settings of groups: requests 200, 201, 225 and 352.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::scalar::{boolean, number, or_empty, text};
use super::topics::DataVersion;

/// Settings of a group. What a client leaves out has the value of [`GroupConfig::default`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GroupConfig {
    #[serde(deserialize_with = "or_empty")]
    pub attributes: BTreeMap<String, String>,
    #[serde(deserialize_with = "number")]
    pub broker_id: i64,
    /// Whether members may consume in broadcast mode.
    #[serde(deserialize_with = "boolean")]
    pub consume_broadcast_enable: bool,
    /// Whether the group may read at all.
    #[serde(deserialize_with = "boolean")]
    pub consume_enable: bool,
    #[serde(deserialize_with = "boolean")]
    pub consume_from_min_enable: bool,
    #[serde(deserialize_with = "boolean")]
    pub consume_message_orderly: bool,
    #[serde(deserialize_with = "number")]
    pub consume_timeout_minute: i32,
    #[serde(rename = "groupName", deserialize_with = "text")]
    pub name: String,
    /// An object with delays; absent: those of the broker.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub group_retry_policy: Value,
    /// What the group may subscribe to, as tools of 5.x keep it; absent: nothing is said.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub subscription_data_set: Value,
    #[serde(rename = "groupSysFlag", deserialize_with = "number")]
    pub sys_flag: i32,
    /// Whether members are told when others come and go.
    #[serde(deserialize_with = "boolean")]
    pub notify_consumer_ids_changed_enable: bool,
    /// How often a message comes back before it is a dead letter.
    #[serde(deserialize_with = "number")]
    pub retry_max_times: i32,
    /// Queues of the retry topic.
    #[serde(deserialize_with = "number")]
    pub retry_queue_nums: i32,
    #[serde(deserialize_with = "number")]
    pub which_broker_when_consume_slowly: i64,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self {
            attributes: BTreeMap::new(),
            broker_id: 0,
            consume_broadcast_enable: true,
            consume_enable: true,
            consume_from_min_enable: true,
            consume_message_orderly: false,
            consume_timeout_minute: 15,
            name: String::new(),
            group_retry_policy: Value::Null,
            subscription_data_set: Value::Null,
            sys_flag: 0,
            notify_consumer_ids_changed_enable: true,
            retry_max_times: 16,
            retry_queue_nums: 1,
            which_broker_when_consume_slowly: 1,
        }
    }
}

/// All groups of a broker: request 201.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GroupTable {
    pub data_version: DataVersion,
    /// By group, topics that it may not read.
    #[serde(deserialize_with = "or_empty")]
    pub forbidden_table: BTreeMap<String, BTreeMap<String, i32>>,
    #[serde(rename = "subscriptionGroupTable", deserialize_with = "or_empty")]
    pub groups: BTreeMap<String, GroupConfig>,
}

/// Groups to be made: request 225.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupConfigList {
    #[serde(rename = "groupConfigList", deserialize_with = "or_empty")]
    pub groups: Vec<GroupConfig>,
}

/// Client ids of a group: request 38.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConsumerIds {
    #[serde(rename = "consumerIdList", deserialize_with = "or_empty")]
    pub ids: Vec<String>,
}

/// Names of groups: request 300.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupList {
    #[serde(rename = "groupList", deserialize_with = "or_empty")]
    pub groups: Vec<String>,
}
