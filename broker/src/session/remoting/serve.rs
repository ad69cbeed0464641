//! Requests of one remoting connection: begun in the order in which they arrive, each finished by a task of its own.

use super::answering::{Return, Sending, send_answer};
use crate::handler::remoting::send::{self, Need, Prepared};
use crate::handler::remoting::sent::Sent;
use crate::handler::remoting::subscription::Want;
use crate::handler::remoting::{Answer, Caller, Origin, Refused, Request, dispatch, pull};
use crate::session::acknowledgements::{Acknowledgement, Awaited};
use crate::session::budget::Permit;
use crate::session::guard::{PANICKED, guarded};
use crate::session::link::{Link, RequestPermits};
use crate::shard::Shard;
use ringmq_storage_engine::disk::Disk;
use ringmq_storage_engine::runtime::Runtime;
use ringmq_wire::remoting::{
    Command, FramePrefix, Header, HeaderError, request_code, response_code,
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
            self.answer(Return::of(prefix, &header), send::refusal(refused));
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
                self.sent(to, sent, permits);
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
        self.answer(to, send::refusal(refused));
        Begun::Done
    }

    /// The messages are in the log; answers once they are durable.
    fn sent(&self, to: Return, sent: Sent, permits: RequestPermits) {
        if to.oneway {
            let counters = self.shard.counters();
            return counters.remoting(to.code, response_code::SUCCESS);
        }
        let RequestPermits { bytes, slot } = permits;
        // The messages are in the log's own buffer.
        drop(bytes);
        let acknowledgement = Acknowledgement {
            end: sent.end,
            link: Rc::clone(&self.link),
            answer: Awaited::Remoting(Sending::new(to, sent, &self.caller)),
            slot,
            bytes: None,
        };
        let waiting = self.shard.acknowledgements();
        waiting.push(&self.shard, acknowledgement);
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
        let counters = self.shard.counters();
        send_answer(counters, &self.caller, &self.link, to, answer, permit);
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

impl<D: Disk, R: Runtime> Clone for Connection<D, R> {
    fn clone(&self) -> Self {
        Self {
            shard: self.shard.clone(),
            link: Rc::clone(&self.link),
            caller: Rc::clone(&self.caller),
        }
    }
}
