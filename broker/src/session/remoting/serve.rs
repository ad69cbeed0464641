//! Requests of one remoting connection: begun in the order in which they arrive, each finished by a task of its own.

use crate::handler::remoting::send::{self, Need, Prepared};
use crate::handler::remoting::subscription::Want;
use crate::handler::remoting::{Answer, Caller, Origin, Refused, Request, dispatch, pull};
use crate::session::budget::Permit;
use crate::session::guard::{PANICKED, guarded};
use crate::session::link::{AnswerGuard, Link, RequestPermits};
use crate::session::outbox::Piece;
use crate::shard::Shard;
use ringmq_storage_engine::disk::Disk;
use ringmq_storage_engine::runtime::Runtime;
use ringmq_wire::remoting::{
    Command, FRAME_BYTES_MAX, FramePrefix, Header, HeaderError, Language, Serialization,
    request_code, response_code,
};
use std::rc::Rc;

/// One connection's way into its shard.
pub struct Connection<D: Disk, R: Runtime> {
    shard: Shard<D, R>,
    link: Rc<Link<D>>,
    caller: Rc<Caller<D>>,
}

/// What a request came to so far.
pub enum Begun {
    /// Answered, or on its way.
    Done,
    /// Nothing was done yet; to be begun again when the obstacle is gone.
    Later {
        obstacle: Obstacle,
        unused: RequestPermits,
    },
}

/// Why a request cannot be begun now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// The log has no room just now.
    Log,
    /// Something must be made before.
    Need(Need),
}

/// How a request is begun, if not for the first time.
#[derive(Debug, Default)]
pub struct Again {
    /// What was made for it.
    pub prepared: Option<Prepared>,
    /// Nobody waits any more: it is done now, or refused.
    pub last: bool,
}

/// Where an answer goes.
#[derive(Debug, Clone, Copy)]
struct Return {
    code: i32,
    opaque: i32,
    oneway: bool,
    serialization: Serialization,
}

impl<D: Disk, R: Runtime> Connection<D, R> {
    pub fn new(shard: Shard<D, R>, link: Rc<Link<D>>, origin: Origin) -> Self {
        let caller = Rc::new(Caller::new(&shard, Rc::clone(&link), origin));
        Self {
            shard,
            link,
            caller,
        }
    }

    /// The client at the other end.
    pub fn caller(&self) -> &Rc<Caller<D>> {
        &self.caller
    }

    /// Begins whatever the frame asks for. The permits come back if it must wait before.
    pub fn begin(
        &self,
        prefix: &FramePrefix,
        header: &[u8],
        body: &[u8],
        permits: RequestPermits,
        again: &Again,
    ) -> Result<Begun, HeaderError> {
        let header = Header::parse(prefix.serialization(), header)?;
        if header.is_response() {
            self.caller.answered(&header, body);
            return Ok(Begun::Done);
        }
        self.caller.heard(prefix.serialization(), &header);
        let to = Return::of(prefix, &header);
        if self.shard.is_stopping() {
            self.answer(to, self.stopping());
            return Ok(Begun::Done);
        }
        match header.code {
            code if send::is_send(code) => return Ok(self.send(to, &header, body, permits, again)),
            request_code::PULL_MESSAGE | request_code::LITE_PULL_MESSAGE => {
                self.pull(to, &header, permits);
            }
            _ => self.request(to, &header, body, permits),
        }
        Ok(Begun::Done)
    }

    /// Answers a request that could not be prepared.
    pub fn refuse(&self, prefix: &FramePrefix, header: &[u8], refused: Refused) {
        if let Ok(header) = Header::parse(prefix.serialization(), header) {
            let answer = send::with_region(refused.into());
            self.answer(Return::of(prefix, &header), answer);
        }
    }

    fn send(
        &self,
        to: Return,
        header: &Header<'_>,
        body: &[u8],
        permits: RequestPermits,
        again: &Again,
    ) -> Begun {
        let prepared = again.prepared.as_ref();
        let refused = match send::begin(&self.shard, &self.caller, header, body, prepared) {
            Ok(send::Begun::Stored(sent)) => {
                let (store, host) = (self.shard.store().clone(), self.caller.store_host());
                if to.oneway {
                    self.shard
                        .counters()
                        .remoting(to.code, response_code::SUCCESS);
                    return Begun::Done;
                }
                let RequestPermits { bytes, slot } = permits;
                // The message is in the log's own buffer.
                drop(bytes);
                self.finish(to, slot, async move {
                    let durable = store.durable(sent.end).await;
                    let answer = durable.map(|()| sent.answer(host));
                    send::with_region(
                        answer.unwrap_or_else(|stopped| Refused::from(stopped).into()),
                    )
                });
                return Begun::Done;
            }
            Ok(send::Begun::Busy(_)) if !again.last => {
                return Begun::Later {
                    obstacle: Obstacle::Log,
                    unused: permits,
                };
            }
            Ok(send::Begun::Needs(need)) if prepared.is_none() => {
                return Begun::Later {
                    obstacle: Obstacle::Need(need),
                    unused: permits,
                };
            }
            Ok(send::Begun::Busy(error)) => error.into(),
            Ok(send::Begun::Needs(_)) => Refused::new(
                response_code::SYSTEM_ERROR,
                "the topic went while it was made",
            ),
            Err(refused) => refused,
        };
        self.answer(to, send::with_region(refused.into()));
        Begun::Done
    }

    fn pull(&self, to: Return, header: &Header<'_>, permits: RequestPermits) {
        let wait_ms_max = self.shard.limits().fetch_wait_ms_max;
        let want = match Want::parse(header, wait_ms_max) {
            Ok(want) => want,
            Err(error) => return self.answer(to, Refused::from(error).into()),
        };
        let RequestPermits { bytes, slot } = permits;
        drop(bytes);
        let this = self.clone();
        self.shard.runtime().spawn(async move {
            let number = this.caller.number();
            let pulling = pull::handle(&this.shard, &this.caller, &this.link.unsent, slot, want);
            match guarded(&this.shard, number, to.code, pulling).await {
                Some(Ok(Some(pulled))) => this.answer_counted(to, pulled.answer, pulled.permit),
                Some(Ok(None)) => {}
                Some(Err(refused)) => this.answer(to, refused.into()),
                None => this.answer(to, Answer::error(response_code::SYSTEM_ERROR, PANICKED)),
            }
            this.link.request_done();
        });
    }

    /// Answers the first request of a connection that is one too many.
    pub fn refuse_connection(&self, prefix: &FramePrefix, header: &[u8]) {
        let Ok(header) = Header::parse(prefix.serialization(), header) else {
            return;
        };
        self.caller.heard(prefix.serialization(), &header);
        let max = self.shard.limits().connections_max;
        let remark = format!("{} has its {max} connections", self.shard.name());
        self.answer(
            Return::of(prefix, &header),
            Answer::error(response_code::SYSTEM_BUSY, remark),
        );
    }

    fn stopping(&self) -> Answer {
        let remark = format!("{} is stopping", self.shard.name());
        Answer::error(response_code::SERVICE_NOT_AVAILABLE, remark)
    }

    /// A request off the hot path.
    fn request(&self, to: Return, header: &Header<'_>, body: &[u8], permits: RequestPermits) {
        let request = Request {
            command: Command::from_header(header),
            body: body.to_vec(),
        };
        let (shard, caller) = (self.shard.clone(), Rc::clone(&self.caller));
        let RequestPermits { bytes, slot } = permits;
        self.finish(to, slot, async move {
            let answer = dispatch(&shard, &caller, request).await;
            drop(bytes);
            answer
        });
    }

    /// Answers from a task of its own; `held` is what the request counts until then.
    fn finish(
        &self,
        to: Return,
        held: impl Sized + 'static,
        answering: impl Future<Output = Answer> + 'static,
    ) {
        let this = self.clone();
        self.shard.runtime().spawn(async move {
            let number = this.caller.number();
            let answer = guarded(&this.shard, number, to.code, answering).await;
            let answer =
                answer.unwrap_or_else(|| Answer::error(response_code::SYSTEM_ERROR, PANICKED));
            this.answer(to, answer);
            drop(held);
            this.link.request_done();
        });
    }

    fn answer(&self, to: Return, answer: Answer) {
        self.answer_counted(to, answer, None);
    }

    /// `permit`: what counts the body already.
    fn answer_counted(&self, to: Return, answer: Answer, permit: Option<Permit>) {
        self.shard.counters().remoting(to.code, answer.code);
        if to.oneway {
            if answer.code != response_code::SUCCESS {
                tracing::debug!(
                    connection = self.caller.number(),
                    code = to.code,
                    answer = answer.code,
                    "one-way request refused: {}",
                    answer.remark.as_deref().unwrap_or_default()
                );
            }
            return;
        }
        let answer = self.for_client(answer);
        let command = answer.to_command(to.opaque);
        let head = command.encode_head(to.serialization, answer.body.len());
        let mut permit = permit.unwrap_or_else(|| self.link.unsent.force(0));
        permit.resize(head.len() + answer.body.len());
        let guard = AnswerGuard {
            permit,
            fetch: None,
        };
        self.link
            .answer_with(head, vec![Piece::Owned(answer.body)], guard);
    }

    /// Within what clients understand.
    fn for_client(&self, mut answer: Answer) -> Answer {
        // Go clients try another broker on 14, but not on 2.
        if answer.code == response_code::SYSTEM_BUSY && self.caller.language() == Language::Go {
            answer.code = response_code::SERVICE_NOT_AVAILABLE;
        }
        if answer.body.len() > BODY_BYTES_MAX {
            let remark = format!(
                "the answer has {} bytes, more than a frame takes",
                answer.body.len()
            );
            return Answer::error(response_code::SYSTEM_ERROR, remark);
        }
        if let Some(remark) = &mut answer.remark {
            truncate(remark, REMARK_BYTES_MAX);
        }
        answer
    }

    /// The connection is not read any more.
    pub fn closed(&self) {
        self.caller.closed();
        self.link.drain();
        let held = self.shard.held_pulls();
        held.borrow_mut().close(self.caller.number());
        self.shard.connection_closed(self.caller.number());
    }
}

/// Room for the header is left in each frame.
const BODY_BYTES_MAX: usize = FRAME_BYTES_MAX - (128 << 10);
const REMARK_BYTES_MAX: usize = 4 << 10;

fn truncate(text: &mut String, bytes_max: usize) {
    if text.len() > bytes_max {
        let end = (0..=bytes_max)
            .rev()
            .find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or(0));
    }
}

impl Return {
    fn of(prefix: &FramePrefix, header: &Header<'_>) -> Self {
        Self {
            code: header.code,
            opaque: header.opaque,
            oneway: header.is_oneway(),
            serialization: prefix.serialization(),
        }
    }
}

impl<D: Disk, R: Runtime> Clone for Connection<D, R> {
    fn clone(&self) -> Self {
        Self {
            shard: self.shard.clone(),
            link: Rc::clone(&self.link),
            caller: Rc::clone(&self.caller),
        }
    }
}
