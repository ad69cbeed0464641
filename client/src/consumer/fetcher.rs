//! One fetch session at one shard: tells the broker which queues are wanted, and buffers what comes.
//!
//! The session lives with its connection; after a reconnect every queue is registered again at the place it had
//! reached, so nothing is lost or delivered twice.

use super::{
    decode,
    queue::{Buffered, Chunk, QueueState},
    shared::Shared,
};
use crate::{
    error::{Error, ErrorKind, Refusal},
    transport::{Backoff, Connection},
};
use bytes::Bytes;
use ringmq_wire::{codes::ErrorCode, native::schema};
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

/// How long the broker holds a fetch for which it has nothing. Changes to the session wait as long, so it is short.
const IDLE_WAIT_MS: u32 = 500;
/// The same while a queue waits only for its reader.
const DRAIN_WAIT_MS: u32 = 5;
const FETCH_BYTES_MIN: usize = 4 << 10;
/// Least that one queue may have buffered, if the whole prefetch is not smaller.
const QUEUE_BYTES_MIN: usize = 128 << 10;
const FETCH_BYTES_MAX: usize = 4 << 20;
/// Beyond the broker's wait: the connection is then given up on.
const ANSWER_PATIENCE: Duration = Duration::from_secs(15);
/// A queue that failed is asked for again after this long.
const QUEUE_RETRY: Duration = Duration::from_millis(500);

/// What the session knows of a queue.
#[derive(Debug)]
struct Slot {
    state: Arc<QueueState>,
    /// As of the last request.
    place: u64,
    /// The broker serves it.
    active: bool,
    /// It failed and rests.
    not_before: Option<Instant>,
}

/// Everything one fetcher's task owns.
#[derive(Debug)]
pub(super) struct Fetcher {
    shared: Arc<Shared>,
    shard: Arc<str>,
    slots: HashMap<u32, Slot>,
    by_queue: HashMap<usize, u32>,
    next_slot: u32,
    session: u32,
}

impl Fetcher {
    pub(super) fn new(shared: Arc<Shared>, shard: Arc<str>) -> Self {
        let (slots, by_queue) = (HashMap::new(), HashMap::new());
        Self {
            shared,
            shard,
            slots,
            by_queue,
            next_slot: 0,
            session: 0,
        }
    }

    /// Runs until the consumer closes.
    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::new(20, 1000);
        while !self.shared.is_closing() {
            let deadline = Instant::now() + Duration::from_secs(5);
            let result = match self.shared.core.shard(&self.shard, deadline).await {
                Ok(connection) => {
                    self.start_over();
                    self.fetch_until_failure(&connection, &mut backoff).await
                }
                Err(error) => error,
            };
            // A broken connection is routine; a broker that refuses to be read from is not.
            match result.kind() {
                ErrorKind::Refused(_) => {
                    tracing::warn!(shard = %self.shard, error = %result, "fetching was refused; trying again");
                }
                _ => tracing::debug!(shard = %self.shard, error = %result, "fetch session lost"),
            }
            tokio::time::sleep(backoff.next_random()).await;
        }
    }

    fn start_over(&mut self) {
        self.slots.clear();
        self.by_queue.clear();
        self.session = 0;
    }

    async fn fetch_until_failure(
        &mut self,
        connection: &Connection,
        backoff: &mut Backoff,
    ) -> Error {
        let mut changes = self.shared.assigned_changes();
        let mut request = schema::FetchRequestT::default();
        self.sync_slots(&mut request);
        loop {
            if changes.has_changed().unwrap_or(false) {
                changes.mark_unchanged();
                self.sync_slots(&mut request);
            }
            if self.shared.is_closing() {
                self.end_session(connection).await;
                return Error::closed("fetch", &*self.shard);
            }
            let draining = self.sync_places(&mut request);
            if !self.slots.values().any(|slot| slot.active) && is_unchanged(&request) {
                self.wait_for_work(&mut changes, draining).await;
                continue;
            }
            let reserved = self.fetch_bytes();
            self.shared.inbox.budget.acquire(reserved).await;
            request.session = self.session;
            request.max_wait_ms = match () {
                () if self.slots.is_empty() => 0,
                () if draining => DRAIN_WAIT_MS,
                () => IDLE_WAIT_MS,
            };
            request.min_bytes = 1;
            request.max_bytes = reserved as u32;
            request.max_bytes_queue = self.queue_bytes() as u32;
            let places = self.places();
            let patience = ANSWER_PATIENCE + Duration::from_millis(u64::from(request.max_wait_ms));
            let answer = connection.call_with_payload(&request, patience).await;
            self.shared.inbox.budget.release(reserved);
            match answer {
                Ok((response, payload)) => {
                    backoff.reset();
                    self.session = response.session;
                    request = schema::FetchRequestT::default();
                    self.take_in(response, payload, &places);
                }
                Err(error) => return error,
            }
        }
    }

    /// The broker bounds the sessions of a connection, and this one may outlive many consumers. If it cannot be told,
    /// the connection is gone, and the session with it.
    async fn end_session(&self, connection: &Connection) {
        if self.session == 0 {
            return;
        }
        let request = schema::FetchRequestT {
            session: self.session,
            close: true,
            ..Default::default()
        };
        if let Err(error) = connection
            .call_with_payload(&request, ANSWER_PATIENCE)
            .await
        {
            tracing::debug!(shard = %self.shard, %error, "fetch session not closed");
        }
    }

    /// Nothing is served: waits until that may change.
    async fn wait_for_work(&self, changes: &mut tokio::sync::watch::Receiver<u64>, draining: bool) {
        let drained = self.shared.inbox.drained.notified();
        let longest = if draining {
            QUEUE_RETRY / 5
        } else {
            Duration::from_secs(5)
        };
        tokio::select! {
            _ = changes.changed() => changes.mark_changed(),
            () = drained => {}
            () = tokio::time::sleep(longest) => {}
        }
    }

    /// Bytes to ask for: a share of the prefetch, so that every shard's long poll has its own.
    fn fetch_bytes(&self) -> usize {
        let share = self.shared.inbox.budget.limit() / (2 * self.shared.shard_count().max(1));
        share.clamp(FETCH_BYTES_MIN, FETCH_BYTES_MAX)
    }

    /// Bytes that one queue may have buffered: a reader that is held up in one queue must not starve the others.
    fn queue_bytes(&self) -> usize {
        let share = self.shared.inbox.budget.limit() / self.shared.assigned_count().max(1);
        share.max(QUEUE_BYTES_MIN.min(self.shared.inbox.budget.limit()))
    }

    fn places(&self) -> HashMap<u32, u64> {
        self.slots
            .iter()
            .map(|(slot, known)| (*slot, known.place))
            .collect()
    }

    /// Adds and removes queues.
    fn sync_slots(&mut self, request: &mut schema::FetchRequestT) {
        let wanted = self.shared.assigned_to(&self.shard);
        let kept: HashMap<_, _> = wanted.iter().map(|state| (address(state), ())).collect();
        let gone = self
            .slots
            .iter()
            .filter(|(_, s)| !kept.contains_key(&address(&s.state)));
        let gone: Vec<u32> = gone.map(|(slot, _)| *slot).collect();
        for slot in gone {
            if let Some(gone) = self.slots.remove(&slot) {
                self.by_queue.remove(&address(&gone.state));
            }
            request.remove.get_or_insert_default().push(slot);
        }
        for state in wanted {
            if self.by_queue.contains_key(&address(&state)) {
                continue;
            }
            let slot = self.next_slot;
            self.next_slot += 1;
            let (place, offset, _) = state.fetch_place();
            request.add.get_or_insert_default().push(schema::FetchAddT {
                slot,
                topic: state.queue.topic.to_string(),
                queue: state.queue.queue,
                offset,
                tags: Some(self.shared.settings.tags.clone()).filter(|tags| !tags.is_empty()),
                group: self.shared.group().map(str::to_owned),
            });
            self.by_queue.insert(address(&state), slot);
            self.slots.insert(
                slot,
                Slot {
                    state,
                    place,
                    active: true,
                    not_before: None,
                },
            );
        }
    }

    /// Seeks, pauses and resumes; says whether a queue waits only for its reader or for a retry.
    fn sync_places(&mut self, request: &mut schema::FetchRequestT) -> bool {
        let now = Instant::now();
        let full = self.queue_bytes();
        let mut waiting = false;
        for (number, slot) in &mut self.slots {
            let (place, offset, wanted) = slot.state.fetch_place();
            let buffered = slot.state.buffered_bytes();
            // Between half full and full it stays as it is.
            let room = if slot.active {
                buffered < full
            } else {
                buffered <= full / 2
            };
            let rested = slot.not_before.is_none_or(|at| at <= now);
            let serve = wanted && room && rested;
            waiting |= wanted && !serve;
            if slot.place != place || (serve && !slot.active) {
                // What was buffered may have been dropped meanwhile, so resuming says where.
                slot.place = place;
                let seek = schema::FetchSeekT {
                    slot: *number,
                    offset,
                };
                request.seek.get_or_insert_default().push(seek);
            }
            if serve != slot.active {
                let list = if serve {
                    &mut request.resume
                } else {
                    &mut request.pause
                };
                list.get_or_insert_default().push(*number);
                slot.active = serve;
                slot.not_before = slot.not_before.filter(|_| !serve);
            }
        }
        waiting
    }

    fn take_in(
        &mut self,
        response: schema::FetchResponseT,
        mut payload: Bytes,
        places: &HashMap<u32, u64>,
    ) {
        for entry in response.queues.unwrap_or_default() {
            let batches = entry.batches.as_deref().unwrap_or_default();
            let length = batches
                .iter()
                .map(|batch| batch.length as usize)
                .sum::<usize>();
            if length > payload.len() {
                let cause = "a fetch brought fewer bytes than announced".to_owned();
                self.shared.inbox.fail(Error::new(
                    "fetch",
                    &*self.shard,
                    ErrorKind::Protocol(cause),
                ));
                return;
            }
            let bytes = payload.split_to(length);
            let place = places.get(&entry.slot).copied();
            if let (Some(slot), Some(place)) = (self.slots.get_mut(&entry.slot), place) {
                take_in_queue(&self.shared, slot, place, &entry, bytes);
            }
        }
    }
}

/// Tells one assignment of a queue from the next.
fn address(state: &Arc<QueueState>) -> usize {
    Arc::as_ptr(state) as usize
}

fn is_unchanged(request: &schema::FetchRequestT) -> bool {
    request.add.is_none()
        && request.remove.is_none()
        && request.seek.is_none()
        && request.pause.is_none()
        && request.resume.is_none()
}

fn take_in_queue(
    shared: &Shared,
    slot: &mut Slot,
    place: u64,
    entry: &schema::FetchedQueueT,
    mut bytes: Bytes,
) {
    let state = Arc::clone(&slot.state);
    for batch in entry.batches.as_deref().unwrap_or_default() {
        let batch_bytes = bytes.split_to(batch.length as usize);
        match chunk(shared, &state, batch.position, &batch_bytes) {
            Ok(chunk) => {
                if state.buffer(place, chunk, entry.visible_offset) {
                    shared.inbox.ready(&state);
                }
            }
            Err(cause) => {
                let (_, offset, _) = state.fetch_place();
                state.halt();
                let kind = ErrorKind::Damaged { offset, cause };
                return shared
                    .inbox
                    .fail(Error::new("fetch from", state.queue.to_string(), kind));
            }
        }
    }
    if entry.error != 0 {
        return take_in_error(shared, slot, entry);
    }
    // Messages that a filter left out were passed over too.
    let passed = Chunk {
        messages: Default::default(),
        bytes: 0,
        end: entry.next_offset,
    };
    state.buffer(place, passed, entry.visible_offset);
}

/// The broker paused the slot.
fn take_in_error(shared: &Shared, slot: &mut Slot, entry: &schema::FetchedQueueT) {
    slot.active = false;
    let state = &slot.state;
    let refusal = Refusal {
        next_offset: entry.next_offset,
        ..Refusal::from_number(entry.error, entry.message.clone().unwrap_or_default())
    };
    let code = refusal.code;
    let error = Error::new("fetch from", state.queue.to_string(), refusal);
    match code {
        Some(ErrorCode::OffsetOutOfRange) => {
            let (_, wanted, _) = state.fetch_place();
            let behind = entry.visible_offset.max(entry.min_offset);
            // A broker that does not tell where the queue begins and ends tells the nearest offset.
            let nearest = if behind == 0 {
                entry.next_offset
            } else {
                wanted.clamp(entry.min_offset, behind)
            };
            if nearest == wanted {
                slot.not_before = Some(Instant::now() + QUEUE_RETRY);
            }
            tracing::warn!(queue = %state.queue, wanted, nearest,
                "the next message is no longer (or not yet) there; going on at the nearest one");
            state.seek(nearest);
        }
        Some(
            ErrorCode::WrongShard
            | ErrorCode::TopicNotFound
            | ErrorCode::QueueNotFound
            | ErrorCode::StaleIncarnation,
        ) => {
            slot.not_before = Some(Instant::now() + QUEUE_RETRY);
            shared.ask_for_route(&state.queue.topic);
        }
        Some(code) if code.is_retryable() => slot.not_before = Some(Instant::now() + QUEUE_RETRY),
        _ => {
            state.halt();
            shared.inbox.fail(error);
        }
    }
}

/// The messages of a batch that this consumer wants.
fn chunk(
    shared: &Shared,
    state: &QueueState,
    position: u64,
    bytes: &Bytes,
) -> Result<Chunk, String> {
    let batch = decode::batch(bytes).map_err(|error| error.to_string())?;
    let (header, batch_bytes) = (batch.header, batch.bytes);
    let (_, from, _) = state.fetch_place();
    let tags = &shared.settings.tags;
    // The broker filters by the hash of the tag; other tags may share it.
    let wanted = |decoded: &decode::Decoded| {
        let tag = decoded.tag().unwrap_or_default();
        decoded.offset >= from && (tags.is_empty() || tags.iter().any(|wanted| wanted == tag))
    };
    let messages = batch
        .messages
        .into_iter()
        .filter(wanted)
        .map(|decoded| Buffered {
            position: position + (decoded.offset - header.base_offset),
            store_time_ms: header.store_time_ms,
            decoded,
        });
    Ok(Chunk {
        messages: messages.collect(),
        bytes: batch_bytes,
        end: header.next_offset(),
    })
}
