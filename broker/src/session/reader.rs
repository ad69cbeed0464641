//! The reading side of a connection: takes steps of the session and does what they say.
//!
//! Generic over where bytes come from, so that the simulator runs the very loop that serves sockets. It stops
//! reading while the connection's or the shard's budget is spent, which the peer feels as back-pressure.

use super::link::{Link, RequestPermits};
use super::native::{Session, Step};
use super::opening::Foreign;
use super::serve::Connection;
use super::source::Receive;
pub use super::source::Source;
use crate::handler::Refusal;
use crate::shard::Shard;
use ringmq_storage_engine::disk::Disk;
use ringmq_storage_engine::runtime::Runtime;
use ringmq_wire::codes::Kind;
use ringmq_wire::native::FramePrefix;
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;

/// Times that a batch asks for room in the log, others being faster, before its producer is told `Busy`.
const LOG_ATTEMPTS: usize = 16;

/// Why a connection is not read any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    ByPeer,
    /// By our decision; the peer may still be sending.
    ByUs,
    /// A RocketMQ client's: its own reader goes on with what was received.
    Remoting,
}

/// See the module.
pub struct Reader<D: Disk, R: Runtime, S: Source> {
    pub shard: Shard<D, R>,
    pub session: Rc<RefCell<Session>>,
    pub link: Rc<Link<D>>,
    pub connection: Connection<D, R>,
    pub source: S,
    /// False answers `Busy` to its Hello.
    pub admitted: bool,
    permits: Option<RequestPermits>,
    /// When bytes came last: the time of all that is done with them without waiting.
    received_ms: Cell<u64>,
}

impl<D: Disk, R: Runtime, S: Source> Reader<D, R, S> {
    pub fn new(
        shard: Shard<D, R>,
        session: Rc<RefCell<Session>>,
        link: Rc<Link<D>>,
        connection: Connection<D, R>,
        source: S,
        admitted: bool,
    ) -> Self {
        Self {
            received_ms: Cell::new(now_ms(&shard)),
            shard,
            session,
            link,
            connection,
            source,
            admitted,
            permits: None,
        }
    }

    /// Until the stream ends or may not be read further, or turns out to be a RocketMQ client's.
    pub async fn run(&mut self) -> Ended {
        loop {
            let step = self.session.borrow_mut().step();
            let goes_on = match step {
                Step::Read => {
                    self.source.breathe().await;
                    match self.receive().await {
                        Ok(0) | Err(_) => return Ended::ByPeer,
                        Ok(_) => true,
                    }
                }
                Step::Reserve(bytes) => {
                    self.reserve(bytes).await;
                    true
                }
                Step::Hello(prefix) => {
                    let mut session = self.session.borrow_mut();
                    let accepted = if self.admitted {
                        self.connection.hello(&prefix, session.header(&prefix))
                    } else {
                        self.connection.refuse(&prefix, &self.full());
                        false
                    };
                    if accepted {
                        session.accepted();
                    }
                    session.consume(&prefix);
                    self.permits = None;
                    accepted
                }
                Step::Request(kind, prefix) => {
                    self.request(kind, &prefix).await;
                    true
                }
                Step::Refuse {
                    kind,
                    correlation_id,
                    refusal,
                    close,
                } => {
                    self.permits = None;
                    self.shard.counters().refusal(refusal.code);
                    if close {
                        self.log_refused(&refusal.message);
                    }
                    self.link.refuse(kind, correlation_id, &refusal);
                    !close
                }
                Step::Remoting => return Ended::Remoting,
                Step::Foreign(foreign) => {
                    self.foreign(foreign);
                    false
                }
            };
            if !goes_on {
                self.session.borrow_mut().close();
                return Ended::ByUs;
            }
        }
    }

    async fn reserve(&mut self, bytes: usize) {
        let (asked_ms, now_ms) = (self.received_ms.get(), || now_ms(&self.shard));
        let (permits, reserved_ms) = self.link.admit(bytes, asked_ms, now_ms).await;
        self.permits = Some(permits);
        self.session.borrow_mut().reserved(reserved_ms);
    }

    async fn request(&mut self, kind: Kind, prefix: &FramePrefix) {
        let Some(permits) = self.permits.take() else {
            // The session announces every frame before it gives it.
            return self.session.borrow_mut().consume(prefix);
        };
        if kind == Kind::Produce {
            self.produce(prefix, permits).await;
        } else {
            let session = self.session.borrow();
            let header = session.header(prefix);
            self.connection.request(kind, prefix, header, permits);
        }
        self.session.borrow_mut().consume(prefix);
    }

    /// Waits while the log has no room, and with it everything behind on this connection: that is back-pressure,
    /// and it keeps the order.
    async fn produce(&self, prefix: &FramePrefix, mut permits: RequestPermits) {
        for attempt in 1..=LOG_ATTEMPTS {
            let busy = {
                let session = self.session.borrow();
                let (header, payload) = (session.header(prefix), session.payload(prefix));
                let patient = attempt < LOG_ATTEMPTS;
                self.connection
                    .produce(prefix, header, payload, permits, patient)
            };
            let Some(unused) = busy else { return };
            permits = unused;
            self.connection.wait_for_log(prefix.payload_bytes()).await;
        }
    }

    /// Receives once into the session; 0 at the end of the stream.
    pub async fn receive(&self) -> io::Result<usize> {
        let count = self.source.receive(&self.session).await?;
        self.received_ms.set(now_ms(&self.shard));
        let mut session = self.session.borrow_mut();
        session.filled(count, self.received_ms.get());
        Ok(count)
    }

    /// Reading is over: long polls are answered, nothing counts as being read.
    pub fn end(&mut self) {
        self.permits = None;
        self.connection.close_fetch_sessions();
        self.link.drain();
    }

    fn full(&self) -> Refusal {
        let max = self.shard.limits().connections_max;
        let message = format!("{} has its {max} connections", self.shard.name());
        Refusal::busy(message, 1000)
    }

    fn log_refused(&self, why: &str) {
        if self.shard.counters().may_log_refused(now_ms(&self.shard)) {
            let peer = self.connection.info().peer;
            tracing::warn!(shard = self.shard.name(), %peer, "connection refused: {why}");
        }
    }

    fn foreign(&self, foreign: Foreign) {
        self.log_refused(foreign.explain());
        if let Some(answer) = foreign.answer() {
            self.link.answer(answer.to_vec());
        }
    }
}

/// Monotonic time in milliseconds, as sessions take it.
pub fn now_ms<D: Disk, R: Runtime>(shard: &Shard<D, R>) -> u64 {
    shard.now().as_millis() as u64
}
