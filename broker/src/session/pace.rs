//! How long a peer may take: to finish a frame, and to say anything at all. Pure; for every protocol.

use crate::limits::Limits;

/// A peer that must be dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Timeout {
    #[error("nothing was sent for {0} ms")]
    Idle(u64),
    #[error("a frame was not whole after {0} ms")]
    SlowFrame(u64),
}

/// The times of one connection's receiving side.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    last_received_ms: u64,
    /// When the broker was last seen to owe the peer an answer.
    owed_ms: u64,
    /// When the frame at the start of the inbox began, or could be read on.
    begun_ms: Option<u64>,
}

/// What is being received.
#[derive(Debug, Clone, Copy)]
pub struct Receiving {
    /// Bytes of the frame at hand, as far as known.
    pub needed: usize,
    /// It is the broker that is slow: the frame is whole, or waits to be counted.
    pub ours: bool,
    /// The broker has not answered everything yet, so silence is right.
    pub owed: bool,
}

impl Pace {
    /// A connection whose first bytes are expected from now on.
    pub fn new(now_ms: u64) -> Self {
        Self {
            last_received_ms: now_ms,
            owed_ms: now_ms,
            begun_ms: Some(now_ms),
        }
    }

    /// Bytes came.
    pub fn received(&mut self, now_ms: u64) {
        self.last_received_ms = now_ms;
        self.begun_ms.get_or_insert(now_ms);
    }

    /// The frame at hand may be read on: waiting for room is not the peer's fault.
    pub fn go_on(&mut self, now_ms: u64) {
        self.begun_ms = Some(now_ms);
        self.last_received_ms = self.last_received_ms.max(now_ms);
    }

    /// The next frame is at hand; `begun`: some of it is there.
    pub fn next(&mut self, begun: bool) {
        self.begun_ms = begun.then_some(self.last_received_ms);
    }

    /// Since when the frame at hand is received.
    pub fn begun_ms(&self) -> Option<u64> {
        self.begun_ms
    }

    /// As [`Self::next`], for what is read in several pieces that count as one.
    pub fn keep(&mut self, begun_ms: Option<u64>) {
        self.begun_ms = begun_ms;
    }

    /// Milliseconds of silence.
    pub fn silent_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.last_received_ms)
    }

    /// Whether the peer let a deadline pass.
    pub fn check(&mut self, limits: &Limits, now_ms: u64, receiving: Receiving) -> Option<Timeout> {
        if receiving.owed {
            // Silence begins when the last answer has gone, which this sees at the latest one check later.
            self.owed_ms = now_ms;
        }
        if receiving.ours {
            return None;
        }
        if let Some(begun_ms) = self.begun_ms {
            let allowed_ms =
                limits.frame_ms + receiving.needed as u64 * 1000 / limits.slow_bytes_per_s;
            let spent_ms = now_ms.saturating_sub(begun_ms);
            return (spent_ms > allowed_ms).then_some(Timeout::SlowFrame(spent_ms));
        }
        let silent_ms = now_ms.saturating_sub(self.last_received_ms.max(self.owed_ms));
        (!receiving.owed && silent_ms > limits.idle_ms).then_some(Timeout::Idle(silent_ms))
    }
}
