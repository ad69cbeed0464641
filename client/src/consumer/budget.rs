//! The bytes that a consumer may hold ahead of its reader.

use std::sync::Mutex;
use tokio::sync::Notify;

/// A bound that may be overshot by what is already on its way; whoever wants more then waits until it is met again.
#[derive(Debug)]
pub(super) struct Budget {
    limit: usize,
    used: Mutex<usize>,
    released: Notify,
}

impl Budget {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            used: Mutex::new(0),
            released: Notify::new(),
        }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Waits for room for `bytes`; they are given back with [`Self::release`].
    pub(super) async fn acquire(&self, bytes: usize) {
        loop {
            let released = self.released.notified();
            tokio::pin!(released);
            // Registered before the look, so that no release in between is missed.
            released.as_mut().enable();
            {
                let mut used = self.used.lock().expect("no holder panics");
                if *used == 0 || *used + bytes <= self.limit {
                    *used += bytes;
                    return;
                }
            }
            released.await;
        }
    }

    /// Takes bytes that are there already.
    pub(super) fn take(&self, bytes: usize) {
        *self.used.lock().expect("no holder panics") += bytes;
    }

    pub(super) fn release(&self, bytes: usize) {
        let mut used = self.used.lock().expect("no holder panics");
        *used = used.checked_sub(bytes).expect("released what was taken");
        drop(used);
        self.released.notify_waiters();
    }
}
