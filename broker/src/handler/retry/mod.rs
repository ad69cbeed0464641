//! Messages that a consumer could not process: tried again later, and in the end dead letters.

use super::Refusal;
use super::automatic::{ensure_dead_topic, ensure_group};
use crate::delay::{self, Stored};
use crate::shard::Shard;
use crate::state::system::RETRY_PREFIX;
use crate::state::{GroupSettings, ShardState, leases};
use ringmq_storage_engine::position::Position;
use ringmq_storage_engine::store::{FoundBatch, ReadError};
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::batch::{BatchError, BatchView, Envelope, Record, RecordView};
use ringmq_wire::codes::ErrorCode;
use ringmq_wire::remoting::message::Host;
use ringmq_wire::remoting::message_id::MessageId;
use ringmq_wire::remoting::properties::{self, name};
use std::rc::Rc;

/// The delay level of a first retry is this one; each further retry waits for the next level.
const FIRST_RETRY_LEVEL: i32 = 3;

/// What a consumer says of a message that it sends back.
#[derive(Debug, Clone)]
pub struct SendBack<'a> {
    pub group: &'a str,
    pub position: Position,
    /// Below 0: at once a dead letter; 0: by the number of retries.
    pub delay_level: i32,
    /// Retries before the message is a dead letter; `None`: as the group's settings say.
    pub retries_max: Option<i32>,
    /// The shard's address, for the id of the message.
    pub store_host: Host,
}

/// Stores a message that was sent back, to be tried again or as a dead letter. `None`: the group has no retries, so the
/// message is done with. Returns before it is durable.
pub async fn send_back<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    back: &SendBack<'_>,
) -> Result<Option<Stored>, Refusal> {
    let settings = ensure_group(shard, back.group).await?;
    let Some(queues) = u32::try_from(settings.retry_queues).ok().filter(|q| *q > 0) else {
        return Ok(None);
    };
    let found = find(shard, back.position).await?;
    let view = BatchView::parse_unverified(&found.batch.bytes).map_err(unreadable)?;
    let section = view.section().map_err(unreadable)?;
    let record = view.records(&section).nth(found.record_index as usize);
    let record = record.ok_or_else(gone)?.map_err(unreadable)?;
    let topic = topic_of(shard, &found).ok_or_else(gone)?;
    shard.with_traffic(|traffic, clock| traffic.sent_back(clock, &topic, back.group));
    let retries = record
        .envelope
        .map_or(0, |envelope| envelope.reconsume_times);
    let retries_max = retries_max(&settings, back.retries_max);
    let again = Again::of(&record, &topic, back);
    if retries >= retries_max || back.delay_level < 0 {
        let dead = ensure_dead_topic(shard, back.group).await?;
        return again.store_dead(shard, &dead).map(Some);
    }
    let level = match back.delay_level {
        0 => FIRST_RETRY_LEVEL.saturating_add(retries),
        asked => asked,
    };
    let retry = crate::state::system::retry_topic(back.group);
    let queue = (shard.runtime().random_u64() % u64::from(queues)) as u32;
    again.park(shard, &retry, queue, level).map(Some)
}

/// Where a message goes that a consumer sends to its group's retry topic itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Retry {
    /// To the retry topic.
    Again,
    /// To this topic of dead letters instead, without delay.
    Dead(String),
}

/// Decides on a send to a retry topic. A group with a queue lock consumes in order: what it gives up is dead at once.
pub async fn target_of_send<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    topic: &str,
    retries: i32,
    asked_max: Option<i32>,
) -> Result<Retry, Refusal> {
    let group = topic.strip_prefix(RETRY_PREFIX).unwrap_or(topic);
    let settings = ensure_group(shard, group).await?;
    if retries <= retries_max(&settings, asked_max) && !consumes_in_order(shard, group) {
        return Ok(Retry::Again);
    }
    ensure_dead_topic(shard, group).await.map(Retry::Dead)
}

fn retries_max(settings: &GroupSettings, asked: Option<i32>) -> i32 {
    asked.unwrap_or(settings.retry_max)
}

/// Whether a queue lock of the group runs on this shard.
fn consumes_in_order<D: Disk, R: Runtime>(shard: &Shard<D, R>, group: &str) -> bool {
    let now = shard.now();
    shard.with_state(|state| {
        shard.with_leases(|deadlines| leases::any_running(state, deadlines, group, now))
    })
}

async fn find<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    position: Position,
) -> Result<FoundBatch<D>, Refusal> {
    match shard.store().read_position(position).await {
        Err(ReadError::PositionNotFound(_)) => Err(gone()),
        other => Ok(other?),
    }
}

fn topic_of<D: Disk, R: Runtime>(shard: &Shard<D, R>, found: &FoundBatch<D>) -> Option<Rc<str>> {
    let handle = ringmq_storage_engine::position::QueueHandle(found.batch.header.queue_handle);
    let name = |state: &ShardState| state.queue(handle).map(|queue| Rc::clone(&queue.topic));
    shard.with_state(name)
}

fn gone() -> Refusal {
    Refusal::new(
        ErrorCode::MessageNotFound,
        "the message is not stored any more",
    )
}

fn unreadable(error: BatchError) -> Refusal {
    Refusal::new(
        ErrorCode::Corrupt,
        format!("the message cannot be read: {error}"),
    )
}

/// A message as it is stored once more.
struct Again<'a> {
    record: RecordView<'a>,
    envelope: Envelope<'a>,
    /// RocketMQ's, with where the message came from.
    properties: String,
    origin_topic: String,
    origin_id: String,
}

impl<'a> Again<'a> {
    fn of(record: &RecordView<'a>, topic: &str, back: &SendBack<'_>) -> Self {
        let envelope = record.envelope.unwrap_or(Envelope {
            flag: 0,
            sys_flag: 0,
            reconsume_times: 0,
            // RocketMQ's has no sign.
            body_crc: crc32fast::hash(record.body) & 0x7FFF_FFFF,
            prepared_position: 0,
            born_host: None,
            properties: "",
        });
        let mut all = match record.envelope {
            Some(envelope) => envelope.properties.to_owned(),
            None => native_properties(record),
        };
        let id = || {
            MessageId {
                host: back.store_host,
                offset: back.position.0 as i64,
            }
            .to_string()
        };
        let known = |wanted| properties::get(&all, wanted).map(str::to_owned);
        let origin_topic = known(name::RETRY_TOPIC).unwrap_or_else(|| topic.to_owned());
        let origin_id = known(name::ORIGIN_MESSAGE_ID).unwrap_or_else(id);
        properties::set(&mut all, name::RETRY_TOPIC, &origin_topic);
        properties::set(&mut all, name::ORIGIN_MESSAGE_ID, &origin_id);
        properties::set(&mut all, name::WAIT, "false");
        properties::remove(&mut all, |found| found == name::DELAY);
        Self {
            record: *record,
            envelope,
            properties: all,
            origin_topic,
            origin_id,
        }
    }

    fn park<D: Disk, R: Runtime>(
        mut self,
        shard: &Shard<D, R>,
        topic: &str,
        queue: u32,
        level: i32,
    ) -> Result<Stored, Refusal> {
        properties::set(&mut self.properties, name::DELAY, &level.to_string());
        self.with_record(|record| {
            let parked = delay::park(shard, topic, queue, record, level);
            // A level above 0 is a delay.
            parked.unwrap_or_else(|| delay::store(shard, topic, queue, record))
        })
    }

    fn store_dead<D: Disk, R: Runtime>(
        mut self,
        shard: &Shard<D, R>,
        topic: &str,
    ) -> Result<Stored, Refusal> {
        properties::set(
            &mut self.properties,
            name::DLQ_ORIGIN_TOPIC,
            &self.origin_topic,
        );
        properties::set(
            &mut self.properties,
            name::DLQ_ORIGIN_MESSAGE_ID,
            &self.origin_id,
        );
        self.with_record(|record| delay::store(shard, topic, 0, record))
    }

    fn with_record<T>(&self, store: impl FnOnce(&Record<'_>) -> T) -> T {
        let record = &self.record;
        let keys: Vec<&str> = record
            .keys
            .split(' ')
            .filter(|key| !key.is_empty())
            .collect();
        let set = [
            (name::RETRY_TOPIC, self.origin_topic.as_str()),
            (name::ORIGIN_MESSAGE_ID, self.origin_id.as_str()),
        ];
        let is_set = |name: &str| set.iter().any(|(other, _)| *other == name);
        let kept = record.properties.iter().filter(|(name, _)| !is_set(name));
        let properties: Vec<(&str, &str)> = kept.chain(set).collect();
        store(&Record {
            born_time_ms: record.born_time_ms,
            keys: &keys,
            tag: record.tag,
            properties: &properties,
            envelope: Some(Envelope {
                reconsume_times: self.envelope.reconsume_times.saturating_add(1),
                prepared_position: 0,
                properties: &self.properties,
                ..self.envelope
            }),
            body: record.body,
        })
    }
}

/// The properties of a message that came by the native protocol, as a RocketMQ client would have written them.
fn native_properties(record: &RecordView<'_>) -> String {
    let own = [(name::KEYS, record.keys), (name::TAGS, record.tag)];
    let own = own.into_iter().filter(|(_, value)| !value.is_empty());
    properties::encode(own.chain(record.properties.iter()))
}

#[cfg(test)]
mod tests;
