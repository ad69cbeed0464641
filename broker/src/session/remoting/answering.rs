//! Answers to remoting requests: within what clients understand, counted, and on their way to the socket.

use crate::handler::Refusal;
use crate::handler::remoting::sent::Sent;
use crate::handler::remoting::{Answer, Caller, Refused, send};
use crate::session::budget::Permit;
use crate::session::link::{AnswerGuard, Link};
use crate::session::outbox::Piece;
use crate::shard::counters::Counters;
use ringmq_storage_engine::disk::Disk;
use ringmq_wire::remoting::{
    FRAME_BYTES_MAX, FramePrefix, Header, Language, Serialization, response_code,
};
use std::rc::Rc;

/// Room for the header is left in each frame.
const BODY_BYTES_MAX: usize = FRAME_BYTES_MAX - (128 << 10);
const REMARK_BYTES_MAX: usize = 4 << 10;

/// Where an answer goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Return {
    pub(super) code: i32,
    opaque: i32,
    pub(super) oneway: bool,
    serialization: Serialization,
}

impl Return {
    pub(super) fn of(prefix: &FramePrefix, header: &Header<'_>) -> Self {
        Self {
            code: header.code,
            opaque: header.opaque,
            oneway: header.is_oneway(),
            serialization: prefix.serialization(),
        }
    }
}

/// A send whose messages are in the log and not yet durable.
pub struct Sending<D: Disk> {
    to: Return,
    sent: Sent,
    caller: Rc<Caller<D>>,
}

impl<D: Disk> Sending<D> {
    pub(super) fn new(to: Return, sent: Sent, caller: &Rc<Caller<D>>) -> Self {
        let caller = Rc::clone(caller);
        Self { to, sent, caller }
    }

    /// They are durable.
    pub fn stored(&self, link: &Link<D>, counters: &Counters) {
        counters.remoting(self.to.code, response_code::SUCCESS);
        let (form, opaque) = (self.to.serialization, self.to.opaque);
        let host = self.caller.store_host();
        link.answer_written(|out| self.sent.write_answer(out, form, opaque, host));
    }

    /// They never will be.
    pub fn refused(&self, link: &Link<D>, counters: &Counters, refusal: &Refusal) {
        let answer = send::refusal(Refused::from(refusal.clone()));
        send_answer(counters, &self.caller, link, self.to, answer, None);
    }
}

/// `permit`: what counts the body already.
pub(super) fn send_answer<D: Disk>(
    counters: &Counters,
    caller: &Caller<D>,
    link: &Link<D>,
    to: Return,
    answer: Answer,
    permit: Option<Permit>,
) {
    counters.remoting(to.code, answer.code);
    if to.oneway {
        if answer.code != response_code::SUCCESS {
            tracing::debug!(
                connection = caller.number(),
                code = to.code,
                answer = answer.code,
                "one-way request refused: {}",
                answer.remark.as_deref().unwrap_or_default()
            );
        }
        return;
    }
    let answer = for_client(caller.language(), answer);
    let (command, body) = answer.into_command(to.opaque);
    let head = command.encode_head(to.serialization, body.len());
    let mut permit = permit.unwrap_or_else(|| link.unsent.force(0));
    permit.resize(head.len() + body.len());
    let guard = AnswerGuard {
        permit,
        fetch: None,
    };
    link.answer_with(head, vec![Piece::Owned(body)], guard);
}

/// Within what clients understand.
fn for_client(language: Language, mut answer: Answer) -> Answer {
    // Go clients try another broker on 14, but not on 2.
    if answer.code == response_code::SYSTEM_BUSY && language == Language::Go {
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

fn truncate(text: &mut String, bytes_max: usize) {
    if text.len() > bytes_max {
        let end = (0..=bytes_max)
            .rev()
            .find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or(0));
    }
}
