//! How the delivery task learns that a level gained messages.

use ringmq_storage_engine::position::QueueHandle;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// One task listens; whoever is on the same executor rings.
#[derive(Debug, Default)]
pub struct Bell {
    rung: Cell<bool>,
    /// Lowest and highest queue that matters; `None`: none does.
    watched: Cell<Option<(QueueHandle, QueueHandle)>>,
    listener: RefCell<Option<Waker>>,
}

impl Bell {
    /// Wakes the listener, or lets it go on at once when it comes to listen.
    pub fn ring(&self) {
        self.rung.set(true);
        if let Some(listener) = self.listener.borrow_mut().take() {
            listener.wake();
        }
    }

    /// From now on these queues matter. Others between them may ring, too: a look too many.
    pub fn watch(&self, queues: &[QueueHandle]) {
        let lowest = queues.iter().min().copied();
        self.watched.set(lowest.zip(queues.iter().max().copied()));
    }

    /// These queues gained visible messages.
    pub fn gained(&self, queues: &[QueueHandle]) {
        let Some((lowest, highest)) = self.watched.get() else {
            return;
        };
        if queues
            .iter()
            .any(|queue| (lowest..=highest).contains(queue))
        {
            self.ring();
        }
    }

    /// Waits for a ring since the last time.
    pub async fn heard(&self) {
        poll_fn(|context| {
            if self.rung.replace(false) {
                return Poll::Ready(());
            }
            *self.listener.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}
