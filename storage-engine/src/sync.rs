//! Waiting on one executor: no threads, so a cell and a list of wakers are enough.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// Wakes everybody who waits for something to change.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    waiting: RefCell<Vec<Waker>>,
}

impl Signal {
    /// Something changed: every waiter looks again.
    pub(crate) fn notify(&self) {
        let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Waits until `look` finds something; it is called at once and after every [`Self::notify`].
    pub(crate) async fn until<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        poll_fn(|context| {
            if let Some(found) = look() {
                return Poll::Ready(found);
            }
            let mut waiting = self.waiting.borrow_mut();
            if !waiting.iter().any(|w| w.will_wake(context.waker())) {
                waiting.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await
    }
}

/// One holder at a time.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    taken: Cell<bool>,
    freed: Signal,
}

impl Turn {
    /// Waits for the turn; it ends when the guard is dropped.
    pub(crate) async fn take(&self) -> TurnGuard<'_> {
        self.freed
            .until(|| (!self.taken.replace(true)).then_some(()))
            .await;
        TurnGuard { turn: self }
    }
}

/// Holds the turn.
#[derive(Debug)]
pub(crate) struct TurnGuard<'a> {
    turn: &'a Turn,
}

impl Drop for TurnGuard<'_> {
    fn drop(&mut self) {
        self.turn.taken.set(false);
        self.turn.freed.notify();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, poll_once, zip};

    #[test]
    fn a_signal_wakes_and_a_turn_excludes() {
        let turn = Turn::default();
        let signal = Signal::default();
        let held = Cell::new(0);
        block_on(async {
            let guard = turn.take().await;
            assert!(poll_once(turn.take()).await.is_none());
            let waiter = async {
                let _guard = turn.take().await;
                held.set(held.get() + 1);
                signal.notify();
            };
            let seen = signal.until(|| (held.get() == 1).then_some(7));
            drop(guard);
            assert_eq!(zip(waiter, seen).await.1, 7);
        });
    }
}
