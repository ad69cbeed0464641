//! A shard in memory, by the broker's rules, and a name server.

use super::{
    Routes,
    server::{After, Handler, Request},
};
use ringmq_wire::{
    batch::{BatchView, place},
    codes::{ErrorCode, Kind},
    native::{self, flags, schema},
};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

/// What happens to the next produce request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing special.
    Fine,
    /// Refused, retryable.
    Busy,
    /// Refused for good.
    Reject,
    /// The connection breaks before it is stored.
    BreakBefore,
    /// It is stored, but the connection breaks before the answer.
    BreakAfter,
    /// It is stored, but never answered.
    Silent,
}

/// One queue.
#[derive(Debug, Default)]
pub struct QueueLog {
    /// Base offset, position and bytes as stored.
    pub batches: Vec<(u64, u64, Vec<u8>)>,
    pub next_offset: u64,
    /// What lies below was removed by retention.
    pub min_offset: u64,
    /// Fetches are told that what they ask for is not there, and nothing else, as by brokers of old.
    pub denies_all: bool,
    /// When a fetch was told so.
    pub denials: Vec<Instant>,
    producers: HashMap<u64, Producer>,
}

impl QueueLog {
    /// What a fetch is told that asks for what is not there; the broker pauses its slot.
    fn deny(&mut self, number: u32, slot: &mut Slot) -> Option<schema::FetchedQueueT> {
        if !self.denies_all && slot.offset >= self.min_offset {
            return None;
        }
        slot.paused = true;
        self.denials.push(Instant::now());
        let (min_offset, visible_offset) = match self.denies_all {
            true => (0, 0),
            false => (self.min_offset, self.next_offset),
        };
        Some(schema::FetchedQueueT {
            slot: number,
            error: ErrorCode::OffsetOutOfRange.number(),
            next_offset: slot.offset.max(min_offset),
            min_offset,
            visible_offset,
            ..Default::default()
        })
    }
}

#[derive(Debug)]
struct Producer {
    epoch: u32,
    next: u32,
    results: VecDeque<(u32, u32, schema::ProduceResponseT)>,
}

#[derive(Debug)]
struct Slot {
    queue: u32,
    offset: u64,
    paused: bool,
}

#[derive(Debug, Clone)]
pub struct Lease {
    pub member: String,
    pub id: u64,
}

/// A shard.
#[derive(Debug)]
pub struct Shard {
    name: String,
    pub record: schema::TopicRecordT,
    pub queues: BTreeMap<u32, QueueLog>,
    pub faults: VecDeque<Fault>,
    pub committed: BTreeMap<(String, u32), u64>,
    pub leases: BTreeMap<(String, u32), Lease>,
    pub members: BTreeMap<String, BTreeMap<String, schema::GroupMemberT>>,
    pub produce_requests: usize,
    pub fetch_requests: usize,
    version: u64,
    position: u64,
    sessions: HashMap<u32, HashMap<u32, Slot>>,
    next_session: u32,
}

impl Shard {
    pub fn new(name: &str, record: &schema::TopicRecordT) -> Self {
        let placement = record.placement.clone().unwrap_or_default();
        let owned = |queue: &u32| placement[*queue as usize % placement.len()] == name;
        let queues = (0..record.queues)
            .filter(owned)
            .map(|q| (q, QueueLog::default()))
            .collect();
        Self {
            name: name.to_owned(),
            record: record.clone(),
            queues,
            faults: VecDeque::new(),
            committed: BTreeMap::new(),
            leases: BTreeMap::new(),
            members: BTreeMap::new(),
            produce_requests: 0,
            fetch_requests: 0,
            version: 1,
            position: 4096,
            sessions: HashMap::new(),
            next_session: 1,
        }
    }

    /// What only memory holds is gone.
    pub fn restart(&mut self) {
        self.sessions.clear();
        self.members.clear();
        self.version += 1000;
    }

    /// Bodies in a queue, in order.
    pub fn bodies(&self, queue: u32) -> Vec<String> {
        let mut bodies = Vec::new();
        for (_, _, batch) in &self.queues[&queue].batches {
            let shared = bytes::Bytes::copy_from_slice(batch);
            let view = BatchView::parse_placed(&shared).expect("it was checked when stored");
            let section = view
                .records_section(&shared)
                .expect("it was checked when stored");
            for record in view.records(&section) {
                let body = record.expect("it was checked when stored").body.to_vec();
                bodies.push(String::from_utf8(body).expect("tests send text"));
            }
        }
        bodies
    }

    /// Damages the stored bytes of a batch.
    pub fn damage(&mut self, queue: u32, batch: usize) {
        let log = self.queues.get_mut(&queue).expect("a queue of this shard");
        let last = log.batches[batch]
            .2
            .last_mut()
            .expect("batches are not empty");
        *last ^= 1;
    }

    fn produce(
        &mut self,
        request: &schema::ProduceRequestT,
        mut batch: Vec<u8>,
    ) -> Result<schema::ProduceResponseT, ErrorCode> {
        let header = *BatchView::parse(&batch)
            .map_err(|_| ErrorCode::BadBatch)?
            .header();
        if request.incarnation != 0 && request.incarnation != self.record.incarnation_low {
            return Err(ErrorCode::StaleIncarnation);
        }
        let log = self
            .queues
            .get_mut(&request.queue)
            .ok_or(ErrorCode::WrongShard)?;
        if header.producer_id != 0 {
            match log.producers.get_mut(&header.producer_id) {
                None if header.base_sequence != 0 => return Err(ErrorCode::UnknownProducer),
                Some(p) if header.producer_epoch < p.epoch => return Err(ErrorCode::StaleEpoch),
                Some(p) if header.producer_epoch > p.epoch && header.base_sequence != 0 => {
                    return Err(ErrorCode::OutOfOrderSequence);
                }
                Some(p) if header.producer_epoch == p.epoch && header.base_sequence != p.next => {
                    let same = (header.base_sequence, header.record_count);
                    let known = p.results.iter().find(|r| (r.0, r.1) == same);
                    return known
                        .map(|r| r.2.clone())
                        .ok_or(ErrorCode::OutOfOrderSequence);
                }
                _ => {}
            }
        }
        let response = schema::ProduceResponseT {
            base_offset: log.next_offset,
            position: self.position,
            store_time_ms: 1_700_000_000_000 + log.next_offset as i64,
            duplicate: false,
        };
        place(&mut batch, 1, response.base_offset, response.store_time_ms);
        self.position += batch.len() as u64 + 8;
        log.next_offset += u64::from(header.record_count);
        log.batches
            .push((response.base_offset, response.position, batch));
        let producer = log.producers.entry(header.producer_id).or_insert(Producer {
            epoch: 0,
            next: 0,
            results: VecDeque::new(),
        });
        producer.epoch = header.producer_epoch;
        producer.next = header.base_sequence.wrapping_add(header.record_count);
        producer
            .results
            .push_back((header.base_sequence, header.record_count, response.clone()));
        if producer.results.len() > 5 {
            producer.results.pop_front();
        }
        Ok(response)
    }

    fn change_session(&mut self, request: &schema::FetchRequestT) -> Result<u32, ErrorCode> {
        let number = if request.session == 0 {
            self.next_session += 1;
            self.sessions.insert(self.next_session, HashMap::new());
            self.next_session
        } else {
            request.session
        };
        let slots = self
            .sessions
            .get_mut(&number)
            .ok_or(ErrorCode::UnknownSession)?;
        for slot in request.remove.iter().flatten() {
            slots.remove(slot).ok_or(ErrorCode::BadSlot)?;
        }
        for add in request.add.iter().flatten() {
            let slot = Slot {
                queue: add.queue,
                offset: add.offset,
                paused: false,
            };
            if slots.insert(add.slot, slot).is_some() {
                return Err(ErrorCode::BadSlot);
            }
        }
        for seek in request.seek.iter().flatten() {
            slots.get_mut(&seek.slot).ok_or(ErrorCode::BadSlot)?.offset = seek.offset;
        }
        for slot in request.pause.iter().flatten() {
            slots.get_mut(slot).ok_or(ErrorCode::BadSlot)?.paused = true;
        }
        for slot in request.resume.iter().flatten() {
            slots.get_mut(slot).ok_or(ErrorCode::BadSlot)?.paused = false;
        }
        if request.close {
            self.sessions.remove(&number);
        }
        Ok(number)
    }

    pub fn fetch_sessions(&self) -> usize {
        self.sessions.len()
    }

    /// One batch a queue at a time, so that order over several fetches is tested.
    fn collect(&mut self, session: u32, max_bytes: usize) -> (Vec<schema::FetchedQueueT>, Vec<u8>) {
        let Some(slots) = self.sessions.get_mut(&session) else {
            return Default::default();
        };
        let mut entries = Vec::new();
        let mut payload = Vec::new();
        for (number, slot) in slots.iter_mut().filter(|(_, slot)| !slot.paused) {
            let Some(log) = self.queues.get_mut(&slot.queue) else {
                continue;
            };
            if let Some(denied) = log.deny(*number, slot) {
                entries.push(denied);
                continue;
            }
            let holds = |(base, _, bytes): &&(u64, u64, Vec<u8>)| {
                let view = BatchView::parse_unverified(bytes).expect("stored by us");
                *base >= slot.offset || view.header().next_offset() > slot.offset
            };
            let Some((_, position, bytes)) = log.batches.iter().find(holds) else {
                continue;
            };
            if !payload.is_empty() && payload.len() + bytes.len() > max_bytes {
                continue;
            }
            let view = BatchView::parse_unverified(bytes).expect("stored by us");
            slot.offset = view.header().next_offset();
            payload.extend_from_slice(bytes);
            entries.push(schema::FetchedQueueT {
                slot: *number,
                next_offset: slot.offset,
                visible_offset: log.next_offset,
                batches: Some(vec![schema::FetchedBatchT {
                    position: *position,
                    length: bytes.len() as u32,
                }]),
                ..Default::default()
            });
        }
        (entries, payload)
    }

    fn join(&mut self, request: &schema::GroupJoinRequestT) -> schema::GroupJoinResponseT {
        let member = schema::GroupMemberT {
            member: request.member.clone(),
            subscriptions: request.subscriptions.clone(),
            ..Default::default()
        };
        let group = self.members.entry(request.group.clone()).or_default();
        if group.insert(request.member.clone(), member).is_none() {
            self.version += 1;
        }
        let members = Some(group.values().cloned().collect());
        schema::GroupJoinResponseT {
            version: self.version,
            members,
        }
    }

    fn acquire(&mut self, request: &schema::LeaseAcquireRequestT) -> schema::LeaseAcquireResponseT {
        let mut leases = Vec::new();
        for queue in request.queues.iter().flatten() {
            self.position += 64;
            let key = (request.group.clone(), *queue);
            let mut told = schema::QueueLeaseT {
                queue: *queue,
                ..Default::default()
            };
            let lease = self.leases.entry(key.clone()).or_insert_with(|| Lease {
                member: request.member.clone(),
                id: self.position,
            });
            if lease.member == request.member {
                told.lease = lease.id;
            } else {
                told.error = ErrorCode::LeaseHeld.number();
                told.holder = Some(lease.member.clone());
            }
            if let Some(offset) = self.committed.get(&key) {
                told.committed = true;
                told.offset = *offset;
            }
            leases.push(told);
        }
        schema::LeaseAcquireResponseT {
            leases: Some(leases),
        }
    }

    fn commit(&mut self, request: &schema::OffsetCommitRequestT) -> schema::OffsetCommitResponseT {
        let mut errors = Vec::new();
        for commit in request.commits.iter().flatten() {
            let key = (request.group.clone(), commit.queue);
            let held = self
                .leases
                .get(&key)
                .is_some_and(|lease| lease.id == commit.lease);
            if held {
                let known = self.committed.entry(key).or_default();
                *known = (*known).max(commit.offset);
            }
            errors.push(if held {
                0
            } else {
                ErrorCode::LeaseLost.number()
            });
        }
        schema::OffsetCommitResponseT {
            errors: Some(errors),
        }
    }

    fn release(&mut self, group: &str, member: &str, queues: Option<&[u32]>) {
        self.leases.retain(|(g, queue), lease| {
            g != group || lease.member != member || queues.is_some_and(|q| !q.contains(queue))
        });
    }

    fn offsets(&self, request: &schema::OffsetQueryRequestT) -> schema::OffsetQueryResponseT {
        let read = |queue: &u32| schema::QueueOffsetT {
            queue: *queue,
            offset: match request.at {
                schema::OffsetAt::Latest => self.queues[queue].next_offset,
                _ => 0,
            },
            error: 0,
        };
        let offsets = request.queues.iter().flatten().map(read).collect();
        schema::OffsetQueryResponseT {
            offsets: Some(offsets),
        }
    }
}

macro_rules! reply {
    ($request:expr, $flags:expr, $table:expr, $payload:expr) => {{
        let payload: &[u8] = $payload;
        let kind = Kind::from_number($request.prefix.kind).expect("the client's own kinds");
        let id = $request.prefix.correlation_id;
        let response = flags::RESPONSE | $flags;
        let mut frame = native::encode(kind, response, id, payload.len(), |b| $table.pack(b));
        frame.extend_from_slice(payload);
        let _ = $request.answers.send(frame);
    }};
}

macro_rules! read {
    ($request:expr, $table:ident) => {
        native::header::<schema::$table<'_>>(&$request.header)
            .expect("a client's header")
            .unpack()
    };
}

fn refuse(request: &Request, code: ErrorCode) {
    let error = schema::ErrorResponseT {
        code: code.number(),
        ..Default::default()
    };
    reply!(request, flags::ERROR, error, &[]);
}

fn hello(request: &Request, server: &str) {
    let hello = schema::HelloResponseT {
        version: 1,
        server: Some(server.to_owned()),
        ..Default::default()
    };
    reply!(request, 0, hello, &[]);
}

/// The shard's handler.
pub fn serve(shard: Arc<Mutex<Shard>>) -> Handler {
    Arc::new(move |request| {
        let mut state = shard.lock().expect("no holder panics");
        let kind = Kind::from_number(request.prefix.kind).expect("the client's own kinds");
        match kind {
            Kind::Hello => hello(&request, &state.name),
            Kind::Ping => reply!(request, 0, schema::PingResponseT::default(), &[]),
            Kind::Produce => return produce(&mut state, &request),
            Kind::Fetch => {
                state.fetch_requests += 1;
                let read = read!(request, FetchRequest);
                match state.change_session(&read) {
                    Err(code) => refuse(&request, code),
                    Ok(session) => drop(tokio::spawn(fetch(
                        Arc::clone(&shard),
                        request,
                        read,
                        session,
                    ))),
                }
            }
            Kind::OffsetQuery => {
                let answer = state.offsets(&read!(request, OffsetQueryRequest));
                reply!(request, 0, answer, &[]);
            }
            Kind::OffsetCommit => {
                let answer = state.commit(&read!(request, OffsetCommitRequest));
                reply!(request, 0, answer, &[]);
            }
            Kind::GroupJoin => {
                let answer = state.join(&read!(request, GroupJoinRequest));
                reply!(request, 0, answer, &[]);
            }
            Kind::GroupHeartbeat => {
                let read = read!(request, GroupHeartbeatRequest);
                let known = state
                    .members
                    .get(&read.group)
                    .is_some_and(|g| g.contains_key(&read.member));
                let answer = schema::GroupHeartbeatResponseT {
                    version: state.version,
                };
                if known {
                    reply!(request, 0, answer, &[])
                } else {
                    refuse(&request, ErrorCode::UnknownMember)
                }
            }
            Kind::GroupLeave => {
                let read = read!(request, GroupLeaveRequest);
                let left = state
                    .members
                    .get_mut(&read.group)
                    .and_then(|g| g.remove(&read.member));
                state.version += u64::from(left.is_some());
                state.release(&read.group, &read.member, None);
                reply!(request, 0, schema::GroupLeaveResponseT::default(), &[]);
            }
            Kind::LeaseAcquire => {
                let answer = state.acquire(&read!(request, LeaseAcquireRequest));
                reply!(request, 0, answer, &[]);
            }
            Kind::LeaseRelease => {
                let read = read!(request, LeaseReleaseRequest);
                state.release(&read.group, &read.member, read.queues.as_deref());
                reply!(request, 0, schema::LeaseReleaseResponseT::default(), &[]);
            }
            _ => refuse(&request, ErrorCode::UnsupportedKind),
        }
        After::GoOn
    })
}

fn produce(state: &mut Shard, request: &Request) -> After {
    state.produce_requests += 1;
    let fault = state.faults.pop_front().unwrap_or(Fault::Fine);
    match fault {
        Fault::Busy => refuse(request, ErrorCode::Busy),
        Fault::Reject => refuse(request, ErrorCode::TopicNotWritable),
        Fault::BreakBefore => return After::Break,
        Fault::Fine | Fault::BreakAfter | Fault::Silent => {
            let read = read!(request, ProduceRequest);
            let answer = state.produce(&read, request.payload.clone());
            match (fault, answer) {
                (Fault::BreakAfter, _) => return After::Break,
                (Fault::Silent, _) => {}
                (_, _) if read.acks == schema::Acks::None => {}
                (_, Ok(answer)) => reply!(request, 0, answer, &[]),
                (_, Err(code)) => refuse(request, code),
            }
        }
    }
    After::GoOn
}

/// The long poll.
async fn fetch(
    shard: Arc<Mutex<Shard>>,
    request: Request,
    read: schema::FetchRequestT,
    session: u32,
) {
    let polls = 1 + read.max_wait_ms / 2;
    for poll in 0..polls {
        let collected = shard
            .lock()
            .expect("no holder panics")
            .collect(session, read.max_bytes as usize);
        let (queues, payload) = collected;
        if !queues.is_empty() || poll + 1 == polls {
            let answer = schema::FetchResponseT {
                session,
                queues: Some(queues),
            };
            reply!(request, 0, answer, &payload);
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

impl Routes {
    fn routes(&self, only: Option<&[String]>) -> Vec<schema::TopicRouteT> {
        let wanted = |topic: &str| only.is_none_or(|only| only.iter().any(|t| t == topic));
        let known = self
            .topics
            .iter()
            .filter(|r| wanted(&r.name))
            .map(|r| schema::TopicRouteT {
                topic: r.name.clone(),
                error: 0,
                record: Some(Box::new(r.clone())),
                shards: Some(self.addresses.iter().map(|a| a.shard.clone()).collect()),
            });
        let missing = only.into_iter().flatten();
        let missing = missing.filter(|t| self.topics.iter().all(|r| r.name != **t));
        let missing = missing.map(|topic| schema::TopicRouteT {
            topic: topic.clone(),
            error: ErrorCode::TopicNotFound.number(),
            ..Default::default()
        });
        known.chain(missing).collect()
    }

    fn watch_answer(&self, correlation_id: u64) -> Vec<u8> {
        let answer = schema::RouteWatchResponseT {
            version: 1,
            routes: Some(self.routes(None)),
            shards: Some(self.addresses.clone()),
        };
        let response = flags::RESPONSE | flags::MORE;
        native::encode(Kind::RouteWatch, response, correlation_id, 0, |b| {
            answer.pack(b)
        })
    }

    /// Tells all watchers everything.
    pub fn push(&mut self) {
        let watchers = std::mem::take(&mut self.watchers);
        for (correlation_id, answers) in watchers {
            if answers.send(self.watch_answer(correlation_id)).is_ok() {
                self.watchers.push((correlation_id, answers));
            }
        }
    }
}

/// The name server's handler.
pub fn serve_routes(routes: Arc<Mutex<Routes>>) -> Handler {
    Arc::new(move |request| {
        let mut routes = routes.lock().expect("no holder panics");
        match Kind::from_number(request.prefix.kind).expect("the client's own kinds") {
            Kind::Hello => hello(&request, native::NAME_SERVER),
            Kind::Ping => reply!(request, 0, schema::PingResponseT::default(), &[]),
            Kind::RouteQuery => {
                let read = read!(request, RouteQueryRequest);
                let answer = schema::RouteQueryResponseT {
                    routes: Some(routes.routes(read.topics.as_deref())),
                    shards: Some(routes.addresses.clone()),
                };
                reply!(request, 0, answer, &[]);
            }
            Kind::RouteWatch => {
                let id = request.prefix.correlation_id;
                let _ = request.answers.send(routes.watch_answer(id));
                routes.watchers.push((id, request.answers));
            }
            Kind::ClusterInfo => {
                let shards = Some(routes.addresses.clone());
                let answer = schema::ClusterInfoResponseT { shards, topics: 1 };
                reply!(request, 0, answer, &[]);
            }
            _ => refuse(&request, ErrorCode::UnsupportedKind),
        }
        After::GoOn
    })
}
