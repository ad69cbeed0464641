//! Settings of topics: requests 17, 18, 21, 351, and a broker's registration.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::scalar::{boolean, named, number, or_empty, text};

/// Bits of [`TopicConfig::perm`].
pub mod perm {
    /// A first message may make its topic after this one.
    pub const INHERIT: i32 = 1;
    pub const WRITE: i32 = 2;
    pub const READ: i32 = 4;
    pub const PRIORITY: i32 = 8;
}

/// Settings of a topic on one broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicConfig {
    #[serde(deserialize_with = "or_empty")]
    pub attributes: BTreeMap<String, String>,
    #[serde(deserialize_with = "boolean")]
    pub order: bool,
    /// See [`perm`].
    #[serde(deserialize_with = "number")]
    pub perm: i32,
    #[serde(rename = "readQueueNums", deserialize_with = "number")]
    pub read_queues: i32,
    pub topic_filter_type: TopicFilterType,
    #[serde(rename = "topicName", deserialize_with = "text")]
    pub name: String,
    #[serde(rename = "topicSysFlag", deserialize_with = "number")]
    pub sys_flag: i32,
    #[serde(rename = "writeQueueNums", deserialize_with = "number")]
    pub write_queues: i32,
}

impl Default for TopicConfig {
    fn default() -> Self {
        Self {
            attributes: BTreeMap::new(),
            order: false,
            perm: perm::READ | perm::WRITE,
            read_queues: 16,
            topic_filter_type: TopicFilterType::SingleTag,
            name: String::new(),
            sys_flag: 0,
            write_queues: 16,
        }
    }
}

named! {
    /// Whether a message has one tag or several.
    TopicFilterType {
        SingleTag = "SINGLE_TAG",
        MultiTag = "MULTI_TAG",
    }
}

/// The version of a table; compared for equality only.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DataVersion {
    #[serde(deserialize_with = "number")]
    pub counter: i64,
    #[serde(deserialize_with = "number")]
    pub state_version: i64,
    #[serde(deserialize_with = "number")]
    pub timestamp: i64,
}

/// All topics of a broker, for tools: request 21, and for name servers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicTable {
    pub data_version: DataVersion,
    pub mapping_data_version: DataVersion,
    #[serde(rename = "topicConfigTable", deserialize_with = "or_empty")]
    pub topics: BTreeMap<String, TopicConfig>,
    /// Of topics whose queues are mapped over brokers; we have none.
    #[serde(deserialize_with = "or_empty")]
    pub topic_queue_mapping_detail_map: BTreeMap<String, Value>,
    #[serde(deserialize_with = "or_empty")]
    pub topic_queue_mapping_info_map: BTreeMap<String, Value>,
}

/// Topics to be made: request 18.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TopicConfigList {
    #[serde(rename = "topicConfigList", deserialize_with = "or_empty")]
    pub topics: Vec<TopicConfig>,
}

/// Names of topics: requests 206, 224, 304, 305, 311 to 313, 343.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicList {
    pub broker_addr: Option<String>,
    #[serde(rename = "topicList", deserialize_with = "or_empty")]
    pub topics: Vec<String>,
}
