//! One connection to the shard: each request answered in turn, a fetch waiting for what comes.

use super::state::{State, Topic};
use super::wire::{Frame, Link};
use super::{SHARD, Shared, register};
use ringmq_wire::batch::key_hash;
use ringmq_wire::codes::{ErrorCode, Kind};
use ringmq_wire::native::{encode, flags, header, schema};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;

/// Header and payload of an answer, or why not.
type Answer = Result<(Vec<u8>, Vec<u8>), (ErrorCode, String)>;
/// Slot → topic, queue, next offset.
type Session = BTreeMap<u32, (String, u32, u64)>;

macro_rules! read {
    ($frame:expr, $table:ident) => {
        header::<schema::$table<'_>>($frame.header())
            .expect("a readable header")
            .unpack()
    };
}

macro_rules! reply {
    ($frame:expr, $response:expr) => {
        reply!($frame, $response, Vec::new())
    };
    ($frame:expr, $response:expr, $payload:expr) => {{
        let (response, payload): (_, Vec<u8>) = ($response, $payload);
        let kind = Kind::from_number($frame.prefix.kind).expect("known");
        let id = $frame.prefix.correlation_id;
        let head = encode(kind, flags::RESPONSE, id, payload.len(), |b| {
            response.pack(b)
        });
        Ok((head, payload))
    }};
}

pub async fn serve(stream: TcpStream, names: SocketAddr, address: SocketAddr, shared: Arc<Shared>) {
    let mut link = Link::new(stream);
    if !link.preface().await {
        return;
    }
    let mut session = Session::new();
    while let Some(frame) = link.read().await {
        let kind = Kind::from_number(frame.prefix.kind).expect("a known kind");
        let answer = match kind {
            Kind::Fetch => fetch(&frame, &shared, &mut session).await,
            Kind::Produce if read!(frame, ProduceRequest).acks == schema::Acks::None => {
                answer(kind, &frame, &shared).expect("stored");
                continue;
            }
            _ => answer(kind, &frame, &shared),
        };
        if matches!(
            kind,
            Kind::TopicCreate | Kind::TopicUpdate | Kind::TopicDelete
        ) {
            let (version, records) = {
                let mut state = shared.state.lock().expect("no panic");
                state.version += 1;
                let records: Vec<_> = state.topics.values().map(|t| t.record.clone()).collect();
                (state.version + 1, records)
            };
            register(names, address, version, &records).await;
        }
        match answer {
            Ok((head, payload)) => {
                link.send(&head).await;
                link.send(&payload).await;
            }
            Err((code, message)) => {
                let error = schema::ErrorResponseT {
                    code: code.number(),
                    message: Some(message),
                    ..Default::default()
                };
                let bits = flags::RESPONSE | flags::ERROR;
                let id = frame.prefix.correlation_id;
                link.send(&encode(kind, bits, id, 0, |b| error.pack(b)))
                    .await;
            }
        }
    }
}

fn answer(kind: Kind, frame: &Frame, shared: &Shared) -> Answer {
    let mut state = shared.state.lock().expect("no panic");
    let answer = match kind {
        Kind::Hello => reply!(frame, hello()),
        Kind::Ping => reply!(frame, schema::PingResponseT::default()),
        Kind::Produce => produce(frame, &mut state),
        Kind::MessageQuery => message_query(frame, &state),
        Kind::TopicCreate => topic_create(frame, &mut state),
        Kind::TopicUpdate => topic_update(frame, &mut state),
        Kind::TopicDelete => {
            let existed = state
                .topics
                .remove(&read!(frame, TopicDeleteRequest).name)
                .is_some();
            reply!(frame, schema::TopicDeleteResponseT { existed })
        }
        Kind::TopicDescribe => topic_describe(frame, &state),
        Kind::OffsetQuery => offset_query(frame, &state),
        Kind::OffsetCommit => offset_commit(frame, &mut state),
        Kind::OffsetFetch => offset_fetch(frame, &state),
        Kind::OffsetReset => offset_reset(frame, &mut state),
        Kind::GroupJoin => group_join(frame, &mut state),
        Kind::GroupHeartbeat => {
            let response = schema::GroupHeartbeatResponseT { version: 1 };
            reply!(frame, response)
        }
        Kind::GroupLeave => {
            let request = read!(frame, GroupLeaveRequest);
            let members = state.members.entry(request.group).or_default();
            members.retain(|member| member.member != request.member);
            state.leases.retain(|_, holder| *holder != request.member);
            reply!(frame, schema::GroupLeaveResponseT::default())
        }
        Kind::LeaseAcquire => lease_acquire(frame, &mut state),
        Kind::LeaseRelease => lease_release(frame, &mut state),
        Kind::GroupList => group_list(frame, &state),
        Kind::GroupDescribe => group_describe(frame, &state),
        Kind::GroupDelete => {
            let group = read!(frame, GroupDeleteRequest).group;
            let before = state.committed.len();
            state.committed.retain(|(name, _, _), _| *name != group);
            let existed = state.committed.len() < before;
            reply!(frame, schema::GroupDeleteResponseT { existed })
        }
        Kind::ShardStatus => {
            let response = schema::ShardStatusResponseT {
                shard: Some(SHARD.into()),
                health: Some("ok".into()),
                ..Default::default()
            };
            reply!(frame, response)
        }
        _ => Err((ErrorCode::UnsupportedKind, format!("{kind:?}"))),
    };
    shared.changed.notify_waiters();
    answer
}

fn hello() -> schema::HelloResponseT {
    schema::HelloResponseT {
        version: 1,
        server: Some(SHARD.into()),
        max_frame_bytes: 64 << 20,
        max_batch_bytes: 15 << 20,
        max_message_bytes: 4 << 20,
        in_flight_bytes_max: 64 << 20,
        connection_idle_ms: 60_000,
        ..Default::default()
    }
}

fn topic<'s>(state: &'s State, name: &str) -> Result<&'s Topic, (ErrorCode, String)> {
    state
        .topics
        .get(name)
        .ok_or_else(|| (ErrorCode::TopicNotFound, name.to_string()))
}

fn produce(frame: &Frame, state: &mut State) -> Answer {
    let request = read!(frame, ProduceRequest);
    topic(state, &request.topic)?;
    let batch = state.append(&request.topic, request.queue, frame.payload());
    let batch = batch.ok_or((ErrorCode::BadBatch, "not stored".to_string()))?;
    let response = schema::ProduceResponseT {
        base_offset: batch.base_offset,
        position: batch.position,
        store_time_ms: batch.store_time_ms,
        duplicate: false,
    };
    reply!(frame, response)
}

async fn fetch(frame: &Frame, shared: &Shared, session: &mut Session) -> Answer {
    let request = read!(frame, FetchRequest);
    for add in request.add.into_iter().flatten() {
        session.insert(add.slot, (add.topic, add.queue, add.offset));
    }
    for slot in request.remove.into_iter().flatten() {
        session.remove(&slot);
    }
    for seek in request.seek.into_iter().flatten() {
        session.get_mut(&seek.slot).expect("a known slot").2 = seek.offset;
    }
    let deadline = tokio::time::Instant::now() + Duration::from_millis(request.max_wait_ms.into());
    let first = request.session == 0;
    loop {
        let changed = shared.changed.notified();
        let (queues, payload) = collect(session, shared, request.max_bytes as usize);
        let late = tokio::time::Instant::now() >= deadline;
        if first || late || !payload.is_empty() {
            let response = schema::FetchResponseT {
                session: 1,
                queues: Some(queues),
            };
            return reply!(frame, response, payload);
        }
        tokio::time::timeout_at(deadline, changed).await.ok();
    }
}

fn collect(
    session: &mut Session,
    shared: &Shared,
    max_bytes: usize,
) -> (Vec<schema::FetchedQueueT>, Vec<u8>) {
    let state = shared.state.lock().expect("no panic");
    let mut payload = Vec::new();
    let mut queues = Vec::new();
    for (slot, (topic, number, next)) in session.iter_mut() {
        let mut fetched = schema::FetchedQueueT {
            slot: *slot,
            ..Default::default()
        };
        if let Some(topic) = state.topics.get(topic) {
            let queue = &topic.queues[*number as usize];
            let mut batches = Vec::new();
            for batch in &queue.batches[queue.from(*next)..] {
                if payload.len() >= max_bytes {
                    break;
                }
                payload.extend_from_slice(&batch.bytes);
                let length = batch.bytes.len() as u32;
                batches.push(schema::FetchedBatchT {
                    position: batch.position,
                    length,
                });
                *next = batch.next_offset;
            }
            fetched.batches = Some(batches);
            fetched.visible_offset = queue.next_offset;
        } else {
            fetched.error = ErrorCode::TopicNotFound.number();
        }
        fetched.next_offset = *next;
        queues.push(fetched);
    }
    (queues, payload)
}

fn message_query(frame: &Frame, state: &State) -> Answer {
    let request = read!(frame, MessageQueryRequest);
    let wanted_key = request.key.as_deref().map(key_hash);
    let mut payload = Vec::new();
    let mut messages = Vec::new();
    for (name, topic) in &state.topics {
        for (number, queue) in (0..).zip(&topic.queues) {
            for batch in &queue.batches {
                let view = ringmq_wire::batch::BatchView::parse(&batch.bytes).expect("stored");
                let offsets = batch.base_offset..batch.next_offset;
                let offset = match request.by {
                    schema::MessageQueryBy::Offset => (request.topic.as_ref() == Some(name)
                        && request.queue == number
                        && offsets.contains(&request.offset))
                    .then_some(request.offset),
                    schema::MessageQueryBy::Position => {
                        let index = request.position.checked_sub(batch.position);
                        index
                            .map(|i| batch.base_offset + i)
                            .filter(|o| offsets.contains(o))
                    }
                    _ => view
                        .key_hashes()
                        .find(|(_, hash)| Some(*hash) == wanted_key)
                        .map(|(index, _)| batch.base_offset + u64::from(index)),
                };
                if let Some(offset) = offset {
                    payload.extend_from_slice(&batch.bytes);
                    messages.push(schema::FoundMessageT {
                        topic: Some(name.clone()),
                        queue: number,
                        offset,
                        position: batch.position + offset - batch.base_offset,
                        length: batch.bytes.len() as u32,
                    });
                }
            }
        }
    }
    if messages.is_empty() {
        return Err((ErrorCode::MessageNotFound, "none".into()));
    }
    reply!(
        frame,
        schema::MessageQueryResponseT {
            messages: Some(messages)
        },
        payload
    )
}

fn topic_create(frame: &Frame, state: &mut State) -> Answer {
    let mut record = *read!(frame, TopicCreateRequest).topic;
    let existed = state.topics.contains_key(&record.name);
    if record.placement.as_ref().is_none_or(Vec::is_empty) {
        return Err((ErrorCode::AutoCreateDisabled, record.name));
    }
    record.version = 1;
    let name = record.name.clone();
    let topic = state
        .topics
        .entry(name)
        .or_insert_with(|| Topic::new(record));
    let topic = Some(Box::new(topic.record.clone()));
    reply!(frame, schema::TopicCreateResponseT { topic, existed })
}

fn topic_update(frame: &Frame, state: &mut State) -> Answer {
    let request = read!(frame, TopicUpdateRequest);
    topic(state, &request.name)?;
    let topic = state.topics.get_mut(&request.name).expect("just found");
    topic.record.queues = topic.record.queues.max(request.queues);
    topic
        .queues
        .resize_with(topic.record.queues as usize, Default::default);
    topic.record.settings = request.settings.or(topic.record.settings.take());
    topic.record.version += 1;
    let topic = Some(Box::new(topic.record.clone()));
    reply!(frame, schema::TopicUpdateResponseT { topic })
}

fn topic_describe(frame: &Frame, state: &State) -> Answer {
    let topic = topic(state, &read!(frame, TopicDescribeRequest).name)?;
    let queues = (0..)
        .zip(&topic.queues)
        .map(|(queue, held)| schema::QueueStateT {
            queue,
            visible_offset: held.next_offset,
            next_offset: held.next_offset,
            last_store_time_ms: held.batches.last().map_or(0, |batch| batch.store_time_ms),
            ..Default::default()
        });
    let response = schema::TopicDescribeResponseT {
        queues: Some(queues.collect()),
        topic: Some(Box::new(topic.record.clone())),
    };
    reply!(frame, response)
}

fn offset_query(frame: &Frame, state: &State) -> Answer {
    let request = read!(frame, OffsetQueryRequest);
    let topic = topic(state, &request.topic)?;
    let offset = |queue: u32| {
        let held = &topic.queues[queue as usize];
        let offset = match request.at {
            schema::OffsetAt::Earliest => 0,
            schema::OffsetAt::Latest => held.next_offset,
            _ => {
                let later = held
                    .batches
                    .iter()
                    .find(|b| b.store_time_ms >= request.time_ms);
                later.map_or(held.next_offset, |batch| batch.base_offset)
            }
        };
        schema::QueueOffsetT {
            queue,
            offset,
            error: 0,
        }
    };
    let offsets = request.queues.into_iter().flatten().map(offset).collect();
    reply!(
        frame,
        schema::OffsetQueryResponseT {
            offsets: Some(offsets)
        }
    )
}

fn offset_commit(frame: &Frame, state: &mut State) -> Answer {
    let request = read!(frame, OffsetCommitRequest);
    let mut errors = Vec::new();
    for commit in request.commits.into_iter().flatten() {
        let place = (request.group.clone(), commit.topic, commit.queue);
        let holds = state.leases.get(&place) == request.member.as_ref();
        errors.push(if holds {
            0
        } else {
            ErrorCode::LeaseLost.number()
        });
        if holds {
            state.committed.insert(place, commit.offset);
        }
    }
    reply!(
        frame,
        schema::OffsetCommitResponseT {
            errors: Some(errors)
        }
    )
}

fn offset_fetch(frame: &Frame, state: &State) -> Answer {
    let request = read!(frame, OffsetFetchRequest);
    let offset = |queue: u32| {
        let place = (request.group.clone(), request.topic.clone(), queue);
        let offset = state.committed.get(&place).copied();
        let (committed, offset) = (offset.is_some(), offset.unwrap_or(0));
        schema::CommittedOffsetT {
            queue,
            committed,
            offset,
            error: 0,
        }
    };
    let offsets = request
        .queues
        .clone()
        .into_iter()
        .flatten()
        .map(offset)
        .collect();
    reply!(
        frame,
        schema::OffsetFetchResponseT {
            offsets: Some(offsets)
        }
    )
}

fn offset_reset(frame: &Frame, state: &mut State) -> Answer {
    let request = read!(frame, OffsetResetRequest);
    let mut errors = Vec::new();
    for reset in request.resets.into_iter().flatten() {
        let place = (request.group.clone(), request.topic.clone(), reset.queue);
        let held = state.leases.contains_key(&place) && !request.force;
        errors.push(if held {
            ErrorCode::LeaseHeld.number()
        } else {
            0
        });
        if !held {
            state.committed.insert(place, reset.offset);
        }
    }
    reply!(
        frame,
        schema::OffsetResetResponseT {
            errors: Some(errors)
        }
    )
}

fn group_join(frame: &Frame, state: &mut State) -> Answer {
    let request = read!(frame, GroupJoinRequest);
    let members = state.members.entry(request.group).or_default();
    members.retain(|member| member.member != request.member);
    members.push(schema::GroupMemberT {
        member: request.member,
        subscriptions: request.subscriptions,
        ..Default::default()
    });
    let members = Some(members.clone());
    reply!(
        frame,
        schema::GroupJoinResponseT {
            version: 1,
            members
        }
    )
}

fn lease_acquire(frame: &Frame, state: &mut State) -> Answer {
    let request = read!(frame, LeaseAcquireRequest);
    let mut leases = Vec::new();
    for queue in request.queues.into_iter().flatten() {
        let place = (request.group.clone(), request.topic.clone(), queue);
        let offset = state.committed.get(&place).copied();
        state.leases.insert(place, request.member.clone());
        leases.push(schema::QueueLeaseT {
            queue,
            lease: 1,
            committed: offset.is_some(),
            offset: offset.unwrap_or(0),
            ..Default::default()
        });
    }
    reply!(
        frame,
        schema::LeaseAcquireResponseT {
            leases: Some(leases)
        }
    )
}

fn lease_release(frame: &Frame, state: &mut State) -> Answer {
    let request = read!(frame, LeaseReleaseRequest);
    let mut errors = Vec::new();
    for queue in request.queues.into_iter().flatten() {
        state
            .leases
            .remove(&(request.group.clone(), request.topic.clone(), queue));
        errors.push(0);
    }
    reply!(
        frame,
        schema::LeaseReleaseResponseT {
            errors: Some(errors)
        }
    )
}

fn group_list(frame: &Frame, state: &State) -> Answer {
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for (group, _, _) in state.committed.keys() {
        *counts.entry(group.clone()).or_default() += 1;
    }
    let summary = |(group, queues_committed)| schema::GroupSummaryT {
        members: state
            .members
            .get(&group)
            .map_or(0, |members| members.len() as u32),
        group,
        queues_committed,
    };
    let groups = Some(counts.into_iter().map(summary).collect());
    reply!(frame, schema::GroupListResponseT { groups })
}

fn group_describe(frame: &Frame, state: &State) -> Answer {
    let group = read!(frame, GroupDescribeRequest).group;
    let committed = state
        .committed
        .iter()
        .filter(|((name, _, _), _)| *name == group);
    let queues = committed.map(|((_, topic, queue), offset)| schema::GroupQueueT {
        topic: topic.clone(),
        queue: *queue,
        committed: true,
        offset: *offset,
        visible_offset: state.topics[topic].queues[*queue as usize].next_offset,
        holder: state
            .leases
            .get(&(group.clone(), topic.clone(), *queue))
            .cloned(),
        ..Default::default()
    });
    let queues: Vec<_> = queues.collect();
    let members = state.members.get(&group).cloned().unwrap_or_default();
    if queues.is_empty() && members.is_empty() {
        return Err((ErrorCode::GroupNotFound, group));
    }
    let response = schema::GroupDescribeResponseT {
        version: 1,
        members: Some(members),
        queues: Some(queues),
    };
    reply!(frame, response)
}
