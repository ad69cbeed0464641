//! A remoting connection as a state machine: received bytes in, steps out. No IO, no clock of its own.
//!
//! A frame's size is announced ([`Step::Reserve`]) as soon as its eight bytes of prefix are there, before more of it
//! is buffered. Whatever is wrong with a prefix or a header ends the connection: there is no way to find the next
//! frame, or whom to answer.

use crate::limits::Limits;
use crate::session::inbox::Inbox;
use crate::session::native::IDLE_RELEASE_MS;
use crate::session::pace::{Pace, Receiving, Timeout};
use crate::session::source::Receive;
use ringmq_wire::remoting::frame::FRAME_PREFIX_BYTES;
use ringmq_wire::remoting::{FrameError, FramePrefix};

/// What the glue does next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Receive more bytes.
    Read,
    /// Count this many bytes, waiting if need be, then call [`Session::reserved`].
    Reserve(usize),
    /// A whole frame: see [`Session::header`] and [`Session::body`]; then [`Session::consume`].
    Frame(FramePrefix),
    /// Close: this is no frame.
    Broken(FrameError),
}

/// See the module.
#[derive(Debug)]
pub struct Session {
    inbox: Inbox,
    limits: Limits,
    pace: Pace,
    /// The frame at the start, once its prefix is there.
    current: Option<FramePrefix>,
    /// It was announced and counted.
    reserved: bool,
    closed: bool,
}

impl Session {
    /// `inbox`: what was received before the protocol was known.
    pub fn new(limits: Limits, inbox: Inbox, now_ms: u64) -> Self {
        Self {
            inbox,
            limits,
            pace: Pace::new(now_ms),
            current: None,
            reserved: false,
            closed: false,
        }
    }

    /// What to do next. Call again after each step but `Read`.
    pub fn step(&mut self) -> Step {
        if self.closed {
            self.discard(self.inbox.received().len());
            return Step::Read;
        }
        let prefix = match self.current {
            Some(prefix) => prefix,
            None => match FramePrefix::parse(self.inbox.received()) {
                Ok(None) => return Step::Read,
                Ok(Some(prefix)) => *self.current.insert(prefix),
                Err(error) => {
                    self.close();
                    return Step::Broken(error);
                }
            },
        };
        if !self.reserved {
            return Step::Reserve(prefix.frame_bytes());
        }
        if self.inbox.received().len() < prefix.frame_bytes() {
            return Step::Read;
        }
        Step::Frame(prefix)
    }

    /// The header of the frame that the last step gave.
    pub fn header(&self, prefix: &FramePrefix) -> &[u8] {
        &self.inbox.received()[prefix.header_range()]
    }

    /// Its body.
    pub fn body(&self, prefix: &FramePrefix) -> &[u8] {
        &self.inbox.received()[prefix.body_range()]
    }

    /// The frame of the last step is dealt with.
    pub fn consume(&mut self, prefix: &FramePrefix) {
        self.discard(prefix.frame_bytes());
        self.current = None;
        self.reserved = false;
    }

    /// The bytes of the frame are counted.
    pub fn reserved(&mut self, now_ms: u64) {
        self.reserved = true;
        self.pace.go_on(now_ms);
    }

    /// Received bytes are thrown away from here on.
    pub fn close(&mut self) {
        self.closed = true;
    }

    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether the peer let a deadline pass. `owed`: the broker has not answered everything yet, so silence is right.
    pub fn check(&mut self, now_ms: u64, owed: bool) -> Option<Timeout> {
        let received = self.inbox.received().len();
        let ours = self
            .current
            .is_some_and(|prefix| !self.reserved || received >= prefix.frame_bytes());
        let receiving = Receiving {
            needed: self.needed(),
            ours,
            owed,
        };
        self.pace.check(&self.limits, now_ms, receiving)
    }

    /// Gives buffer memory back if nothing is buffered and nothing came for a while.
    pub fn release_idle(&mut self, now_ms: u64) {
        if self.pace.silent_ms(now_ms) > IDLE_RELEASE_MS {
            self.inbox.release_if_empty();
        }
    }

    /// Memory held by the receive buffer.
    pub fn buffer_bytes(&self) -> usize {
        self.inbox.capacity()
    }

    /// Bytes that the frame at the start has in all, as far as they may be buffered.
    fn needed(&self) -> usize {
        match self.current {
            Some(prefix) if self.reserved => prefix.frame_bytes(),
            _ => FRAME_PREFIX_BYTES,
        }
    }

    fn discard(&mut self, count: usize) {
        self.inbox.consume(count);
        self.pace.next(!self.inbox.received().is_empty());
    }
}

impl Receive for Session {
    fn unfilled(&mut self) -> &mut [u8] {
        self.inbox.unfilled(self.needed())
    }

    fn filled(&mut self, count: usize, now_ms: u64) {
        self.inbox.fill(count);
        self.pace.received(now_ms);
    }

    fn discard_received(&mut self) {
        self.discard(self.inbox.received().len());
    }
}
