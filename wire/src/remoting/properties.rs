//! Properties of a message in RocketMQ's own form: `name 0x01 value 0x02 name 0x01 value 0x02 ...`.
//!
//! Older producers leave the last separator out. A pair with an empty name or value counts as absent, the first 0x01
//! of a pair splits it, and of two pairs with one name the later counts. The order means nothing.

/// Between a name and its value.
pub const NAME_END: char = '\u{1}';
/// Behind a value.
pub const VALUE_END: char = '\u{2}';

/// Names that the protocol itself gives a meaning.
pub mod name {
    /// User's keys, separated by a space.
    pub const KEYS: &str = "KEYS";
    pub const TAGS: &str = "TAGS";
    /// `false`: the producer does not wait for the disk.
    pub const WAIT: &str = "WAIT";
    /// Delay level, a number from 1.
    pub const DELAY: &str = "DELAY";
    /// Topic of a message that lies in a retry or dead-letter topic.
    pub const RETRY_TOPIC: &str = "RETRY_TOPIC";
    /// Topic of a message that is parked in a system topic.
    pub const REAL_TOPIC: &str = "REAL_TOPIC";
    /// Queue of such a message.
    pub const REAL_QUEUE_ID: &str = "REAL_QID";
    /// `true`: a half message of a transaction.
    pub const TRANSACTION_PREPARED: &str = "TRAN_MSG";
    pub const PRODUCER_GROUP: &str = "PGROUP";
    /// Id of the first message of those that came back.
    pub const ORIGIN_MESSAGE_ID: &str = "ORIGIN_MESSAGE_ID";
    /// Counters in the form of properties, when a consumer resends to its retry topic.
    pub const RECONSUME_TIME: &str = "RECONSUME_TIME";
    pub const MAX_RECONSUME_TIMES: &str = "MAX_RECONSUME_TIMES";
    /// The id that the producing client gave.
    pub const UNIQUE_KEY: &str = "UNIQ_KEY";
    pub const MSG_REGION: &str = "MSG_REGION";
    /// `true`: the client may write trace messages.
    pub const TRACE_SWITCH: &str = "TRACE_ON";
    pub const CLUSTER: &str = "CLUSTER";
    /// Request and reply.
    pub const CORRELATION_ID: &str = "CORRELATION_ID";
    pub const REPLY_TO_CLIENT: &str = "REPLY_TO_CLIENT";
    pub const TTL: &str = "TTL";
    pub const MESSAGE_TYPE: &str = "MSG_TYPE";
    pub const PUSH_REPLY_TIME: &str = "PUSH_REPLY_TIME";
    /// Receipt of a popped message; brokers remove it from what producers send.
    pub const POP_RECEIPT: &str = "POP_CK";
    /// Messages of one value stay in order.
    pub const SHARDING_KEY: &str = "__SHARDINGKEY";
    /// When a message is to be delivered, in three forms.
    pub const TIMER_DELAY_SECONDS: &str = "TIMER_DELAY_SEC";
    pub const TIMER_DELAY_MILLIS: &str = "TIMER_DELAY_MS";
    pub const TIMER_DELIVER_MILLIS: &str = "TIMER_DELIVER_MS";
    /// Where a dead letter came from.
    pub const DLQ_ORIGIN_TOPIC: &str = "DLQ_ORIGIN_TOPIC";
    pub const DLQ_ORIGIN_MESSAGE_ID: &str = "DLQ_ORIGIN_MESSAGE_ID";
}

/// The pairs that count, in the order of the text.
pub fn pairs(text: &str) -> Pairs<'_> {
    Pairs { rest: Some(text) }
}

/// See [`pairs`]. Looks at bytes: both separators are ASCII, and most texts are short.
#[derive(Debug, Clone)]
pub struct Pairs<'a> {
    rest: Option<&'a str>,
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let rest = self.rest?;
            let end = rest
                .as_bytes()
                .iter()
                .position(|byte| *byte == VALUE_END as u8);
            self.rest = end.map(|end| &rest[end + 1..]);
            if let Some(pair) = counted(&rest[..end.unwrap_or(rest.len())]) {
                return Some(pair);
            }
        }
    }
}

impl DoubleEndedIterator for Pairs<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        loop {
            let rest = self.rest?;
            let end = rest
                .as_bytes()
                .iter()
                .rposition(|byte| *byte == VALUE_END as u8);
            self.rest = end.map(|end| &rest[..end]);
            if let Some(pair) = counted(&rest[end.map_or(0, |end| end + 1)..]) {
                return Some(pair);
            }
        }
    }
}

/// Name and value, if the pair counts.
fn counted(pair: &str) -> Option<(&str, &str)> {
    let at = pair
        .as_bytes()
        .iter()
        .position(|byte| *byte == NAME_END as u8)?;
    let (name, value) = (&pair[..at], &pair[at + 1..]);
    (!name.is_empty() && !value.is_empty()).then_some((name, value))
}

/// The value of a property.
pub fn get<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut last_first = pairs(text).rev();
    last_first.find_map(|(found, value)| (found == name).then_some(value))
}

/// Adds a property at the end, behind the separator that the text may lack.
pub fn append(text: &mut String, name: &str, value: &str) {
    if !text.is_empty() && !text.ends_with(VALUE_END) {
        text.push(VALUE_END);
    }
    text.push_str(name);
    text.push(NAME_END);
    text.push_str(value);
    text.push(VALUE_END);
}

/// The text of these properties.
pub fn encode<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        append(&mut text, name, value);
    }
    text
}

/// Removes every property for which `unwanted` holds. A text without such properties stays as it is, byte for byte.
pub fn remove(text: &mut String, unwanted: impl Fn(&str) -> bool) {
    if pairs(text).any(|(name, _)| unwanted(name)) {
        let kept = pairs(text).filter(|(name, _)| !unwanted(name));
        *text = encode(kept);
    }
}

/// Replaces a property, or adds it.
pub fn set(text: &mut String, name: &str, value: &str) {
    remove(text, |found| found == name);
    append(text, name, value);
}
