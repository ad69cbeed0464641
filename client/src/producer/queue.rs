//! Messages that wait for a lane, and the accounting of the memory they hold.

use super::outcome::{Outcome, Receipt, SendError};
use crate::{error::Error, message::Message};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
    time::Instant,
};
use tokio::sync::{Notify, Semaphore, watch};

/// What a message costs beyond its bytes.
const OVERHEAD_BYTES: usize = 128;

/// An accepted message.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) message: Message,
    pub(super) outcome: Outcome,
    pub(super) accepted: Instant,
    pub(super) deadline: Instant,
    /// Held until the outcome is known.
    pub(super) reservation: Reservation,
}

/// Memory of the producer; given back when dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    pub(super) bytes: usize,
    accounting: Arc<Accounting>,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.accounting.memory.add_permits(self.bytes);
    }
}

/// Room for messages, and what happened to those whose delivery nobody watches.
#[derive(Debug)]
pub(super) struct Accounting {
    memory: Semaphore,
    memory_bytes: usize,
    unwatched_failure: Mutex<Option<Error>>,
}

impl Accounting {
    pub(super) fn new(memory_bytes: usize) -> Self {
        Self {
            memory: Semaphore::new(memory_bytes),
            memory_bytes,
            unwatched_failure: Mutex::default(),
        }
    }

    /// Waits for room; first come, first served. A message larger than all of the memory takes all of it.
    pub(super) async fn reserve(self: &Arc<Self>, message: &Message) -> Reservation {
        let bytes = (message.size_bytes() + OVERHEAD_BYTES).min(self.memory_bytes);
        let permits = u32::try_from(bytes).expect("the builder bounds the memory");
        self.memory
            .acquire_many(permits)
            .await
            .expect("never closed")
            .forget();
        Reservation {
            bytes,
            accounting: Arc::clone(self),
        }
    }

    /// The failure of a message whose `Delivery` was dropped.
    fn failed_unwatched(&self, error: Error) {
        tracing::warn!(%error, "a message whose delivery nobody watches was not sent");
        *self.unwatched_failure.lock().expect("no holder panics") = Some(error);
    }

    pub(super) fn take_unwatched_failure(&self) -> Option<Error> {
        self.unwatched_failure
            .lock()
            .expect("no holder panics")
            .take()
    }
}

impl Pending {
    /// Tells the outcome.
    pub(super) fn stored(self, receipt: Receipt) {
        let _ = self.outcome.send(Ok(receipt));
    }

    /// As [`Self::stored`], for messages that were not, or perhaps not, stored.
    pub(super) fn failed(self, error: Error, maybe_stored: bool) {
        let told = self.outcome.send(Err(SendError::new(
            self.message,
            error.clone(),
            maybe_stored,
        )));
        if told.is_err() {
            self.reservation.accounting.failed_unwatched(error);
        }
    }
}

/// The waiting line of one lane.
#[derive(Debug)]
pub(super) struct LaneQueue {
    pub(super) topic: Arc<str>,
    pub(super) queue: u32,
    waiting: Mutex<Waiting>,
    /// Something changed that the lane's task should look at.
    pub(super) changed: Notify,
    /// Messages of this lane whose outcome is known.
    pub(super) settled: watch::Sender<u64>,
}

#[derive(Debug, Default)]
pub(super) struct Waiting {
    pub(super) messages: VecDeque<Pending>,
    pub(super) bytes: usize,
    pub(super) accepted: u64,
    /// Messages up to this one do not wait for company.
    pub(super) flush_through: u64,
    pub(super) closed: bool,
}

impl LaneQueue {
    pub(super) fn new(topic: Arc<str>, queue: u32) -> Self {
        Self {
            topic,
            queue,
            waiting: Mutex::default(),
            changed: Notify::new(),
            settled: watch::Sender::new(0),
        }
    }

    pub(super) fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("no holder panics")
    }

    /// Puts a message in line. Wakes the lane only where it may have to act.
    pub(super) fn push(&self, pending: Pending, batch_bytes: usize) {
        let wake = {
            let mut waiting = self.waiting();
            let before = waiting.bytes;
            waiting.bytes += pending.reservation.bytes;
            waiting.accepted += 1;
            waiting.messages.push_back(pending);
            waiting.messages.len() == 1 || (before < batch_bytes && waiting.bytes >= batch_bytes)
        };
        if wake {
            self.changed.notify_one();
        }
    }

    /// Lets what waits go without further company; says after how many outcomes all of it is settled.
    pub(super) fn flush(&self) -> u64 {
        let mut waiting = self.waiting();
        let through = waiting.accepted;
        waiting.flush_through = through;
        drop(waiting);
        self.changed.notify_one();
        through
    }

    pub(super) fn close(&self) {
        self.waiting().closed = true;
        self.changed.notify_one();
    }
}
