//! What the tasks of one connection share: its answers, its budgets and whether it still lives.

use super::budget::{Budget, Permit};
use super::outbox::{Outbox, Piece};
use crate::handler::Refusal;
use crate::shard::Shard;
use crate::shard::fetch::SessionId;
use ringmq_storage_engine::disk::Disk;
use ringmq_storage_engine::runtime::Runtime;
use ringmq_storage_engine::store::SharedSlice;
use ringmq_wire::codes::Kind;
use ringmq_wire::limits::FETCH_REQUESTS_MAX;
use ringmq_wire::native::{self, flags};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Bytes of an answer's payload.
pub type AnswerPiece<D> = Piece<SharedSlice<D>>;

/// What an answer holds until its last byte is sent.
#[derive(Debug)]
pub struct AnswerGuard {
    /// Unsent bytes, and what they pin.
    pub permit: Permit,
    /// The fetch that is answered then.
    pub fetch: Option<FetchBusy>,
}

/// Requests of one fetch session.
#[derive(Debug)]
struct FetchRequests {
    unanswered: Cell<usize>,
    /// Held by the request that is served; the others wait in order of arrival.
    turn: Budget,
}

/// An unanswered request of a fetch session; makes room for another one when dropped.
#[derive(Debug)]
pub struct FetchBusy(Rc<FetchRequests>);

impl FetchBusy {
    fn claim(requests: Rc<FetchRequests>) -> Option<Self> {
        let unanswered = requests.unanswered.get();
        if unanswered == FETCH_REQUESTS_MAX {
            return None;
        }
        requests.unanswered.set(unanswered + 1);
        Some(Self(requests))
    }

    /// The session's turn, if no earlier request has it.
    pub fn try_turn(&self) -> Option<Permit> {
        self.0.turn.try_acquire(1)
    }

    /// Waits until the earlier requests of the session are served.
    pub async fn turn(&self) -> Permit {
        self.0.turn.acquire(1).await
    }
}

impl Drop for FetchBusy {
    fn drop(&mut self) {
        self.0.unanswered.set(self.0.unanswered.get() - 1);
    }
}

/// What a request counts until it is answered.
#[derive(Debug)]
pub struct RequestPermits {
    /// Its bytes.
    pub bytes: Permit,
    /// Itself, among the connection's unanswered requests.
    pub slot: Permit,
}

/// How a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Open,
    /// Nothing more is read; what is queued or under way is still sent.
    Draining,
    /// Nothing more is sent either.
    Dead,
}

/// See the module.
pub struct Link<D: Disk> {
    /// Bytes of this connection's requests that are read and not answered.
    pub received: Budget,
    /// Bytes of its answers that are not sent.
    pub unsent: Budget,
    /// Its unanswered requests.
    pub requests: Budget,
    outbox: RefCell<Outbox<SharedSlice<D>, AnswerGuard>>,
    writer: Cell<Option<Waker>>,
    phase: Cell<Phase>,
    fetch: RefCell<BTreeMap<SessionId, Rc<FetchRequests>>>,
}

impl<D: Disk> Link<D> {
    pub fn new<R: Runtime>(shard: &Shard<D, R>) -> Self {
        let limits = shard.limits();
        let bytes_max = limits.connection_bytes_max;
        Self {
            received: shard.received_budget().child(bytes_max),
            unsent: shard.unsent_budget().child(bytes_max),
            requests: Budget::new(limits.connection_requests_max),
            outbox: RefCell::default(),
            writer: Cell::new(None),
            phase: Cell::new(Phase::Open),
            fetch: RefCell::default(),
        }
    }

    /// Waits until a request of `bytes` may be received. The time from which it is: `asked_ms` if there was nothing to
    /// wait for, else what `now_ms` says then.
    pub async fn admit(
        &self,
        bytes: usize,
        asked_ms: u64,
        now_ms: impl FnOnce() -> u64,
    ) -> (RequestPermits, u64) {
        if let Some(permits) = self.try_admit(bytes) {
            return (permits, asked_ms);
        }
        // A peer that does not take its answers is not read either. The shard's budget of answers is not waited
        // for: other peers' slowness must not stop a producer.
        self.unsent.room().await;
        let slot = self.requests.acquire(1).await;
        let bytes = self.received.acquire(bytes).await;
        (RequestPermits { bytes, slot }, now_ms())
    }

    /// As [`Self::admit`], if there is nothing to wait for.
    fn try_admit(&self, bytes: usize) -> Option<RequestPermits> {
        if !self.unsent.has_room() {
            return None;
        }
        let slot = self.requests.try_acquire(1)?;
        let bytes = self.received.try_acquire(bytes)?;
        Some(RequestPermits { bytes, slot })
    }

    /// Queues a whole frame.
    pub fn answer(&self, frame: Vec<u8>) {
        if self.phase.get() == Phase::Dead {
            return;
        }
        let permit = self.unsent.force(frame.len());
        let guard = AnswerGuard {
            permit,
            fetch: None,
        };
        self.answer_with(frame, Vec::new(), guard);
    }

    /// Queues a whole small frame that `write` appends to what waits to be sent.
    pub fn answer_written(&self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.phase.get() == Phase::Dead {
            return;
        }
        let guard = |bytes| AnswerGuard {
            permit: self.unsent.force(bytes),
            fetch: None,
        };
        self.outbox.borrow_mut().push_written(write, guard);
        self.wake_writer();
    }

    /// Queues a frame's prefix and header, and its payload.
    pub fn answer_with(&self, head: Vec<u8>, payload: Vec<AnswerPiece<D>>, guard: AnswerGuard) {
        if self.phase.get() == Phase::Dead {
            return;
        }
        self.outbox.borrow_mut().push(head, payload, guard);
        self.wake_writer();
    }

    /// Queues an error.
    pub fn refuse(&self, kind: u16, correlation_id: u64, refusal: &Refusal) {
        self.answer(encode_refusal(kind, correlation_id, refusal));
    }

    /// Whether something waits to be sent.
    pub fn has_unsent(&self) -> bool {
        !self.outbox.borrow().is_empty()
    }

    /// Whether the peer waits for something: an answer under way, or bytes of one.
    pub fn owes(&self) -> bool {
        self.requests.used() > 0 || self.has_unsent()
    }

    /// Bytes ever sent.
    pub fn sent_bytes(&self) -> u64 {
        self.outbox.borrow().sent_bytes()
    }

    /// For the writer.
    pub fn with_outbox<T>(
        &self,
        use_it: impl FnOnce(&mut Outbox<SharedSlice<D>, AnswerGuard>) -> T,
    ) -> T {
        use_it(&mut self.outbox.borrow_mut())
    }

    /// The socket took `count` bytes.
    pub fn sent(&self, count: usize) {
        // Guards wake others when dropped; the outbox must not be borrowed then.
        let done: Vec<AnswerGuard> = self.outbox.borrow_mut().advance(count).collect();
        drop(done);
    }

    /// Ready when there is something to send or the phase is no longer `Open`.
    pub fn poll_work(&self, cx: &Context<'_>) -> Poll<Phase> {
        let phase = self.phase.get();
        if phase == Phase::Dead || self.has_unsent() {
            return Poll::Ready(phase);
        }
        if phase == Phase::Draining && self.requests.used() == 0 {
            return Poll::Ready(phase);
        }
        self.writer.set(Some(cx.waker().clone()));
        Poll::Pending
    }

    pub fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Nothing more is read.
    pub fn drain(&self) {
        self.advance(Phase::Draining);
    }

    /// The connection is gone: unsent answers are dropped.
    pub fn kill(&self) {
        self.advance(Phase::Dead);
        let outbox = std::mem::take(&mut *self.outbox.borrow_mut());
        drop(outbox);
    }

    /// A request is answered: when draining, the last one lets the writer end.
    pub fn request_done(&self) {
        if self.phase.get() != Phase::Open {
            self.wake_writer();
        }
    }

    fn advance(&self, phase: Phase) {
        self.phase.set(self.phase.get().max(phase));
        self.wake_writer();
    }

    fn wake_writer(&self) {
        if let Some(waker) = self.writer.take() {
            waker.wake();
        }
    }

    // ---- fetch sessions ----

    /// Sessions of this connection.
    pub fn fetch_sessions(&self) -> usize {
        self.fetch.borrow().len()
    }

    /// A session that the registry opened belongs to this connection.
    pub fn fetch_opened(&self, session: SessionId) {
        let requests = FetchRequests {
            unanswered: Cell::new(0),
            turn: Budget::new(1),
        };
        self.fetch.borrow_mut().insert(session, Rc::new(requests));
    }

    /// The client closed the session. Requests that hold a place in it are still answered.
    pub fn fetch_closed(&self, session: SessionId) {
        self.fetch.borrow_mut().remove(&session);
    }

    /// Claims a place for one request. `None`: the session is not of this connection. `Some(None)`: it has
    /// [`FETCH_REQUESTS_MAX`] unanswered ones.
    pub fn fetch_claim(&self, session: SessionId) -> Option<Option<FetchBusy>> {
        let requests = Rc::clone(self.fetch.borrow().get(&session)?);
        Some(FetchBusy::claim(requests))
    }

    /// The sessions to close with the connection.
    pub fn fetch_take(&self) -> Vec<SessionId> {
        std::mem::take(&mut *self.fetch.borrow_mut())
            .into_keys()
            .collect()
    }
}

/// An error frame.
pub fn encode_refusal(kind: u16, correlation_id: u64, refusal: &Refusal) -> Vec<u8> {
    let table = refusal.to_response();
    let error_flags = flags::RESPONSE | flags::ERROR;
    // An unknown kind is answered under its own number; `encode` takes only known ones.
    let known = Kind::from_number(kind).unwrap_or(Kind::Ping);
    let mut frame = native::encode(known, error_flags, correlation_id, 0, |b| table.pack(b));
    if known.number() != kind {
        let header = frame.split_off(native::FRAME_PREFIX_BYTES);
        frame = native::encode_prefix(kind, error_flags, correlation_id, &header, 0).to_vec();
        frame.extend_from_slice(&header);
    }
    frame
}
