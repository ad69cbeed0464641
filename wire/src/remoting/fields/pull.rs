//! What a consumer says when it pulls: requests 11 and 361.

use std::borrow::Cow;

use super::Picked;
use crate::remoting::header::{FieldError, Header};

/// Bits of [`PullFields::sys_flag`].
pub mod pull_flag {
    /// `commit_offset` is to be committed.
    pub const COMMIT: i32 = 1;
    /// The request may be held until there are messages.
    pub const SUSPEND: i32 = 2;
    /// The filter is in this request; otherwise that of the heartbeat counts.
    pub const SUBSCRIPTION: i32 = 4;
    /// The filter is a Java class; RocketMQ no longer has that.
    pub const CLASS_FILTER: i32 = 8;
    /// A lite pull consumer asks.
    pub const LITE_PULL: i32 = 16;
}

/// The fields of a pull.
#[derive(Debug, Clone)]
pub struct PullFields<'a> {
    pub consumer_group: Cow<'a, str>,
    pub topic: Cow<'a, str>,
    pub queue_id: i32,
    /// The first offset that is wanted.
    pub queue_offset: i64,
    pub max_messages: i32,
    /// See [`pull_flag`].
    pub sys_flag: i32,
    /// Where the group is, if [`pull_flag::COMMIT`] is set.
    pub commit_offset: i64,
    /// How long the request may be held, in milliseconds.
    pub suspend_millis: i64,
    /// The filter, if [`pull_flag::SUBSCRIPTION`] is set.
    pub subscription: Option<Cow<'a, str>>,
    /// `TAG` or `SQL92`; absent: `TAG`.
    pub expression_type: Option<Cow<'a, str>>,
    /// When the consumer changed its subscription last, in milliseconds of its clock.
    pub sub_version: i64,
    /// Most bytes that are wanted.
    pub max_bytes: Option<i32>,
    /// The broker that the consumer means.
    pub broker_name: Option<Cow<'a, str>>,
}

const NAMES: [&str; 13] = [
    "consumerGroup",
    "topic",
    "queueId",
    "queueOffset",
    "maxMsgNums",
    "sysFlag",
    "commitOffset",
    "suspendTimeoutMillis",
    "subscription",
    "expressionType",
    "subVersion",
    "maxMsgBytes",
    "bname",
];

impl<'a> PullFields<'a> {
    /// Reads the fields of a pull.
    pub fn parse(header: &Header<'a>) -> Result<Self, FieldError> {
        let mut picked = Picked::new(&NAMES);
        for (name, value) in header.texts() {
            if let Some(index) = NAMES.iter().position(|known| name.is(known)) {
                picked.texts[index] = Some(value);
            }
        }
        Ok(Self {
            consumer_group: picked.required(0)?,
            topic: picked.required(1)?,
            queue_id: picked.required(2)?,
            queue_offset: picked.required(3)?,
            max_messages: picked.required(4)?,
            sys_flag: picked.required(5)?,
            commit_offset: picked.required(6)?,
            suspend_millis: picked.required(7)?,
            subscription: picked.optional(8)?,
            expression_type: picked.optional(9)?,
            sub_version: picked.required(10)?,
            max_bytes: picked.optional(11)?,
            broker_name: picked.optional(12)?,
        })
    }
}
