//! One queue as its consumer sees it: what is buffered, what is delivered, what is done.
//!
//! A queue has a *generation*: it rises on a seek and when the queue is lost. Answers to messages of an earlier generation
//! count for nothing. What the broker sends is matched to a *place* in the same way.

use super::{Queue, QueuePosition, Received, acks::AckTracker, decode::Decoded, inbox::Inbox};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, Weak, atomic::AtomicBool},
    time::{Duration, Instant},
};

/// Shared by the consumer, its tasks, and the messages it delivered.
#[derive(Debug)]
pub(crate) struct QueueState {
    pub(super) queue: Queue,
    /// The shard that owns it.
    pub(super) shard: Arc<str>,
    pub(super) incarnation: (u64, u64),
    pub(super) nack_delay: Duration,
    unacked_max: usize,
    /// Without commits nobody needs to answer.
    tracks_acks: bool,
    inbox: Weak<Inbox>,
    /// It is in the inbox's list of queues with messages.
    pub(super) is_listed: AtomicBool,
    inner: Mutex<Inner>,
}

/// What changes.
#[derive(Debug)]
pub(super) struct Inner {
    generation: u64,
    /// Rises whenever what was asked for is no longer what is wanted next: on a seek and on a pause.
    place: u64,
    /// Messages are delivered; false from the moment of revocation on.
    live: bool,
    paused: bool,
    /// Something is wrong with the queue; only a seek goes on.
    halted: bool,
    /// Delivery waits for acknowledgements.
    stalled: bool,
    tracker: AckTracker,
    chunks: VecDeque<Chunk>,
    buffered_bytes: usize,
    /// The offset to ask the broker for next.
    next_fetch: u64,
    committed: u64,
    pub(super) lease: u64,
    /// Nobody else may have the queue before this moment. `None`: nobody else can have it.
    valid_until: Option<Instant>,
    visible: Option<u64>,
}

/// Messages that came together.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) messages: VecDeque<Buffered>,
    pub(super) bytes: usize,
    /// Behind the last offset that it covers.
    pub(super) end: u64,
}

/// A message that waits for the reader.
#[derive(Debug)]
pub(super) struct Buffered {
    pub(super) decoded: Decoded,
    pub(super) position: u64,
    pub(super) store_time_ms: i64,
}

/// What becomes of a refused message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Redelivery {
    Now,
    /// The queue is paused, or its lease in doubt.
    Later,
    /// The message is done, or its queue went.
    Never,
}

/// How a queue is set up.
#[derive(Debug)]
pub(super) struct QueueSetup {
    pub(super) queue: Queue,
    pub(super) shard: Arc<str>,
    pub(super) incarnation: (u64, u64),
    pub(super) start: u64,
    pub(super) committed: u64,
    pub(super) lease: u64,
    pub(super) valid_until: Option<Instant>,
    pub(super) tracks_acks: bool,
}

impl QueueState {
    pub(super) fn new(
        setup: QueueSetup,
        inbox: &Arc<Inbox>,
        nack_delay: Duration,
        unacked_max: usize,
    ) -> Arc<Self> {
        Arc::new(Self {
            queue: setup.queue,
            shard: setup.shard,
            incarnation: setup.incarnation,
            nack_delay,
            unacked_max,
            tracks_acks: setup.tracks_acks,
            inbox: Arc::downgrade(inbox),
            is_listed: AtomicBool::new(false),
            inner: Mutex::new(Inner {
                generation: 0,
                place: 0,
                live: true,
                paused: false,
                halted: false,
                stalled: false,
                tracker: AckTracker::new(setup.start),
                chunks: VecDeque::new(),
                buffered_bytes: 0,
                next_fetch: setup.start,
                committed: setup.committed,
                lease: setup.lease,
                valid_until: setup.valid_until,
                visible: None,
            }),
        })
    }

    pub(super) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder panics")
    }

    /// The next message for the reader, and whether there are more.
    pub(super) fn take(self: &Arc<Self>) -> Option<(Received, bool)> {
        let mut inner = self.inner();
        if !inner.may_deliver() {
            return None;
        }
        if self.tracks_acks && inner.tracker.held() >= self.unacked_max {
            if !inner.stalled {
                tracing::warn!(queue = %self.queue, unacked = self.unacked_max,
                    "delivery waits: too many messages are neither acknowledged nor refused");
            }
            inner.stalled = true;
            return None;
        }
        let chunk = inner.chunks.front_mut()?;
        let message = chunk
            .messages
            .pop_front()
            .expect("empty chunks are not kept");
        let emptied = chunk
            .messages
            .is_empty()
            .then_some((chunk.bytes, chunk.end));
        inner.tracker.deliver(message.decoded.offset);
        if !self.tracks_acks {
            inner.tracker.ack(message.decoded.offset);
        }
        if let Some((bytes, end)) = emptied {
            inner.chunks.pop_front();
            inner.tracker.pass_over(end);
            inner.buffered_bytes -= bytes;
            if let Some(inbox) = self.inbox.upgrade() {
                inbox.budget.release(bytes);
                inbox.drained.notify_waiters();
            }
        }
        let more = !inner.chunks.is_empty();
        let received = Received {
            state: Arc::clone(self),
            decoded: message.decoded,
            position: message.position,
            store_time_ms: message.store_time_ms,
            attempt: 1,
            generation: inner.generation,
        };
        Some((received, more))
    }

    /// Adds what the broker sent for `place`; tells whether there are messages to read in it.
    pub(super) fn buffer(&self, place: u64, chunk: Chunk, visible: u64) -> bool {
        let mut inner = self.inner();
        if inner.place != place || !inner.live {
            return false;
        }
        inner.visible = Some(visible);
        inner.next_fetch = inner.next_fetch.max(chunk.end);
        if chunk.messages.is_empty() {
            let end = chunk.end;
            match inner.chunks.back_mut() {
                Some(last) => last.end = last.end.max(end),
                None => inner.tracker.pass_over(end),
            }
            return false;
        }
        inner.buffered_bytes += chunk.bytes;
        if let Some(inbox) = self.inbox.upgrade() {
            inbox.budget.take(chunk.bytes);
        }
        inner.chunks.push_back(chunk);
        true
    }

    pub(super) fn ack(&self, generation: u64, offset: u64) {
        self.answer(generation, |tracker| tracker.ack(offset));
    }

    pub(super) fn ack_through(&self, generation: u64, offset: u64) {
        self.answer(generation, |tracker| tracker.ack_through(offset));
    }

    fn answer(&self, generation: u64, change: impl FnOnce(&mut AckTracker)) {
        let mut inner = self.inner();
        if inner.generation != generation {
            return;
        }
        change(&mut inner.tracker);
        // Not at once: a reader at the bound would be woken for every single message.
        if inner.stalled && inner.tracker.held() <= self.unacked_max / 2 {
            inner.stalled = false;
            drop(inner);
            self.wake_reader();
        }
    }

    fn wake_reader(&self) {
        if let Some(inbox) = self.inbox.upgrade() {
            inbox.wake();
        }
    }

    /// Delivers a refused message again, unless its queue went or it is done by then.
    pub(super) fn redeliver(self: &Arc<Self>, message: Received, delay: Duration) {
        let state = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(delay.max(Duration::from_millis(1))).await;
                match state.redelivery(&message) {
                    Redelivery::Now => break,
                    Redelivery::Later => {}
                    Redelivery::Never => return,
                }
            }
            if let Some(inbox) = state.inbox.upgrade() {
                inbox.redeliver(message);
            }
        });
    }

    /// Whether the message may (still) be delivered again.
    pub(super) fn redelivery(&self, message: &Received) -> Redelivery {
        let inner = self.inner();
        let open = !self.tracks_acks || inner.tracker.is_open(message.decoded.offset);
        if inner.generation != message.generation || !inner.live || !open {
            Redelivery::Never
        } else if inner.may_deliver() {
            Redelivery::Now
        } else {
            Redelivery::Later
        }
    }

    /// Goes on elsewhere.
    pub(super) fn seek(&self, offset: u64) {
        let mut inner = self.inner();
        self.clear(&mut inner);
        inner.generation += 1;
        inner.place += 1;
        inner.halted = false;
        inner.stalled = false;
        inner.tracker = AckTracker::new(offset);
        inner.next_fetch = offset;
    }

    /// Drops what is buffered; it will be fetched again.
    fn clear(&self, inner: &mut Inner) {
        let bytes = std::mem::take(&mut inner.buffered_bytes);
        inner.chunks.clear();
        if let Some(inbox) = self.inbox.upgrade() {
            inbox.budget.release(bytes);
            inbox.drained.notify_waiters();
        }
    }

    /// Paused queues hold no memory that others could use. Messages delivered before can still be answered.
    pub(super) fn pause(&self) {
        let mut inner = self.inner();
        inner.paused = true;
        inner.place += 1;
        self.clear(&mut inner);
        inner.next_fetch = inner.tracker.delivered_end();
    }

    pub(super) fn resume(&self) {
        self.inner().paused = false;
    }

    /// Nothing is delivered any more until a seek.
    pub(super) fn halt(&self) {
        self.inner().halted = true;
    }

    /// Stops delivering; answers to delivered messages still count.
    pub(super) fn stop_delivering(&self) {
        let mut inner = self.inner();
        inner.live = false;
        self.clear(&mut inner);
    }

    /// The end: nothing counts any more.
    pub(super) fn retire(&self) {
        self.inner().generation += 1;
    }

    /// A heartbeat was answered. Not for a lease that ran out in the meantime: the shard may have given the queue away
    /// before it took the heartbeat, which then renewed nothing.
    pub(super) fn renew(&self, until: Instant) {
        let mut inner = self.inner();
        if inner.valid_until.is_some_and(|held| held > Instant::now()) {
            inner.valid_until = Some(until);
        }
    }

    /// Whether the lease may have gone to another member.
    pub(super) fn is_lapsed(&self, now: Instant) -> bool {
        self.inner().valid_until.is_some_and(|until| until <= now)
    }

    /// What to commit, if it is news.
    pub(super) fn to_commit(&self) -> Option<(u64, u64)> {
        let inner = self.inner();
        let frontier = inner.tracker.frontier();
        (frontier > inner.committed).then_some((frontier, inner.lease))
    }

    pub(super) fn committed(&self, offset: u64) {
        let mut inner = self.inner();
        inner.committed = inner.committed.max(offset);
    }

    /// Where the fetcher should be: the place's number, its offset, and whether to be served.
    pub(super) fn fetch_place(&self) -> (u64, u64, bool) {
        let inner = self.inner();
        (
            inner.place,
            inner.next_fetch,
            inner.live && !inner.paused && !inner.halted,
        )
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        self.inner().buffered_bytes
    }

    pub(super) fn position(&self) -> QueuePosition {
        let inner = self.inner();
        QueuePosition {
            queue: self.queue.clone(),
            next_offset: inner.tracker.delivered_end(),
            acked_offset: inner.tracker.frontier(),
            visible_offset: inner.visible,
            paused: inner.paused,
        }
    }
}

impl Inner {
    fn may_deliver(&self) -> bool {
        let ours = self.valid_until.is_none_or(|until| until > Instant::now());
        self.live && !self.paused && !self.halted && ours
    }
}
