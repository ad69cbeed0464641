//! 10, 310, 320: a producer sends a message, or a batch of messages.
//!
//! [`begin`] decides and appends without an await, so that messages of one connection enter the log in the order in
//! which they arrived. What must exist before (a topic, a retry topic's group) is made by [`prepare`], for which the
//! connection waits. Half messages and timers are refused: they must not be stored as ordinary messages.

use super::incoming::Incoming;
use super::sent::Sent;
use super::{Answer, Caller, Refused};
use crate::delay;
use crate::handler::automatic::ensure_topic_for_send;
use crate::handler::retry::{Retry, target_of_send};
use crate::shard::Shard;
use crate::state::system::{RETRY_PREFIX, is_closed};
use crate::state::{ShardState, Topic};
use ringmq_storage_engine::position::{QueueHandle, QueueOffset};
use ringmq_storage_engine::store::AppendError;
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::limits::{NAME_BYTES_MAX, is_valid_name};
use ringmq_wire::remoting::fields::SendFields;
use ringmq_wire::remoting::text::append_hex;
use ringmq_wire::remoting::{Header, request_code, response_code};

/// The region that every broker states when it is not told one.
pub const REGION: &str = "DefaultRegion";

/// What a send came to.
pub enum Begun {
    /// In the log.
    Stored(Sent),
    /// Nothing was done: the log has no room just now.
    Busy(AppendError),
    /// Nothing was done: something must be made first.
    Needs(Need),
}

/// What [`prepare`] makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// The topic of a first message.
    Topic {
        topic: String,
        template: String,
        queues: i32,
    },
    /// The group whose retry topic is sent to.
    Retry {
        topic: String,
        retries: i32,
        retries_max: Option<i32>,
    },
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prepared {
    Topic,
    /// The message goes to the retry topic, or to this one instead.
    Retry(Option<String>),
}

/// Whether this is a request for [`begin`].
pub fn is_send(code: i32) -> bool {
    matches!(
        code,
        request_code::SEND_MESSAGE
            | request_code::SEND_MESSAGE_V2
            | request_code::SEND_BATCH_MESSAGE
    )
}

/// The refusal of a send with what every answer to one has: clients read it unasked.
pub fn refusal(refused: Refused) -> Answer {
    let answer = Answer::from(refused);
    answer.field("MSG_REGION", REGION).field("TRACE_ON", true)
}

/// Decides and appends; nothing was done on an error.
pub fn begin<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    caller: &Caller<D>,
    header: &Header<'_>,
    body: &[u8],
    prepared: Option<&Prepared>,
) -> Result<Begun, Refused> {
    let fields = if header.code == request_code::SEND_MESSAGE {
        SendFields::parse_v1(header)?
    } else {
        SendFields::parse_v2(header)?
    };
    if !shard.is_writable() {
        let remark = format!("{} takes no new messages any more", shard.name());
        return Err(Refused::new(response_code::SERVICE_NOT_AVAILABLE, remark));
    }
    check_topic(&fields.topic)?;
    let runtime = shard.runtime();
    let new_key = || new_unique_key(runtime);
    let cluster = &shard.settings().cluster;
    let message = Incoming::read(caller.peer(), cluster, &fields, body, new_key)?;
    let dead = match prepared {
        Some(Prepared::Retry(dead)) => dead.as_deref(),
        _ => None,
    };
    if fields.topic.starts_with(RETRY_PREFIX) && prepared.is_none() {
        return Ok(Begun::Needs(Need::Retry {
            topic: fields.topic.into_owned(),
            retries: fields.reconsume_times,
            retries_max: fields.max_reconsume_times,
        }));
    }
    let topic = dead.unwrap_or(&fields.topic);
    let asked = if dead.is_some() { -1 } else { fields.queue_id };
    let place = shard.with_state(|state| {
        let found = state.topic(topic)?;
        Some(queue_of(state, topic, found, asked, || {
            runtime.random_u64()
        }))
    });
    let Some(place) = place else {
        if prepared.is_some() {
            return Err(crate::state::topics::not_found(topic).into());
        }
        return Ok(Begun::Needs(Need::Topic {
            topic: topic.to_owned(),
            template: fields.default_topic.into_owned(),
            queues: fields.default_topic_queues,
        }));
    };
    let target = place?;
    message.check_sizes(message_bytes_max(shard, target.message_bytes_max))?;
    let level = message.delay().filter(|_| dead.is_none());
    let park =
        |level| message.single(|record| delay::park(shard, topic, target.queue_id, record, level));
    match level.and_then(park).flatten() {
        Some(parked) => Ok(Begun::Stored(parked_at(&message, target, parked?))),
        None => store(shard, &message, target),
    }
}

/// As many digits as the keys of RocketMQ's own producers have.
fn new_unique_key<R: Runtime>(runtime: &R) -> String {
    let mut key = String::with_capacity(32);
    append_hex(&mut key, &runtime.random_u64().to_be_bytes());
    append_hex(&mut key, &runtime.random_u64().to_be_bytes());
    key
}

/// A message that waits in its level's queue: the offset is there, the queue the one that was asked for.
fn parked_at(message: &Incoming<'_>, target: Target, stored: delay::Stored) -> Sent {
    Sent {
        queue_id: target.queue_id,
        offset: stored.offset,
        position: stored.position,
        messages: 1,
        end: stored.end,
        unique_key: message.unique_key(),
    }
}

/// Makes what a send needs; the send is then begun again with it.
pub async fn prepare<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    need: Need,
) -> Result<Prepared, Refused> {
    match need {
        Need::Topic {
            topic,
            template,
            queues,
        } => {
            ensure_topic_for_send(shard, &topic, &template, queues).await?;
            Ok(Prepared::Topic)
        }
        Need::Retry {
            topic,
            retries,
            retries_max,
        } => match target_of_send(shard, &topic, retries, retries_max).await? {
            Retry::Again => Ok(Prepared::Retry(None)),
            Retry::Dead(dead) => Ok(Prepared::Retry(Some(dead))),
        },
    }
}

fn check_topic(topic: &str) -> Result<(), Refused> {
    if topic.len() > NAME_BYTES_MAX {
        let remark = format!("topic of {} bytes; at most {NAME_BYTES_MAX}", topic.len());
        return Err(Refused::new(response_code::MESSAGE_ILLEGAL, remark));
    }
    if !is_valid_name(topic) {
        let remark = format!("topic [{topic}] has other characters than A-Z a-z 0-9 % | _ -");
        return Err(Refused::new(response_code::INVALID_PARAMETER, remark));
    }
    if is_closed(topic) {
        let remark = format!("sending to topic [{topic}] is forbidden");
        return Err(Refused::new(response_code::NO_PERMISSION, remark));
    }
    Ok(())
}

/// Where a message goes.
#[derive(Debug, Clone, Copy)]
struct Target {
    handle: QueueHandle,
    queue_id: u32,
    base_offset: QueueOffset,
    message_bytes_max: u32,
}

/// The queue that was asked for; any that is written if none was.
fn queue_of(
    state: &ShardState,
    name: &str,
    topic: &Topic,
    asked: i32,
    random: impl FnOnce() -> u64,
) -> Result<Target, Refused> {
    let (read, write) = (topic.read_queues(), topic.write_queues());
    if !topic.settings.writable || (asked < 0 && write == 0) {
        let remark = format!("the topic[{name}] sending message is forbidden");
        return Err(Refused::new(response_code::NO_PERMISSION, remark));
    }
    let queue_id = u32::try_from(asked).unwrap_or_else(|_| (random() % u64::from(write)) as u32);
    let handle = topic.handles.get(queue_id as usize);
    let queue = handle.and_then(|handle| Some((*handle, state.queue(*handle)?)));
    let Some((handle, queue)) = queue.filter(|_| queue_id < read.max(write)) else {
        let remark = format!(
            "request queueId[{asked}] is illegal, topic {name} has {read} read and {write} write queues here"
        );
        return Err(Refused::new(response_code::INVALID_PARAMETER, remark));
    };
    Ok(Target {
        handle,
        queue_id,
        base_offset: queue.next_offset,
        message_bytes_max: topic.settings.message_bytes_max,
    })
}

fn message_bytes_max<D: Disk, R: Runtime>(shard: &Shard<D, R>, of_topic: u32) -> usize {
    match of_topic {
        0 => shard.limits().message_bytes_max,
        bytes => bytes as usize,
    }
}

fn store<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    message: &Incoming<'_>,
    target: Target,
) -> Result<Begun, Refused> {
    let (base_offset, messages) = (target.base_offset, message.count());
    let (appended, bytes) = message.batch(|pieces| {
        let appended = shard
            .store()
            .append_pieces(target.handle, base_offset, pieces);
        (
            appended,
            pieces.iter().map(|piece| piece.len() as u64).sum(),
        )
    })?;
    let appended = match appended {
        Ok(appended) => appended,
        Err(error @ AppendError::Busy) => return Ok(Begun::Busy(error)),
        Err(error) => return Err(error.into()),
    };
    shard.count_stored(target.handle, u64::from(messages), bytes);
    Ok(Begun::Stored(Sent {
        queue_id: target.queue_id,
        offset: base_offset,
        position: appended.position,
        messages,
        end: appended.end,
        unique_key: message.unique_key(),
    }))
}
