//! Requests of one connection: begun in the order in which they arrive, each finished by a task of its own.
//!
//! What must keep the order (a produce's decision and append, a fetch's changes of its session) is done here,
//! before the next request is looked at. The rest waits in tasks, so a slow request holds up nobody.

use super::acknowledgements::{Acknowledgement, Awaited};
use super::budget::Permit;
use super::guard::{PANICKED, guarded};
use super::link::{AnswerGuard, Link, RequestPermits};
use crate::handler::{self, Refusal, SessionInfo, fetch, hello, message_query, produce};
use crate::shard::Shard;
use ringmq_storage_engine::disk::Disk;
use ringmq_storage_engine::runtime::Runtime;
use ringmq_wire::codes::{ErrorCode, Kind};
use ringmq_wire::native::{self, FramePrefix, flags, schema};
use std::net::SocketAddr;
use std::rc::Rc;

/// One connection's way into its shard.
pub struct Connection<D: Disk, R: Runtime> {
    shard: Shard<D, R>,
    link: Rc<Link<D>>,
    info: Rc<SessionInfo>,
}

/// An answer frame that is not to be sent after all: one-way requests.
const NO_ANSWER: Vec<u8> = Vec::new();

impl<D: Disk, R: Runtime> Connection<D, R> {
    pub fn new(shard: Shard<D, R>, link: Rc<Link<D>>, number: u64, peer: SocketAddr) -> Self {
        let info = SessionInfo {
            connection: number,
            client_id: String::new(),
            peer,
        };
        Self {
            shard,
            link,
            info: Rc::new(info),
        }
    }

    pub fn info(&self) -> &SessionInfo {
        &self.info
    }

    /// Answers the first request; false: refused, close.
    pub fn hello(&mut self, prefix: &FramePrefix, header: &[u8]) -> bool {
        self.shard.counters().request(Kind::Hello);
        let request = native::header::<schema::HelloRequest>(header).map_err(Refusal::from);
        let answer = request.and_then(|request| {
            let response = hello::negotiate(self.shard.settings(), &request)?;
            Ok((request.client_id().to_owned(), response))
        });
        match answer {
            Ok((client_id, response)) => {
                self.info = Rc::new(SessionInfo {
                    client_id,
                    ..(*self.info).clone()
                });
                let id = prefix.correlation_id;
                let frame =
                    native::encode(Kind::Hello, flags::RESPONSE, id, 0, |b| response.pack(b));
                self.link.answer(frame);
                true
            }
            Err(refusal) => {
                self.refuse(prefix, &refusal);
                false
            }
        }
    }

    /// Answers with an error.
    pub fn refuse(&self, prefix: &FramePrefix, refusal: &Refusal) {
        self.shard.counters().refusal(refusal.code);
        self.link
            .refuse(prefix.kind, prefix.correlation_id, refusal);
    }

    /// Begins a produce. The permits come back when the log has no room just now and `patient` says that the caller
    /// waits with [`Self::wait_for_log`] and asks again; nothing was done then.
    pub fn produce(
        &self,
        prefix: &FramePrefix,
        header: &[u8],
        payload: &[u8],
        permits: RequestPermits,
        patient: bool,
    ) -> Option<RequestPermits> {
        if self.shard.is_stopping() {
            self.refuse(prefix, &self.stopping());
            return None;
        }
        let request = match native::header::<schema::ProduceRequest>(header) {
            Ok(request) => request,
            Err(error) => {
                self.refuse(prefix, &error.into());
                return None;
            }
        };
        match produce::begin(&self.shard, &request, payload) {
            Ok(begun) => self.begun(prefix, &request, begun, permits),
            Err(refusal) if patient && refusal.code == ErrorCode::Busy => return Some(permits),
            // It says that the batch is stored, so that must be so after a power cut too.
            Err(refusal) if refusal.code == ErrorCode::DuplicateForgotten => {
                let store = self.shard.store().clone();
                let end = store.frontiers().appended;
                self.finish(prefix, permits, async move {
                    store.durable(end).await?;
                    Err(refusal)
                });
            }
            Err(refusal) => self.not_begun(prefix, &request, &refusal),
        }
        None
    }

    fn stopping(&self) -> Refusal {
        let message = format!("{} is stopping", self.shard.name());
        Refusal::new(ErrorCode::Stopping, message)
    }

    /// Begins any request but a produce.
    pub fn request(
        &self,
        kind: Kind,
        prefix: &FramePrefix,
        header: &[u8],
        permits: RequestPermits,
    ) {
        self.shard.counters().request(kind);
        let begun = if self.shard.is_stopping() {
            Err(self.stopping())
        } else {
            match kind {
                Kind::Fetch => return self.fetch(prefix, header, permits),
                Kind::MessageQuery => return self.message_query(prefix, header, permits),
                _ => {
                    let id = prefix.correlation_id;
                    handler::dispatch(&self.shard, &self.info, kind, id, header)
                }
            }
        };
        match begun {
            Ok(answering) => self.finish(prefix, permits, answering),
            Err(refusal) => self.refuse(prefix, &refusal),
        }
    }

    /// The batch is in the log; answers once it is as safe as was asked for.
    fn begun(
        &self,
        prefix: &FramePrefix,
        request: &schema::ProduceRequest<'_>,
        begun: produce::Begun,
        permits: RequestPermits,
    ) {
        self.shard.counters().request(Kind::Produce);
        if request.acks() == schema::Acks::None {
            return;
        }
        let (correlation_id, response) = (prefix.correlation_id, begun.response);
        let Some(end) = begun.durable else {
            let frame = native::encode(Kind::Produce, flags::RESPONSE, correlation_id, 0, |b| {
                response.pack(b)
            });
            return self.link.answer(frame);
        };
        let RequestPermits { bytes, slot } = permits;
        let acknowledgement = Acknowledgement {
            end,
            link: Rc::clone(&self.link),
            answer: Awaited::Native {
                correlation_id,
                response,
            },
            slot,
            bytes: Some(bytes),
        };
        self.shard
            .acknowledgements()
            .push(&self.shard, acknowledgement);
    }

    fn not_begun(
        &self,
        prefix: &FramePrefix,
        request: &schema::ProduceRequest<'_>,
        refusal: &Refusal,
    ) {
        self.shard.counters().request(Kind::Produce);
        if request.acks() != schema::Acks::None {
            return self.refuse(prefix, refusal);
        }
        self.shard.counters().refusal(refusal.code);
        tracing::debug!(
            connection = self.info.connection,
            client = self.info.client_id,
            topic = request.topic(),
            code = refusal.code.name(),
            "one-way batch refused: {}",
            refusal.message
        );
    }

    fn fetch(&self, prefix: &FramePrefix, header: &[u8], permits: RequestPermits) {
        let request = match native::header::<schema::FetchRequest>(header) {
            Ok(request) => request,
            Err(error) => return self.refuse(prefix, &error.into()),
        };
        let claim = match fetch::claim(&self.shard, &self.link, &request) {
            Ok(claim) => claim,
            Err(refusal) => return self.refuse(prefix, &refusal),
        };
        // A long poll's own bytes are read; only its place among the requests stays taken.
        let RequestPermits { bytes, slot } = permits;
        let begun = match claim.try_turn() {
            Some(turn) => Ok(fetch::begin(&self.shard, &self.link, claim, turn, &request)),
            None => Err((claim, header.to_vec(), bytes)),
        };
        let (shard, link) = (self.shard.clone(), Rc::clone(&self.link));
        let id = prefix.correlation_id;
        self.spawn(prefix, slot, async move {
            let begun = match begun {
                Ok(begun) => begun,
                Err((claim, header, _bytes)) => {
                    let turn = claim.turn().await;
                    let request = native::header::<schema::FetchRequest>(&header)?;
                    fetch::begin(&shard, &link, claim, turn, &request)
                }
            };
            let (gathered, mut permit, session, busy) = begun.run(&shard, &link.unsent).await;
            let (messages, bytes) = (gathered.messages(), gathered.bytes());
            shard.count_read(messages, bytes as u64);
            let (response, payload) = gathered.finish(session.0);
            let head = native::encode(Kind::Fetch, flags::RESPONSE, id, bytes, |b| {
                response.pack(b)
            });
            permit.resize(bytes + head.len());
            let guard = AnswerGuard {
                permit,
                fetch: Some(busy),
            };
            link.answer_with(head, payload, guard);
            Ok(NO_ANSWER)
        });
    }

    fn message_query(&self, prefix: &FramePrefix, header: &[u8], permits: RequestPermits) {
        let request = match native::header::<schema::MessageQueryRequest>(header) {
            Ok(request) => request.unpack(),
            Err(error) => return self.refuse(prefix, &error.into()),
        };
        let (shard, link) = (self.shard.clone(), Rc::clone(&self.link));
        let id = prefix.correlation_id;
        self.finish(prefix, permits, async move {
            let found = message_query::handle(&shard, &link.unsent, request).await?;
            let bytes = found.payload.iter().map(|piece| piece.len()).sum();
            let kind = Kind::MessageQuery;
            let head = native::encode(kind, flags::RESPONSE, id, bytes, |b| found.response.pack(b));
            let mut permit = found.permit;
            permit.resize(bytes + head.len());
            let guard = AnswerGuard {
                permit,
                fetch: None,
            };
            link.answer_with(head, found.payload, guard);
            Ok(NO_ANSWER)
        });
    }

    /// Finishes a request in a task of its own.
    fn finish(
        &self,
        prefix: &FramePrefix,
        permits: RequestPermits,
        answering: impl Future<Output = Result<Vec<u8>, Refusal>> + 'static,
    ) {
        let RequestPermits { bytes, slot } = permits;
        self.spawn(prefix, slot, async move {
            let answer = answering.await;
            drop(bytes);
            answer
        });
    }

    fn spawn(
        &self,
        prefix: &FramePrefix,
        slot: Permit,
        answering: impl Future<Output = Result<Vec<u8>, Refusal>> + 'static,
    ) {
        let (shard, link) = (self.shard.clone(), Rc::clone(&self.link));
        let info = Rc::clone(&self.info);
        let (kind, id) = (prefix.kind, prefix.correlation_id);
        self.shard.runtime().spawn(async move {
            let request = format_args!("{kind} of {}", info.client_id);
            let answer = guarded(&shard, info.connection, request, answering).await;
            match answer {
                Some(Ok(frame)) if frame.is_empty() => {}
                Some(Ok(frame)) => link.answer(frame),
                Some(Err(refusal)) => {
                    shard.counters().refusal(refusal.code);
                    link.refuse(kind, id, &refusal);
                }
                None => {
                    let refusal = Refusal::new(ErrorCode::Internal, PANICKED);
                    link.refuse(kind, id, &refusal);
                }
            }
            drop(slot);
            link.request_done();
        });
    }

    /// Waits until the log takes a batch of that size, so that a full log, or one that waits for its next segment,
    /// slows producers down instead of refusing them.
    pub async fn wait_for_log(&self, batch_bytes: usize) {
        // A stopped log says so to the append as well.
        let _ = self.shard.store().wait_room(batch_bytes).await;
    }

    /// The connection is gone.
    pub fn closed(&self) {
        self.link.kill();
        self.close_fetch_sessions();
    }

    /// Nothing more is read: long polls are answered now.
    pub fn close_fetch_sessions(&self) {
        for session in self.link.fetch_take() {
            self.shard.with_fetch(|fetch| fetch.close(session));
        }
    }
}
