//! What a producer says beside the body: requests 10, 310, 320, 324 and 325.

use std::borrow::Cow;

use super::Picked;
use crate::remoting::header::{FieldError, Header};
use crate::remoting::text::Text;

/// The fields of a message or of a batch of messages.
#[derive(Debug, Clone)]
pub struct SendFields<'a> {
    pub producer_group: Cow<'a, str>,
    pub topic: Cow<'a, str>,
    /// The topic whose settings a topic gets that does not exist yet; normally `TBW102`.
    pub default_topic: Cow<'a, str>,
    /// Queues of such a topic.
    pub default_topic_queues: i32,
    /// Negative: any queue.
    pub queue_id: i32,
    /// Compression, transaction state, forms of addresses; see [`crate::remoting::message::sys_flag`].
    pub sys_flag: i32,
    /// The producer's clock, in milliseconds.
    pub born_timestamp: i64,
    /// The user's flag.
    pub flag: i32,
    /// See [`crate::remoting::properties`]. In JSON its separators are escapes: append it to a buffer that is kept.
    pub properties: Text<'a>,
    pub reconsume_times: i32,
    pub unit_mode: bool,
    /// How often a message may come back, on sends to a retry topic.
    pub max_reconsume_times: Option<i32>,
    /// Whether the body holds several messages; see [`crate::remoting::batch`]. This counts, not the request code.
    pub batch: bool,
    /// The broker that the producer means.
    pub broker_name: Option<Cow<'a, str>>,
}

const LONG: [&str; 14] = [
    "producerGroup",
    "topic",
    "defaultTopic",
    "defaultTopicQueueNums",
    "queueId",
    "sysFlag",
    "bornTimestamp",
    "flag",
    "properties",
    "reconsumeTimes",
    "unitMode",
    "maxReconsumeTimes",
    "batch",
    "bname",
];
/// In the same order.
const SHORT: [&str; 14] = [
    "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n",
];

impl<'a> SendFields<'a> {
    /// Reads the long names of requests 10 and 324.
    pub fn parse_v1(header: &Header<'a>) -> Result<Self, FieldError> {
        let mut picked = Picked::new(&LONG);
        for (name, value) in header.texts() {
            if let Some(index) = LONG.iter().position(|long| name.is(long)) {
                picked.texts[index] = Some(value);
            }
        }
        Self::read(&picked)
    }

    /// Reads the names of one letter of requests 310, 320 and 325.
    pub fn parse_v2(header: &Header<'a>) -> Result<Self, FieldError> {
        let mut picked = Picked::new(&SHORT);
        for (name, value) in header.texts() {
            if let [letter @ b'a'..=b'n'] = name.raw().as_bytes() {
                picked.texts[usize::from(letter - b'a')] = Some(value);
            }
        }
        Self::read(&picked)
    }

    fn read(picked: &Picked<'a, 14>) -> Result<Self, FieldError> {
        Ok(Self {
            producer_group: picked.required(0)?,
            topic: picked.required(1)?,
            default_topic: picked.required(2)?,
            default_topic_queues: picked.required(3)?,
            queue_id: picked.required(4)?,
            sys_flag: picked.required(5)?,
            born_timestamp: picked.required(6)?,
            flag: picked.required(7)?,
            properties: picked.or_default(8)?,
            reconsume_times: picked.or_default(9)?,
            unit_mode: picked.or_default(10)?,
            max_reconsume_times: picked.optional(11)?,
            batch: picked.or_default(12)?,
            broker_name: picked.optional(13)?,
        })
    }
}
