//! Resets of committed offsets that RocketMQ's consumers have yet to hear of. Pure.
//!
//! A consumer that was in the middle of a queue goes on to commit where it is, and would undo the reset. So its
//! commits count for nothing until its next pull, which is told where to go on. In memory only: a restart ends the
//! consumers' connections as well, and they ask for their offsets again.

use ringmq_storage_engine::position::{QueueHandle, QueueOffset};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Resets that may wait for their consumers.
const WAITING_MAX: usize = 65_536;

/// By group, then queue.
#[derive(Debug, Default)]
pub struct PendingResets {
    groups: BTreeMap<Rc<str>, BTreeMap<QueueHandle, QueueOffset>>,
    waiting: usize,
}

impl PendingResets {
    /// Whether that many more may wait.
    pub fn has_room(&self, added: usize) -> bool {
        self.waiting + added <= WAITING_MAX
    }

    /// The next pull of the queue by the group is told to go on there.
    pub fn put(&mut self, group: &str, queue: QueueHandle, offset: QueueOffset) {
        let queues = match self.groups.get_mut(group) {
            Some(queues) => queues,
            None => self.groups.entry(group.into()).or_default(),
        };
        if queues.insert(queue, offset).is_none() {
            self.waiting += 1;
        }
    }

    /// Whether the group has not heard of a reset yet.
    pub fn holds(&self, group: &str, queue: QueueHandle) -> bool {
        let queues = self.groups.get(group);
        queues.is_some_and(|queues| queues.contains_key(&queue))
    }

    /// Where to go on; the group knows it from here on.
    pub fn take(&mut self, group: &str, queue: QueueHandle) -> Option<QueueOffset> {
        let queues = self.groups.get_mut(group)?;
        let offset = queues.remove(&queue)?;
        self.waiting -= 1;
        if queues.is_empty() {
            self.groups.remove(group);
        }
        Some(offset)
    }

    /// The group is gone.
    pub fn forget_group(&mut self, group: &str) {
        let queues = self.groups.remove(group);
        self.waiting -= queues.map_or(0, |queues| queues.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_is_told_once() {
        let mut resets = PendingResets::default();
        let queue = QueueHandle(1);
        resets.put("g", queue, QueueOffset(5));
        resets.put("g", queue, QueueOffset(3));
        assert!(resets.holds("g", queue) && !resets.holds("h", queue));
        assert!(resets.has_room(WAITING_MAX - 1) && !resets.has_room(WAITING_MAX));
        assert_eq!(resets.take("g", queue), Some(QueueOffset(3)));
        assert_eq!(resets.take("g", queue), None);
        resets.put("g", queue, QueueOffset(5));
        resets.forget_group("g");
        assert!(!resets.holds("g", queue) && resets.has_room(WAITING_MAX));
    }
}
