//! A native connection as a state machine: received bytes in, steps out. No IO, no clock of its own.
//!
//! ```text
//!   Opening --preface--> Hello --accepted--> Open --fatal step--> Closed
//! ```
//! The glue reads into [`Receive::unfilled`], reports with [`Receive::filled`], and takes steps until one asks
//! for more bytes. A frame's size is announced ([`Step::Reserve`]) before more than its header is buffered, so that
//! its bytes are counted before they exist; a payload that will be refused is skipped without being buffered.

use super::inbox::Inbox;
use super::opening::{Foreign, Opening, recognise};
use super::pace::{Pace, Receiving, Timeout};
use super::source::Receive;
use crate::handler::Refusal;
use crate::limits::Limits;
use ringmq_wire::codes::{ErrorCode, Kind};
use ringmq_wire::limits::BATCH_BYTES_MAX;
use ringmq_wire::native::{Decoded, FRAME_PREFIX_BYTES, FrameError, FramePrefix, PREFACE, decode};

/// Largest header table before Hello was accepted.
const HELLO_HEADER_BYTES_MAX: usize = 16 << 10;

/// What the glue does next.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// Receive more bytes.
    Read,
    /// Count this many bytes, waiting if need be, then call [`Session::reserved`].
    Reserve(usize),
    /// The first request, to be answered before anything else; then [`Session::accepted`] or close.
    Hello(FramePrefix),
    /// A whole request: see [`Session::header`] and [`Session::payload`]; then [`Session::consume`].
    Request(Kind, FramePrefix),
    /// Answer with this error. `close`: nothing behind it can be read.
    Refuse {
        kind: u16,
        correlation_id: u64,
        refusal: Refusal,
        close: bool,
    },
    /// A RocketMQ client: its session goes on with [`Session::take_inbox`].
    Remoting,
    /// Another protocol; nothing of it is served.
    Foreign(Foreign),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Opening,
    Hello,
    Open,
    Closed,
}

/// See the module.
#[derive(Debug)]
pub struct Session {
    stage: Stage,
    inbox: Inbox,
    limits: Limits,
    /// Bytes that the frame at the start of the inbox has in all, as far as known.
    needed: usize,
    /// The frame at the start, once its prefix and header are whole and admitted.
    current: Option<(Kind, FramePrefix)>,
    /// The frame at the start was announced and counted.
    reserved: bool,
    /// The glue waits until it may be counted.
    waiting: bool,
    /// Refused payload that is still to come.
    skip: usize,
    pace: Pace,
}

impl Session {
    pub fn new(limits: Limits, now_ms: u64) -> Self {
        Self {
            stage: Stage::Opening,
            inbox: Inbox::default(),
            limits,
            needed: PREFACE.len(),
            current: None,
            reserved: false,
            waiting: false,
            skip: 0,
            pace: Pace::new(now_ms),
        }
    }

    /// What was received, for the session of another protocol: after [`Step::Remoting`].
    pub fn take_inbox(&mut self) -> Inbox {
        self.stage = Stage::Closed;
        std::mem::take(&mut self.inbox)
    }

    /// What to do next. Call again after each step but `Read`.
    pub fn step(&mut self) -> Step {
        match self.stage {
            Stage::Opening => self.open(),
            Stage::Hello | Stage::Open => self.frame(),
            Stage::Closed => {
                self.discard(self.inbox.received().len());
                Step::Read
            }
        }
    }

    /// The header table of the frame that the last step gave.
    pub fn header(&self, prefix: &FramePrefix) -> &[u8] {
        &self.inbox.received()[prefix.header_range()]
    }

    /// Its payload.
    pub fn payload(&self, prefix: &FramePrefix) -> &[u8] {
        &self.inbox.received()[prefix.payload_range()]
    }

    /// The frame of the last step is dealt with.
    pub fn consume(&mut self, prefix: &FramePrefix) {
        self.discard(prefix.frame_bytes);
        self.current = None;
        self.reserved = false;
        self.needed = FRAME_PREFIX_BYTES;
    }

    /// The bytes of the frame are counted.
    pub fn reserved(&mut self, now_ms: u64) {
        self.reserved = true;
        self.waiting = false;
        self.pace.go_on(now_ms);
    }

    /// Hello was answered; requests may follow.
    pub fn accepted(&mut self) {
        self.stage = Stage::Open;
    }

    /// Received bytes are thrown away from here on.
    pub fn close(&mut self) {
        self.stage = Stage::Closed;
    }

    pub fn is_closed(&self) -> bool {
        self.stage == Stage::Closed
    }

    /// Whether the peer let a deadline pass. `owed`: the broker has not answered everything yet, so silence is right.
    pub fn check(&mut self, now_ms: u64, owed: bool) -> Option<Timeout> {
        let whole = self
            .current
            .is_some_and(|(_, prefix)| self.inbox.received().len() >= prefix.frame_bytes);
        let receiving = Receiving {
            needed: self.needed,
            ours: self.waiting || whole,
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

    fn open(&mut self) -> Step {
        match recognise(self.inbox.received()) {
            Opening::Incomplete => {
                // One more byte at a time would do; foreign openings are told by their first few bytes.
                self.needed = self.inbox.received().len() + 1;
                Step::Read
            }
            Opening::Native => {
                self.stage = Stage::Hello;
                self.discard(PREFACE.len());
                self.needed = FRAME_PREFIX_BYTES;
                // The clock of the handshake runs on.
                self.pace.next(true);
                self.frame()
            }
            Opening::Remoting => {
                self.stage = Stage::Closed;
                Step::Remoting
            }
            Opening::Foreign(foreign) => {
                self.stage = Stage::Closed;
                Step::Foreign(foreign)
            }
        }
    }

    fn frame(&mut self) -> Step {
        if self.skip > 0 {
            let here = self.skip.min(self.inbox.received().len());
            let begun_ms = self.pace.begun_ms();
            self.skip -= here;
            self.discard(here);
            if self.skip > 0 {
                self.pace.keep(begun_ms);
                return Step::Read;
            }
            self.needed = FRAME_PREFIX_BYTES;
        }
        if self.inbox.received().is_empty() {
            return Step::Read;
        }
        if let Some((kind, prefix)) = self.current {
            return self.admitted(kind, prefix);
        }
        match decode(self.inbox.received()) {
            Ok(Decoded::Incomplete(needed)) => self.incomplete(needed),
            Ok(Decoded::Ready(prefix)) => self.ready(prefix),
            Err(error) => self.malformed(&error),
        }
    }

    /// The prefix, or the header behind it, is not whole.
    fn incomplete(&mut self, needed: usize) -> Step {
        self.needed = needed;
        let Some(prefix) = self.inbox.received().first_chunk::<FRAME_PREFIX_BYTES>() else {
            return Step::Read;
        };
        let max = if self.stage == Stage::Hello {
            HELLO_HEADER_BYTES_MAX
        } else {
            self.limits.request_header_bytes_max
        };
        let header_bytes = needed - FRAME_PREFIX_BYTES;
        if header_bytes > max {
            let kind = u16::from_le_bytes([prefix[8], prefix[9]]);
            return self.fatal(
                kind,
                format!("header of {header_bytes} bytes is over the limit of {max}"),
            );
        }
        if self.reserved {
            return Step::Read;
        }
        self.waiting = true;
        Step::Reserve(self.announced())
    }

    /// Prefix and header are whole and checked; the payload may not be.
    fn ready(&mut self, prefix: FramePrefix) -> Step {
        if prefix.flags != 0 {
            return self.fatal(prefix.kind, "a request must have no flags".to_owned());
        }
        let Some(kind) = Kind::from_number(prefix.kind) else {
            let message = format!("request kind {} is unknown here", prefix.kind);
            return self.refuse(&prefix, Refusal::new(ErrorCode::UnsupportedKind, message));
        };
        if let Some(refusal) = self.inadmissible(kind, &prefix) {
            return self.refuse(&prefix, refusal);
        }
        self.needed = prefix.frame_bytes;
        self.current = Some((kind, prefix));
        self.admitted(kind, prefix)
    }

    fn admitted(&mut self, kind: Kind, prefix: FramePrefix) -> Step {
        if !self.reserved {
            self.waiting = true;
            return Step::Reserve(prefix.frame_bytes);
        }
        if self.inbox.received().len() < prefix.frame_bytes {
            return Step::Read;
        }
        match (self.stage, kind) {
            (Stage::Hello, Kind::Hello) => Step::Hello(prefix),
            (Stage::Hello, _) => {
                let message = format!("the first request must be Hello, not {}", kind.name());
                let refusal = Refusal::new(ErrorCode::HelloRequired, message);
                self.stage = Stage::Closed;
                Step::Refuse {
                    kind: prefix.kind,
                    correlation_id: prefix.correlation_id,
                    refusal,
                    close: true,
                }
            }
            (_, Kind::Hello) => self.refuse(
                &prefix,
                Refusal::invalid("Hello was answered already on this connection"),
            ),
            _ => Step::Request(kind, prefix),
        }
    }

    fn inadmissible(&self, kind: Kind, prefix: &FramePrefix) -> Option<Refusal> {
        let payload_bytes = prefix.payload_bytes();
        if kind == Kind::Produce {
            let message = format!(
                "batch of {payload_bytes} bytes is over the limit of {BATCH_BYTES_MAX}: send smaller batches"
            );
            return (payload_bytes > BATCH_BYTES_MAX)
                .then(|| Refusal::new(ErrorCode::MessageTooLarge, message));
        }
        (payload_bytes > 0).then(|| {
            Refusal::invalid(format!(
                "a {} request carries no payload, this one has {payload_bytes} bytes",
                kind.name()
            ))
        })
    }

    /// Answers an error and goes on behind the frame, whose payload may still be on its way.
    fn refuse(&mut self, prefix: &FramePrefix, refusal: Refusal) -> Step {
        let here = prefix.frame_bytes.min(self.inbox.received().len());
        self.skip = prefix.frame_bytes - here;
        self.discard(here);
        self.current = None;
        self.reserved = false;
        self.needed = FRAME_PREFIX_BYTES;
        if self.skip > 0 {
            self.needed = prefix.frame_bytes;
            self.pace.next(true);
        }
        Step::Refuse {
            kind: prefix.kind,
            correlation_id: prefix.correlation_id,
            refusal,
            close: false,
        }
    }

    fn malformed(&mut self, error: &FrameError) -> Step {
        let kind = self.inbox.received().get(8..10);
        let kind = kind.map_or(0, |field| u16::from_le_bytes([field[0], field[1]]));
        self.fatal(kind, error.to_string())
    }

    fn fatal(&mut self, kind: u16, message: String) -> Step {
        let correlation_id = self.inbox.received().get(16..FRAME_PREFIX_BYTES);
        let correlation_id = correlation_id
            .and_then(|field| field.try_into().ok())
            .map_or(0, u64::from_le_bytes);
        self.stage = Stage::Closed;
        Step::Refuse {
            kind,
            correlation_id,
            refusal: Refusal::new(ErrorCode::Malformed, message),
            close: true,
        }
    }

    /// Size of the frame whose length field is there and was checked.
    fn announced(&self) -> usize {
        let length = self.inbox.received().first_chunk::<4>();
        length.map_or(0, |field| u32::from_le_bytes(*field) as usize + 4)
    }

    fn discard(&mut self, count: usize) {
        self.inbox.consume(count);
        self.pace.next(!self.inbox.received().is_empty());
    }
}

impl Receive for Session {
    fn unfilled(&mut self) -> &mut [u8] {
        let needed = if self.skip > 0 { 1 } else { self.needed };
        self.inbox.unfilled(needed)
    }

    fn filled(&mut self, count: usize, now_ms: u64) {
        self.inbox.fill(count);
        self.pace.received(now_ms);
    }

    fn discard_received(&mut self) {
        self.discard(self.inbox.received().len());
    }
}

/// Silence after which an idle connection's buffer is given back.
pub(super) const IDLE_RELEASE_MS: u64 = 5_000;
