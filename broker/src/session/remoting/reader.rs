//! The reading side of a remoting connection: takes steps of the session and does what they say.
//!
//! As natively it is generic over where bytes come from, and stops reading while a budget is spent.

use super::frames::{Session, Step};
use super::serve::{Again, Begun, Connection, Obstacle};
use crate::handler::remoting::{Refused, send};
use crate::session::link::{Link, RequestPermits};
use crate::session::reader::now_ms;
use crate::session::source::{Receive, Source};
use crate::shard::Shard;
use ringmq_storage_engine::disk::Disk;
use ringmq_storage_engine::runtime::Runtime;
use ringmq_wire::remoting::FramePrefix;
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;

/// Times that a request is begun anew after what it waited for came, before its client is told so.
const ATTEMPTS: usize = 16;

/// See the module.
pub struct Reader<D: Disk, R: Runtime, S: Source> {
    pub shard: Shard<D, R>,
    pub session: Rc<RefCell<Session>>,
    pub link: Rc<Link<D>>,
    pub connection: Connection<D, R>,
    pub source: S,
    /// False: the first request is answered with "busy", and that is all.
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

    /// Until the stream ends or may not be read further; true: by our decision.
    pub async fn run(&mut self) -> bool {
        loop {
            let step = self.session.borrow_mut().step();
            let goes_on = match step {
                Step::Read => {
                    self.source.breathe().await;
                    match self.receive().await {
                        Ok(0) | Err(_) => return false,
                        Ok(_) => true,
                    }
                }
                Step::Reserve(bytes) => {
                    self.reserve(bytes).await;
                    true
                }
                Step::Frame(prefix) => self.frame(&prefix).await,
                Step::Broken(error) => {
                    self.log_closed(&error.to_string());
                    false
                }
            };
            if !goes_on {
                self.session.borrow_mut().close();
                return true;
            }
        }
    }

    async fn reserve(&mut self, bytes: usize) {
        let (asked_ms, now_ms) = (self.received_ms.get(), || now_ms(&self.shard));
        let (permits, reserved_ms) = self.link.admit(bytes, asked_ms, now_ms).await;
        self.permits = Some(permits);
        self.session.borrow_mut().reserved(reserved_ms);
    }

    /// False: the connection cannot be read on.
    async fn frame(&mut self, prefix: &FramePrefix) -> bool {
        let Some(permits) = self.permits.take() else {
            // The session announces every frame before it gives it.
            self.session.borrow_mut().consume(prefix);
            return true;
        };
        let goes_on = self.begin(prefix, permits).await;
        self.session.borrow_mut().consume(prefix);
        goes_on && self.admitted
    }

    /// Begins the request, waiting where it must wait to keep its place: everything behind it on this connection
    /// waits with it.
    async fn begin(&self, prefix: &FramePrefix, mut permits: RequestPermits) -> bool {
        let mut again = Again::default();
        for attempt in 1.. {
            // What it needs is made at most once, so the last attempt but that one ends with an answer.
            again.last = attempt >= ATTEMPTS;
            let begun = {
                let session = self.session.borrow();
                let (header, body) = (session.header(prefix), session.body(prefix));
                if !self.admitted {
                    self.connection.refuse_connection(prefix, header);
                    return false;
                }
                self.connection.begin(prefix, header, body, permits, &again)
            };
            match begun {
                Ok(Begun::Done) => return true,
                Ok(Begun::Later { obstacle, unused }) => {
                    permits = unused;
                    if let Err(refused) = self.remove(prefix, obstacle, &mut again).await {
                        let session = self.session.borrow();
                        let header = session.header(prefix);
                        self.connection.refuse(prefix, header, refused);
                        return true;
                    }
                }
                Err(error) => {
                    self.log_closed(&error.to_string());
                    return false;
                }
            }
        }
        true
    }

    async fn remove(
        &self,
        prefix: &FramePrefix,
        obstacle: Obstacle,
        again: &mut Again,
    ) -> Result<(), Refused> {
        match obstacle {
            Obstacle::Log => {
                // A stopped log says so to the append as well.
                let _ = self.shard.store().wait_room(prefix.body_bytes()).await;
            }
            Obstacle::Need(need) => {
                again.prepared = Some(send::prepare(&self.shard, need).await?);
            }
        }
        Ok(())
    }

    /// Receives once into the session; 0 at the end of the stream.
    pub async fn receive(&self) -> io::Result<usize> {
        let count = self.source.receive(&self.session).await?;
        self.received_ms.set(now_ms(&self.shard));
        let mut session = self.session.borrow_mut();
        session.filled(count, self.received_ms.get());
        Ok(count)
    }

    /// Reading is over: what waits for messages or for the client is let go.
    pub fn end(&mut self) {
        self.permits = None;
        self.connection.closed();
        self.link.drain();
    }

    fn log_closed(&self, why: &str) {
        if self.shard.counters().may_log_refused(now_ms(&self.shard)) {
            let peer = self.connection.caller().peer();
            tracing::warn!(shard = self.shard.name(), %peer, "RocketMQ connection closed: {why}");
        }
    }
}
