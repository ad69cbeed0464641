//! Pulls of RocketMQ clients that wait for a message. Bounded; one that finds no place is answered at once.

use super::Shard;
use ringmq_storage_engine::disk::Disk;
use ringmq_storage_engine::position::QueueHandle;
use ringmq_storage_engine::runtime::Runtime;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Pulls of one shard that may wait.
const HELD_MAX: usize = 100_000;

/// A queue's waiting pulls lie side by side.
type Key = (QueueHandle, u64);

/// All that wait.
#[derive(Debug, Default)]
pub struct HeldPulls {
    waiting: BTreeMap<Key, Waiting>,
    by_connection: BTreeSet<(u64, Key)>,
    next: u64,
}

#[derive(Debug)]
struct Waiting {
    connection: u64,
    woken: bool,
    waker: Option<Waker>,
}

impl Waiting {
    fn wake(&mut self) {
        self.woken = true;
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl HeldPulls {
    /// These queues gained visible messages, or are gone.
    pub fn wake(&mut self, queues: &[QueueHandle]) {
        for queue in queues {
            for (_, waiting) in self.waiting.range_mut((*queue, 0)..=(*queue, u64::MAX)) {
                waiting.wake();
            }
        }
    }

    /// The connection is gone, and with it who waits there.
    pub fn close(&mut self, connection: u64) {
        let first = (connection, (QueueHandle(0), 0));
        let last = (connection, (QueueHandle(u32::MAX), u64::MAX));
        for (_, key) in self.by_connection.range(first..=last) {
            if let Some(waiting) = self.waiting.get_mut(key) {
                waiting.wake();
            }
        }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn insert(&mut self, queue: QueueHandle, connection: u64) -> Option<Key> {
        if self.waiting.len() >= HELD_MAX {
            return None;
        }
        let key = (queue, self.next);
        self.next += 1;
        let waiting = Waiting {
            connection,
            woken: false,
            waker: None,
        };
        self.waiting.insert(key, waiting);
        self.by_connection.insert((connection, key));
        Some(key)
    }

    fn remove(&mut self, key: Key) {
        if let Some(waiting) = self.waiting.remove(&key) {
            self.by_connection.remove(&(waiting.connection, key));
        }
    }
}

/// A place among those that wait; given up when dropped.
pub struct Hold {
    held: Rc<RefCell<HeldPulls>>,
    key: Key,
}

impl Hold {
    /// `None`: too many wait already. To be taken in the same breath as the look that found nothing.
    pub fn new<D: Disk, R: Runtime>(
        shard: &Shard<D, R>,
        queue: QueueHandle,
        connection: u64,
    ) -> Option<Self> {
        let held = Rc::clone(shard.held_pulls());
        let key = held.borrow_mut().insert(queue, connection)?;
        Some(Self { held, key })
    }

    /// Ready once there is something to look at again.
    pub fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        let mut held = self.held.borrow_mut();
        match held.waiting.get_mut(&self.key) {
            Some(waiting) if !waiting.woken => {
                waiting.waker = Some(cx.waker().clone());
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.held.borrow_mut().remove(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::task::Wake;

    struct Quiet;

    impl Wake for Quiet {
        fn wake(self: Arc<Self>) {}
    }

    #[test]
    fn wakes_the_queue_or_the_connection_and_nobody_else() {
        let held = Rc::new(RefCell::new(HeldPulls::default()));
        let hold = |queue, connection| {
            let key = held.borrow_mut().insert(QueueHandle(queue), connection);
            Hold {
                held: Rc::clone(&held),
                key: key.expect("room"),
            }
        };
        let waker = Arc::new(Quiet).into();
        let context = Context::from_waker(&waker);
        let holds = [hold(1, 7), hold(2, 7), hold(2, 8), hold(3, 8)];
        let ready = || holds.each_ref().map(|hold| hold.poll(&context).is_ready());
        assert_eq!(ready(), [false; 4]);
        held.borrow_mut().wake(&[QueueHandle(2)]);
        assert_eq!(ready(), [false, true, true, false]);
        held.borrow_mut().close(8);
        assert_eq!(ready(), [false, true, true, true]);
        drop(holds);
        assert!(held.borrow().is_empty() && held.borrow().by_connection.is_empty());
    }
}
