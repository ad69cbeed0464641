//! What a shard counts about its sessions.

use ringmq_wire::codes::{ErrorCode, Kind};
use ringmq_wire::remoting::response_code;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

/// Counters since the start of the process, and a gauge. One executor: no atomics.
#[derive(Debug, Default)]
pub struct Counters {
    /// Requests answered or refused, by kind number.
    requests: RefCell<BTreeMap<u16, u64>>,
    refusals: RefCell<BTreeMap<u16, u64>>,
    /// Remoting requests, by code and the code of their answer.
    remoting: RefCell<BTreeMap<(i32, i32), u64>>,
    pub connections: Cell<usize>,
    pub connections_total: Cell<u64>,
    pub connections_refused: Cell<u64>,
    pub produced_messages: Cell<u64>,
    pub produced_bytes: Cell<u64>,
    pub fetched_messages: Cell<u64>,
    pub fetched_bytes: Cell<u64>,
    /// Messages stored to be delivered later.
    pub delayed_parked: Cell<u64>,
    /// Of those, delivered.
    pub delayed_delivered: Cell<u64>,
    /// Of those, dropped because their topic was deleted.
    pub delayed_gone: Cell<u64>,
    /// Of those, lost to damage.
    pub delayed_lost: Cell<u64>,
    /// The minute of the last log line about a refused connection, and how many there were in it.
    refused_lines: Cell<(u64, u32)>,
    /// Panics caught at the boundary of a session; each is a defect.
    pub panics: Cell<u64>,
}

/// Lines a minute about connections that were refused for what they sent.
const REFUSED_LINES_PER_MINUTE: u32 = 60;

/// Adds to a counter.
pub fn count(counter: &Cell<u64>, by: u64) {
    counter.set(counter.get().wrapping_add(by));
}

impl Counters {
    pub fn request(&self, kind: Kind) {
        *self.requests.borrow_mut().entry(kind.number()).or_default() += 1;
    }

    pub fn refusal(&self, code: ErrorCode) {
        *self.refusals.borrow_mut().entry(code.number()).or_default() += 1;
    }

    /// A remoting request was answered with that code.
    pub fn remoting(&self, request: i32, answer: i32) {
        let mut remoting = self.remoting.borrow_mut();
        // Codes come from outside: what nobody serves is counted together.
        let request = if answer == response_code::REQUEST_CODE_NOT_SUPPORTED {
            -1
        } else {
            request
        };
        *remoting.entry((request, answer)).or_default() += 1;
    }

    pub fn produced(&self, messages: u64, bytes: u64) {
        count(&self.produced_messages, messages);
        count(&self.produced_bytes, bytes);
    }

    pub fn fetched(&self, messages: u64, bytes: u64) {
        count(&self.fetched_messages, messages);
        count(&self.fetched_bytes, bytes);
    }

    /// Whether one more line about a refused connection may go to the log: a port scanner must not fill the disk.
    pub fn may_log_refused(&self, now_ms: u64) -> bool {
        let minute = now_ms / 60_000;
        let (last_minute, lines) = self.refused_lines.get();
        let lines = if minute == last_minute { lines } else { 0 };
        let may = lines < REFUSED_LINES_PER_MINUTE;
        self.refused_lines.set((minute, lines + u32::from(may)));
        may
    }

    /// By kind, for metrics.
    pub fn requests(&self) -> Vec<(Kind, u64)> {
        let requests = self.requests.borrow();
        let known = requests
            .iter()
            .map(|(kind, count)| (Kind::from_number(*kind), *count));
        known
            .filter_map(|(kind, count)| Some((kind?, count)))
            .collect()
    }

    /// Remoting requests by (code, code of the answer); -1: nobody serves that code.
    pub fn remoting_requests(&self) -> Vec<((i32, i32), u64)> {
        let remoting = self.remoting.borrow();
        remoting
            .iter()
            .map(|(codes, count)| (*codes, *count))
            .collect()
    }

    /// By code, for metrics.
    pub fn refusals(&self) -> Vec<(ErrorCode, u64)> {
        let refusals = self.refusals.borrow();
        let known = refusals
            .iter()
            .map(|(code, count)| (ErrorCode::from_number(*code), *count));
        known
            .filter_map(|(code, count)| Some((code?, count)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_bounded_by_the_minute() {
        let counters = Counters::default();
        let lines = |now_ms| {
            (0..1000)
                .filter(|_| counters.may_log_refused(now_ms))
                .count()
        };
        assert_eq!(lines(1), REFUSED_LINES_PER_MINUTE as usize);
        assert_eq!(lines(59_999), 0);
        assert_eq!(lines(60_000), REFUSED_LINES_PER_MINUTE as usize);
    }
}
