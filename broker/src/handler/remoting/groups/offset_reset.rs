//! `INVOKE_BROKER_TO_RESET_OFFSET` (222): sets a group back or forth in a topic's queues on this shard, by time.
//!
//! The offsets are committed here, so a group without members starts from them. Members that are there are told to go
//! on from them (220); until they pull again, what they commit counts for nothing, and that pull is told once more.

use super::{on_one_shard, refuse_native};
use crate::handler::records::{append, range, settled};
use crate::handler::remoting::{Answer, Caller, Refused, Request};
use crate::shard::Shard;
use crate::state::offsets::{self, QueueRange};
use crate::state::record::GroupOffsets;
use crate::state::{ControlRecord, groups};
use ringmq_storage_engine::position::{QueueHandle, QueueOffset};
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::remoting::body::locks::MessageQueue;
use ringmq_wire::remoting::body::queue_map::QueueMap;
use ringmq_wire::remoting::body::stats::ResetOffsets;
use ringmq_wire::remoting::{Command, Language, request_code, response_code};
use std::rc::Rc;

/// What is asked for.
struct Wanted {
    topic: String,
    group: String,
    /// Unix time in milliseconds; negative: the end of the queue.
    timestamp: i64,
    /// Whether a group may also be set forward.
    force: bool,
    /// One queue alone.
    queue: Option<usize>,
    /// Instead of the time, for one queue.
    offset: Option<u64>,
}

/// A queue of the topic on this shard.
#[derive(Clone, Copy)]
struct Place {
    id: usize,
    handle: QueueHandle,
    range: QueueRange,
    committed: Option<QueueOffset>,
}

pub async fn handle<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    _caller: &Rc<Caller<D>>,
    request: &Request,
) -> Result<Answer, Refused> {
    let wanted = read(&request.command)?;
    groups::check_name(&wanted.group)?;
    refuse_native(shard, &wanted.group)?;
    shard.flush_commits();
    let mut found = Vec::new();
    for place in places(shard, &wanted)? {
        found.push((place, locate(shard, &wanted, place).await?));
    }
    let set = commit(shard, &wanted, &found)?;
    settled(shard).await?;
    tracing::info!(
        group = wanted.group,
        topic = wanted.topic,
        queues = set.0.len(),
        timestamp = wanted.timestamp,
        "offsets reset by request of RocketMQ's protocol"
    );
    let set = ResetOffsets { offsets: set };
    tell_members(shard, &wanted, &set);
    Ok(Answer::ok().body(set.encode()))
}

fn read(command: &Command) -> Result<Wanted, Refused> {
    let queue = command.optional::<i32>("queueId")?;
    let offset = command.optional::<i64>("offset")?;
    Ok(Wanted {
        topic: command.required("topic")?,
        group: command.required("group")?,
        timestamp: command.required("timestamp")?,
        force: command.optional("isForce")?.unwrap_or(true),
        queue: queue.and_then(|queue| usize::try_from(queue).ok()),
        offset: offset.and_then(|offset| u64::try_from(offset).ok()),
    })
}

fn places<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    wanted: &Wanted,
) -> Result<Vec<Place>, Refused> {
    shard.with_state(|state| {
        let Some(topic) = state.topic(&wanted.topic) else {
            let remark = format!("topic[{}] not exist", wanted.topic);
            return Err(Refused::new(response_code::TOPIC_NOT_EXIST, remark));
        };
        if state.group_settings(&wanted.group).is_none() && state.group(&wanted.group).is_none() {
            let remark = format!("group[{}] not exist", wanted.group);
            let code = response_code::SUBSCRIPTION_GROUP_NOT_EXIST;
            return Err(Refused::new(code, remark));
        }
        let queues = topic.handles.iter().copied().enumerate();
        let queues = queues.filter(|(id, _)| wanted.queue.is_none_or(|queue| queue == *id));
        let places = queues.map(|(id, handle)| Place {
            id,
            handle,
            range: range(shard, state, handle),
            committed: state.committed(&wanted.group, handle),
        });
        Ok(places.collect())
    })
}

async fn locate<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    wanted: &Wanted,
    place: Place,
) -> Result<QueueOffset, Refused> {
    let offset = match wanted.offset.filter(|_| wanted.queue.is_some()) {
        Some(offset) => QueueOffset(offset),
        None if wanted.timestamp < 0 => place.range.visible,
        None => {
            let store = shard.store();
            store.offset_at_time(place.handle, wanted.timestamp).await?
        }
    };
    let offset = place.range.clamp(offset);
    Ok(match place.committed {
        Some(committed) if !wanted.force => offset.min(committed),
        _ => offset,
    })
}

/// Commits the offsets; returns what members are told.
fn commit<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    wanted: &Wanted,
    found: &[(Place, QueueOffset)],
) -> Result<QueueMap<i64>, Refused> {
    let group = wanted.group.as_str();
    let changed = shard.with_state(|state| {
        let mut changed = Vec::new();
        for (place, offset) in found {
            let (handle, range) = (place.handle, place.range);
            // A lock does not hold an operator back: its client is told to go on from there.
            if let Some(offset) = offsets::reset(state, range, group, handle, *offset, true, false)?
            {
                changed.push((handle, offset));
            }
        }
        changed.sort_unstable();
        let is_new = |(handle, _): &&(QueueHandle, _)| state.group_queue(group, *handle).is_none();
        offsets::room(state, changed.iter().filter(is_new).count())?;
        Ok::<_, Refused>(changed)
    })?;
    if !shard.with_resets(|resets| resets.has_room(found.len())) {
        let remark = "too many resets wait for consumers that have yet to hear of them";
        return Err(Refused::new(response_code::SYSTEM_BUSY, remark));
    }
    if !changed.is_empty() {
        append(
            shard,
            &ControlRecord::OffsetsReset(GroupOffsets {
                group: group.into(),
                offsets: changed,
            }),
        )?;
    }
    shard.hold_to(group, found.iter().map(|(place, at)| (place.handle, *at)));
    let told = found.iter().map(|(place, offset)| {
        let queue = MessageQueue {
            broker_name: shard.name().to_owned(),
            queue_id: i32::try_from(place.id).unwrap_or(i32::MAX),
            topic: wanted.topic.clone(),
        };
        (queue, i64::try_from(offset.0).unwrap_or(i64::MAX))
    });
    Ok(QueueMap(told.collect()))
}

fn tell_members<D: Disk, R: Runtime>(shard: &Shard<D, R>, wanted: &Wanted, set: &ResetOffsets) {
    let directory = shard.directory();
    let consumers = directory.clients().consumers(&wanted.group);
    let clients = consumers.into_iter().flat_map(|group| group.clients());
    for member in clients.flat_map(|connections| on_one_shard(shard, connections)) {
        let command = Command::request(request_code::RESET_CONSUMER_CLIENT_OFFSET, 0)
            .oneway()
            .field("topic", &wanted.topic)
            .field("group", &wanted.group)
            .field("timestamp", wanted.timestamp)
            .field("isForce", wanted.force);
        let body = match member.client.language {
            Language::Cpp => set.encode_for_cpp(),
            _ => set.encode(),
        };
        shard.notify_client(member.connection, command, body);
    }
}
