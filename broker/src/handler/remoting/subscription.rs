//! What a pull asks for, and whether its group may have it.

use super::{Refused, groups};
use crate::handler::automatic::ensure_group;
use crate::shard::Shard;
use crate::state::system::RETRY_PREFIX;
use crate::state::topics;
use ringmq_storage_engine::position::{QueueHandle, QueueOffset};
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::batch::tags_code;
use ringmq_wire::remoting::fields::{PullFields, pull_flag};
use ringmq_wire::remoting::{FieldError, Header, response_code};
use std::time::Duration;

/// A pull, owned.
#[derive(Debug, Clone)]
pub struct Want {
    pub group: String,
    pub topic: String,
    pub queue_id: i32,
    pub offset: i64,
    pub messages_max: usize,
    /// Where the group is.
    pub commit: Option<i64>,
    /// How long it may be held.
    pub suspend: Option<Duration>,
    /// The filter (type, text) that came with it; otherwise that of the heartbeat counts.
    filter: Option<(String, String)>,
    sub_version: i64,
}

/// Which messages are wanted. Two tags may share a code: the client compares the tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    All,
    /// Sorted codes of tags.
    Codes(Vec<u32>),
}

impl Filter {
    pub fn wants(&self, code: u32) -> bool {
        match self {
            Self::All => true,
            Self::Codes(codes) => codes.binary_search(&code).is_ok(),
        }
    }

    /// `*`, or tags joined by `||`.
    fn of_tags(text: &str) -> Self {
        if text.trim().is_empty() || text.trim() == "*" {
            return Self::All;
        }
        let tags = text
            .split("||")
            .map(str::trim)
            .filter(|tag| !tag.is_empty());
        let mut codes: Vec<u32> = tags.map(tags_code).collect();
        codes.sort_unstable();
        codes.dedup();
        Self::Codes(codes)
    }
}

impl Want {
    /// Reads the fields; `wait_ms_max`: no pull is held for longer.
    pub fn parse(header: &Header<'_>, wait_ms_max: u32) -> Result<Self, FieldError> {
        let fields = PullFields::parse(header)?;
        let has = |flag| fields.sys_flag & flag != 0;
        let suspend_ms = fields.suspend_millis.clamp(0, i64::from(wait_ms_max)) as u64;
        let filter = has(pull_flag::SUBSCRIPTION).then(|| {
            let kind = fields.expression_type.as_deref().unwrap_or(TAG);
            let text = fields.subscription.as_deref().unwrap_or_default();
            (kind.to_owned(), text.to_owned())
        });
        Ok(Self {
            commit: has(pull_flag::COMMIT).then_some(fields.commit_offset),
            suspend: has(pull_flag::SUSPEND).then(|| Duration::from_millis(suspend_ms)),
            group: fields.consumer_group.into_owned(),
            topic: fields.topic.into_owned(),
            queue_id: fields.queue_id,
            offset: fields.queue_offset,
            messages_max: usize::try_from(fields.max_messages).unwrap_or(0).max(1),
            filter,
            sub_version: fields.sub_version,
        })
    }

    /// The offset that was asked for first.
    pub fn first(&self) -> QueueOffset {
        QueueOffset(u64::try_from(self.offset).unwrap_or(0))
    }

    /// Refuses what the group may not read; otherwise what it reads of it.
    pub async fn check<D: Disk, R: Runtime>(&self, shard: &Shard<D, R>) -> Result<Filter, Refused> {
        groups::refuse_native(shard, &self.group)?;
        let known =
            shard.with_state(|state| Some(state.group_settings(&self.group)?.consume_enable));
        let may_consume = match known {
            Some(may_consume) => may_consume,
            None => ensure_group(shard, &self.group).await?.consume_enable,
        };
        if !may_consume {
            let remark = format!("subscription group no permission, {}", self.group);
            return Err(forbidden(2, remark));
        }
        self.queue(shard)?;
        match &self.filter {
            Some((kind, text)) => of_expression(kind, text),
            None => self.of_heartbeat(shard),
        }
    }

    /// The queue, if it is here and may be read.
    pub fn queue<D: Disk, R: Runtime>(&self, shard: &Shard<D, R>) -> Result<QueueHandle, Refused> {
        shard.with_state(|state| {
            let name = &self.topic;
            let topic = state.topic(name).ok_or_else(|| topics::not_found(name))?;
            if !topic.settings.readable {
                let remark = format!("the topic[{name}] pulling message is forbidden");
                return Err(forbidden(3, remark));
            }
            let queues = topic.read_queues();
            let index = u32::try_from(self.queue_id).ok().filter(|id| *id < queues);
            let handle = index.and_then(|index| topic.handles.get(index as usize));
            handle.copied().ok_or_else(|| {
                let remark = format!(
                    "queueId[{}] is illegal, topic {name} has {queues} queues here",
                    self.queue_id
                );
                Refused::new(response_code::INVALID_PARAMETER, remark)
            })
        })
    }

    /// As the group's members subscribed to the topic.
    fn of_heartbeat<D: Disk, R: Runtime>(&self, shard: &Shard<D, R>) -> Result<Filter, Refused> {
        let known = groups::subscription(shard, &self.group, &self.topic, self.sub_version)?;
        if self.topic.starts_with(RETRY_PREFIX) {
            return Ok(Filter::All);
        }
        of_expression(&known.expression_type, &known.expression)
    }
}

const TAG: &str = "TAG";

/// Codes are always made from the text: some clients send wrong ones, or none.
fn of_expression(kind: &str, text: &str) -> Result<Filter, Refused> {
    if kind.is_empty() || kind.eq_ignore_ascii_case(TAG) {
        return Ok(Filter::of_tags(text));
    }
    let remark = format!("the broker does not support consumer to filter message by {kind}");
    Err(Refused::new(response_code::SYSTEM_ERROR, remark))
}

/// `kind`: RocketMQ's ForbiddenType.
fn forbidden(kind: i32, remark: String) -> Refused {
    Refused::new(response_code::NO_PERMISSION, remark).field("forbiddenType", kind)
}
