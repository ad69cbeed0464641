//! One queue as its consumer sees it.

use super::{Queue, Received};
use std::time::Duration;

/// Shared by the consumer and the messages it delivered.
#[derive(Debug)]
pub(crate) struct QueueState {
    pub(crate) queue: Queue,
    pub(crate) nack_delay: Duration,
}

impl QueueState {
    pub(super) fn ack(&self, _generation: u64, _offset: u64) {}
    pub(super) fn ack_through(&self, _generation: u64, _offset: u64) {}
    pub(super) fn redeliver(&self, _message: Received, _delay: Duration) {}
}
