//! What a client says of itself: request 34, and one subscription alone in request 46.

use serde::{Deserialize, Serialize};

use super::scalar::{boolean, named, number, or_empty, text};

/// Everything that a client process produces and consumes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Heartbeat {
    #[serde(rename = "clientID", deserialize_with = "text")]
    pub client_id: String,
    #[serde(rename = "consumerDataSet", deserialize_with = "or_empty")]
    pub consumers: Vec<ConsumerData>,
    /// Hash of what the client believes to be known here; 0 from all but a few.
    #[serde(rename = "heartbeatFingerprint", deserialize_with = "number")]
    pub fingerprint: i32,
    #[serde(rename = "producerDataSet", deserialize_with = "or_empty")]
    pub producers: Vec<ProducerData>,
    /// Whether subscriptions are left out, because the fingerprint stands for them.
    #[serde(deserialize_with = "boolean")]
    pub without_sub: bool,
}

/// Membership in a group of producers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProducerData {
    #[serde(rename = "groupName", deserialize_with = "text")]
    pub group: String,
}

/// Membership in a group of consumers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConsumerData {
    pub consume_from_where: ConsumeFrom,
    pub consume_type: ConsumeType,
    #[serde(rename = "groupName", deserialize_with = "text")]
    pub group: String,
    pub message_model: MessageModel,
    #[serde(rename = "subscriptionDataSet", deserialize_with = "or_empty")]
    pub subscriptions: Vec<Subscription>,
    #[serde(deserialize_with = "boolean")]
    pub unit_mode: bool,
}

impl Default for ConsumerData {
    fn default() -> Self {
        Self {
            consume_from_where: ConsumeFrom::LastOffset,
            consume_type: ConsumeType::Passively,
            group: String::new(),
            message_model: MessageModel::Clustering,
            subscriptions: Vec::new(),
            unit_mode: false,
        }
    }
}

named! {
    /// Where a group begins that has no offset yet.
    ConsumeFrom {
        LastOffset = "CONSUME_FROM_LAST_OFFSET",
        /// Out of use, as are the next two.
        LastOffsetAndFromMin = "CONSUME_FROM_LAST_OFFSET_AND_FROM_MIN_WHEN_BOOT_FIRST",
        MinOffset = "CONSUME_FROM_MIN_OFFSET",
        MaxOffset = "CONSUME_FROM_MAX_OFFSET",
        FirstOffset = "CONSUME_FROM_FIRST_OFFSET",
        Timestamp = "CONSUME_FROM_TIMESTAMP",
    }
}

named! {
    /// Who decides when messages are read.
    ConsumeType {
        /// The application pulls.
        Actively = "CONSUME_ACTIVELY",
        /// The client library pulls and calls the application.
        Passively = "CONSUME_PASSIVELY",
        /// The same, by pop.
        Pop = "CONSUME_POP",
    }
}

named! {
    /// Whether members share the messages or get all of them each.
    MessageModel {
        Broadcasting = "BROADCASTING",
        Clustering = "CLUSTERING",
    }
}

/// The kind of a filter that selects by tags.
pub const EXPRESSION_TAG: &str = "TAG";
/// The kind of a filter over properties.
pub const EXPRESSION_SQL: &str = "SQL92";

/// A topic and what is wanted of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Subscription {
    #[serde(deserialize_with = "boolean")]
    pub class_filter_mode: bool,
    /// Hashes of the tags as the client computed them. Clients of some languages compute others than Java: see
    /// [`Subscription::tags`].
    #[serde(deserialize_with = "or_empty")]
    pub code_set: Vec<TagCode>,
    /// [`EXPRESSION_TAG`] or [`EXPRESSION_SQL`].
    #[serde(deserialize_with = "text")]
    pub expression_type: String,
    #[serde(rename = "subString", deserialize_with = "text")]
    pub expression: String,
    /// When the client changed the subscription last, in milliseconds of its clock.
    #[serde(rename = "subVersion", deserialize_with = "number")]
    pub version: i64,
    #[serde(deserialize_with = "or_empty")]
    pub tags_set: Vec<String>,
    #[serde(deserialize_with = "text")]
    pub topic: String,
}

impl Default for Subscription {
    fn default() -> Self {
        Self {
            class_filter_mode: false,
            code_set: Vec::new(),
            expression_type: EXPRESSION_TAG.to_owned(),
            expression: "*".to_owned(),
            version: 0,
            tags_set: Vec::new(),
            topic: String::new(),
        }
    }
}

/// The hash of a tag, also as a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TagCode(#[serde(deserialize_with = "number")] pub i32);

impl Subscription {
    /// Whether tags decide, and not an expression over properties.
    pub fn is_by_tag(&self) -> bool {
        self.expression_type.is_empty() || self.expression_type == EXPRESSION_TAG
    }

    /// The tags that are wanted; none: every message.
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        tags(&self.expression)
    }
}

/// The tags of an expression such as `A || B`; none, if it is empty or `*`: every message.
pub fn tags(expression: &str) -> impl Iterator<Item = &str> {
    let expression = if expression.trim() == "*" {
        ""
    } else {
        expression
    };
    let tags = expression.split("||").map(str::trim);
    tags.filter(|tag| !tag.is_empty())
}

/// Request 46: would this subscription do?
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CheckClient {
    #[serde(deserialize_with = "text")]
    pub client_id: String,
    #[serde(deserialize_with = "text")]
    pub group: String,
    #[serde(deserialize_with = "text")]
    pub namespace: String,
    #[serde(rename = "subscriptionData")]
    pub subscription: Subscription,
}
