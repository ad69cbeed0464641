//! Who is connected: requests 203, 204 and 345, and answers of clients that the broker passes on.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::heartbeat::{ConsumeFrom, ConsumeType, MessageModel, Subscription};
use super::scalar::{number, or_empty, text};

/// One connection of a client.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Connection {
    /// `ip:port`.
    #[serde(deserialize_with = "text")]
    pub client_addr: String,
    #[serde(deserialize_with = "text")]
    pub client_id: String,
    /// A name of [`crate::remoting::Language`].
    #[serde(deserialize_with = "text")]
    pub language: String,
    #[serde(deserialize_with = "number")]
    pub version: i32,
}

/// The members of a group and what they read: request 203.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsumerConnections {
    #[serde(rename = "connectionSet")]
    pub connections: Vec<Connection>,
    pub consume_from_where: ConsumeFrom,
    pub consume_type: ConsumeType,
    pub message_model: MessageModel,
    /// By topic.
    #[serde(rename = "subscriptionTable")]
    pub subscriptions: BTreeMap<String, Subscription>,
}

/// The producers of a group: request 204.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProducerConnections {
    #[serde(rename = "connectionSet", deserialize_with = "or_empty")]
    pub connections: Vec<Connection>,
}

/// A group's subscription to a topic: request 345.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupSubscription {
    #[serde(deserialize_with = "text")]
    pub group: String,
    #[serde(rename = "subscriptionData")]
    pub subscription: Option<Subscription>,
    #[serde(deserialize_with = "text")]
    pub topic: String,
}
