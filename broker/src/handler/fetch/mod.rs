//! Fetch: long poll over a session's queues.
//!
//! [`claim`] finds the session's place for the request. When its turn comes, [`begin`] applies what the request changes,
//! without an await, so that requests of a session count in the order in which they arrived. [`Fetch::run`] then serves
//! the session's ready slots in turns until the answer is full, and waits for more if it is not. The next request of the
//! session is served while this answer is on its way, so that neither side waits for the other. Bytes are
//! counted before they are read; whoever holds bytes never waits for more of the budget, so readers cannot block
//! each other.

mod answer;
mod changes;

pub use answer::Gathered;
pub use changes::{Claim, begin, claim};

use super::Refusal;
use super::filter::{Filtered, filter};
use crate::limits::Limits;
use crate::session::budget::{Budget, Permit};
use crate::session::link::FetchBusy;
use crate::session::outbox::Piece;
use crate::shard::Shard;
use crate::shard::fetch::{Outcome, SessionId, Turn};
use futures_lite::future::{or, poll_fn};
use ringmq_storage_engine::disk::Disk;
use ringmq_storage_engine::runtime::Runtime;
use ringmq_storage_engine::store::{ReadBatches, ReadLimits};
use ringmq_wire::native::schema::FetchRequest;
use std::time::Duration;

/// Turns after which other tasks get theirs.
const TURNS_UNTIL_YIELD: usize = 8;

/// A fetch whose changes are applied.
pub struct Fetch<D: Disk> {
    pub session: SessionId,
    /// Counts as unanswered until the answer is sent.
    pub busy: FetchBusy,
    /// Keeps the next request of the session waiting until this one is served.
    turn: Permit,
    wants: Wants,
    /// Errors of slots that could not be changed.
    gathered: Gathered<D>,
}

/// What the request asks for, within the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wants {
    max_wait: Duration,
    min_bytes: usize,
    max_bytes: usize,
    max_bytes_queue: usize,
}

impl Wants {
    fn new(request: &FetchRequest<'_>, limits: &Limits) -> Self {
        let max_bytes = (request.max_bytes() as usize).clamp(1, limits.fetch_bytes_max);
        let max_bytes_queue = match request.max_bytes_queue() as usize {
            0 => max_bytes,
            bytes => bytes.min(max_bytes),
        };
        let wait_ms = request.max_wait_ms().min(limits.fetch_wait_ms_max);
        Self {
            max_wait: Duration::from_millis(u64::from(wait_ms)),
            min_bytes: (request.min_bytes() as usize).clamp(1, max_bytes),
            max_bytes,
            max_bytes_queue,
        }
    }
}

/// What one step of serving came to.
enum Served {
    /// Something was read, or a slot failed.
    Turn,
    /// No slot is ready.
    Nothing,
    /// No more fits into the answer, or into the budget.
    Full,
}

impl<D: Disk> Fetch<D> {
    /// Serves until the answer is full enough or the wait is over. `unsent`: the connection's budget; the permit
    /// returned counts what the answer pins.
    pub async fn run<R: Runtime>(
        mut self,
        shard: &Shard<D, R>,
        unsent: &Budget,
    ) -> (Gathered<D>, Permit, SessionId, FetchBusy) {
        let deadline = shard.now() + self.wants.max_wait;
        let mut permit = None;
        let mut turns = 0;
        loop {
            match self.serve(shard, unsent, &mut permit, deadline).await {
                Served::Full => break,
                Served::Turn => {
                    turns += 1;
                    if turns % TURNS_UNTIL_YIELD == 0 {
                        shard.runtime().yield_now().await;
                    }
                }
                Served::Nothing => {
                    let enough = self.gathered.bytes() >= self.wants.min_bytes;
                    if enough || self.gathered.has_error() || shard.is_stopping() {
                        break;
                    }
                    if !self.wait(shard, deadline).await {
                        break;
                    }
                }
            }
        }
        let permit = permit.unwrap_or_else(|| unsent.force(0));
        drop(self.turn);
        (self.gathered, permit, self.session, self.busy)
    }

    /// Waits for a ready slot; false once the time is over.
    async fn wait<R: Runtime>(&self, shard: &Shard<D, R>, deadline: Duration) -> bool {
        let left = deadline.saturating_sub(shard.now());
        if left.is_zero() {
            return false;
        }
        let ready = poll_fn(|cx| shard.with_fetch(|fetch| fetch.poll_ready(self.session, cx)));
        let woken = async {
            ready.await;
            // A closed session is ready for ever: nobody waits for the answer.
            shard.with_fetch(|fetch| fetch.is_open(self.session))
        };
        let timed_out = async {
            shard.runtime().sleep(left).await;
            false
        };
        or(woken, timed_out).await
    }

    /// One turn of one slot.
    async fn serve<R: Runtime>(
        &mut self,
        shard: &Shard<D, R>,
        unsent: &Budget,
        permit: &mut Option<Permit>,
        deadline: Duration,
    ) -> Served {
        let room = self.wants.max_bytes.saturating_sub(self.gathered.bytes());
        if room == 0 {
            return Served::Full;
        }
        let Some(turn) = shard.with_fetch(|fetch| fetch.next_turn(self.session)) else {
            return Served::Nothing;
        };
        let max_bytes = room.min(self.wants.max_bytes_queue);
        let Some(mut read_permit) = count(
            shard,
            unsent,
            self.gathered.bytes() > 0,
            max_bytes,
            deadline,
        )
        .await
        else {
            self.finish(shard, &turn, Outcome::Unserved);
            return Served::Full;
        };
        let limits = ReadLimits {
            max_bytes,
            ..ReadLimits::default()
        };
        let subscription = &turn.subscription;
        let read = shard
            .store()
            .read(subscription.queue, subscription.offset, limits)
            .await;
        let read = match read {
            Ok(read) => read,
            Err(error) => {
                self.finish(shard, &turn, Outcome::Failed);
                let (store, queue) = (shard.store(), subscription.queue);
                let kept = store.min_offset(queue).unwrap_or_default()
                    ..store.visible_offset(queue).unwrap_or_default();
                let offset = subscription.offset;
                self.gathered
                    .fail(turn.slot, offset, kept, &Refusal::from(error));
                return Served::Turn;
            }
        };
        let pieces = matching(&turn, &read);
        let bytes: usize = pieces.iter().map(|(_, piece)| piece.len()).sum();
        if bytes > room && self.gathered.bytes() > 0 {
            // A batch larger than what is left: it comes first next time.
            self.finish(shard, &turn, Outcome::Unserved);
            return Served::Full;
        }
        read_permit.resize(bytes);
        match permit {
            Some(permit) => {
                permit.resize(permit.amount() + bytes);
                drop(read_permit);
            }
            None => *permit = Some(read_permit),
        }
        let outcome = Outcome::Progress {
            next: read.next_offset,
            visible: shard.visible_offset(subscription.queue),
        };
        self.finish(shard, &turn, outcome);
        self.gathered.add(turn.slot, &read, pieces);
        Served::Turn
    }

    fn finish<R: Runtime>(&self, shard: &Shard<D, R>, turn: &Turn, outcome: Outcome) {
        shard.with_fetch(|fetch| fetch.finish(self.session, turn.slot, outcome));
    }
}

/// Counts `bytes` before they are read. Waits only while nothing is held, and not beyond the deadline of a long
/// poll; a fetch that does not wait at all gets its chance at once.
async fn count<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    unsent: &Budget,
    holds: bool,
    bytes: usize,
    deadline: Duration,
) -> Option<Permit> {
    if let Some(permit) = unsent.try_acquire(bytes) {
        return Some(permit);
    }
    let left = deadline.saturating_sub(shard.now());
    if holds || left.is_zero() {
        return None;
    }
    let acquired = async { Some(unsent.acquire(bytes).await) };
    let timed_out = async {
        shard.runtime().sleep(left).await;
        None
    };
    or(acquired, timed_out).await
}

/// The batches to send, each with its position.
fn matching<D: Disk>(turn: &Turn, read: &ReadBatches<D>) -> Vec<(u64, answer::FetchPiece<D>)> {
    let stored = read.batches.iter();
    let piece = |batch: &ringmq_storage_engine::store::StoredBatch<D>| {
        let Some(wanted) = &turn.subscription.tags else {
            return Some(Piece::Shared(batch.bytes.clone()));
        };
        match filter(&batch.bytes, wanted) {
            Ok(Filtered::Nothing) => None,
            Ok(Filtered::Some(sparse)) => Some(Piece::Owned(sparse)),
            // What cannot be read is never dropped silently: the consumer gets it and reports it.
            Ok(Filtered::All) | Err(_) => Some(Piece::Shared(batch.bytes.clone())),
        }
    };
    stored
        .filter_map(|batch| Some((batch.position.0, piece(batch)?)))
        .collect()
}
