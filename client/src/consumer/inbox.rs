//! What is ready for the reader. Lock order: inbox, then queue.

use super::{
    Received,
    budget::Budget,
    queue::{QueueState, Redelivery},
};
use crate::error::Error;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, atomic::Ordering},
    task::{Context, Poll, Waker},
};
use tokio::sync::Notify;

/// Messages in a row from one queue before the next one has its turn.
const TURN_MESSAGES: usize = 64;
/// Errors that wait for the reader; further ones are only logged.
const ERRORS_MAX: usize = 1000;

/// Shared by the reader and the fetchers.
#[derive(Debug)]
pub(crate) struct Inbox {
    pub(super) budget: Budget,
    /// A queue's buffer became smaller.
    pub(super) drained: Notify,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    ready: VecDeque<Arc<QueueState>>,
    redeliveries: VecDeque<Received>,
    errors: VecDeque<Error>,
    turn: usize,
    waker: Option<Waker>,
    closed: bool,
}

impl Inbox {
    pub(super) fn new(prefetch_bytes: usize) -> Self {
        Self {
            budget: Budget::new(prefetch_bytes),
            drained: Notify::new(),
            inner: Mutex::default(),
        }
    }

    /// The queue has messages.
    pub(super) fn ready(&self, queue: &Arc<QueueState>) {
        self.change(|inner| {
            if !queue.is_listed.swap(true, Ordering::Relaxed) {
                inner.ready.push_back(Arc::clone(queue));
            }
        });
    }

    /// A queue may be able to deliver again.
    pub(super) fn wake(&self) {
        self.change(|_| {});
    }

    pub(super) fn redeliver(&self, message: Received) {
        self.change(|inner| inner.redeliveries.push_back(message));
    }

    pub(super) fn fail(&self, error: Error) {
        tracing::warn!(%error, "consumer");
        self.change(|inner| {
            if inner.errors.len() < ERRORS_MAX {
                inner.errors.push_back(error);
            }
        });
    }

    /// Ends the stream.
    pub(super) fn close(&self) {
        self.change(|inner| inner.closed = true);
    }

    fn change(&self, change: impl FnOnce(&mut Inner)) {
        let waker = {
            let mut inner = self.inner.lock().expect("no holder panics");
            change(&mut inner);
            inner.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Received, Error>>> {
        let mut inner = self.inner.lock().expect("no holder panics");
        if inner.closed {
            return Poll::Ready(None);
        }
        match inner.take() {
            Some(item) => Poll::Ready(Some(item)),
            None => {
                inner.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Inner {
    fn take(&mut self) -> Option<Result<Received, Error>> {
        if let Some(error) = self.errors.pop_front() {
            return Some(Err(error));
        }
        while let Some(mut message) = self.redeliveries.pop_front() {
            match message.state.redelivery(&message) {
                Redelivery::Now => {
                    message.attempt += 1;
                    return Some(Ok(message));
                }
                Redelivery::Later => message.nack(),
                Redelivery::Never => {}
            }
        }
        // Queues that cannot deliver now keep their place: whatever lets them go on wakes the reader.
        for _ in 0..self.ready.len() {
            let queue = self.ready.front()?;
            match queue.take() {
                Some((message, true)) => {
                    self.turn += 1;
                    if self.turn >= TURN_MESSAGES {
                        self.end_turn();
                    }
                    return Some(Ok(message));
                }
                Some((message, false)) => {
                    self.unlist();
                    return Some(Ok(message));
                }
                None if queue.buffered_bytes() == 0 => self.unlist(),
                None => self.end_turn(),
            }
        }
        None
    }

    /// The first queue has no more messages. A fetcher lists it again when there are; it does so under the inbox's lock.
    fn unlist(&mut self) {
        self.turn = 0;
        if let Some(queue) = self.ready.pop_front() {
            queue.is_listed.store(false, Ordering::Relaxed);
        }
    }

    fn end_turn(&mut self) {
        self.turn = 0;
        self.ready.rotate_left(1);
    }
}
