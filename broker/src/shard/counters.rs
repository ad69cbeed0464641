//! What a shard counts about its sessions.

use ringmq_wire::codes::{ErrorCode, Kind};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

/// Counters since the start of the process, and a gauge. One executor: no atomics.
#[derive(Debug, Default)]
pub struct Counters {
    /// Requests answered or refused, by kind number.
    requests: RefCell<BTreeMap<u16, u64>>,
    refusals: RefCell<BTreeMap<u16, u64>>,
    pub connections: Cell<usize>,
    pub connections_total: Cell<u64>,
    pub connections_refused: Cell<u64>,
    pub produced_messages: Cell<u64>,
    pub produced_bytes: Cell<u64>,
    pub fetched_messages: Cell<u64>,
    pub fetched_bytes: Cell<u64>,
    /// Panics caught at the boundary of a session; each is a defect.
    pub panics: Cell<u64>,
}

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

    pub fn produced(&self, messages: u64, bytes: u64) {
        count(&self.produced_messages, messages);
        count(&self.produced_bytes, bytes);
    }

    pub fn fetched(&self, messages: u64, bytes: u64) {
        count(&self.fetched_messages, messages);
        count(&self.fetched_bytes, bytes);
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
