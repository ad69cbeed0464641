//! Queues by name, and the locks on them: requests 41 and 42.

use serde::{Deserialize, Serialize};

use super::scalar::{boolean, number, or_empty, text};

/// A queue. Members are written in the order that clients compare as text.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct MessageQueue {
    #[serde(deserialize_with = "text")]
    pub broker_name: String,
    #[serde(deserialize_with = "number")]
    pub queue_id: i32,
    #[serde(deserialize_with = "text")]
    pub topic: String,
}

/// Which queues a member wants to lock, or has done with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LockRequest {
    #[serde(deserialize_with = "text")]
    pub client_id: String,
    #[serde(rename = "consumerGroup", deserialize_with = "text")]
    pub group: String,
    #[serde(rename = "mqSet", deserialize_with = "or_empty")]
    pub queues: Vec<MessageQueue>,
    #[serde(deserialize_with = "boolean")]
    pub only_this_broker: bool,
}

/// The queues that the member has locked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LockAnswer {
    #[serde(rename = "lockOKMQSet", deserialize_with = "or_empty")]
    pub queues: Vec<MessageQueue>,
}
