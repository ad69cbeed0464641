//! Offset commits that nobody waits for, gathered until they are written together. Pure.
//!
//! A crash loses what is gathered: consumers then get some messages again, as after any crash of their own.

use ringmq_storage_engine::position::{QueueHandle, QueueOffset};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// How long a commit may wait; longer only while the log takes no records.
pub const DELAY: Duration = Duration::from_secs(1);
/// Commits that may wait.
const WAITING_MAX: usize = 65_536;

/// By group, then queue: the last commit counts.
#[derive(Debug, Default)]
pub struct PendingCommits {
    groups: BTreeMap<Rc<str>, BTreeMap<QueueHandle, QueueOffset>>,
    waiting: usize,
    /// Somebody sees to it that they are written.
    has_writer: bool,
}

impl PendingCommits {
    /// Takes a commit. False: too many wait, and this one is not taken.
    pub fn put(&mut self, group: &str, queue: QueueHandle, offset: QueueOffset) -> bool {
        if self.get(group, queue).is_none() {
            if self.waiting >= WAITING_MAX {
                return false;
            }
            self.waiting += 1;
        }
        if let Some(queues) = self.groups.get_mut(group) {
            queues.insert(queue, offset);
        } else {
            let queues = BTreeMap::from([(queue, offset)]);
            self.groups.insert(group.into(), queues);
        }
        true
    }

    /// A commit that waits.
    pub fn get(&self, group: &str, queue: QueueHandle) -> Option<QueueOffset> {
        self.groups.get(group)?.get(&queue).copied()
    }

    /// Something newer takes the place of this commit.
    pub fn forget(&mut self, group: &str, queue: QueueHandle) {
        let queues = self.groups.get_mut(group);
        if queues.is_some_and(|queues| queues.remove(&queue).is_some()) {
            self.waiting -= 1;
        }
    }

    /// The group is gone, and what it committed with it.
    pub fn forget_group(&mut self, group: &str) {
        let queues = self.groups.remove(group);
        self.waiting -= queues.map_or(0, |queues| queues.len());
    }

    /// All of them, which wait no more.
    pub fn take(
        &mut self,
    ) -> impl Iterator<Item = (Rc<str>, Vec<(QueueHandle, QueueOffset)>)> + use<> {
        self.waiting = 0;
        let groups = std::mem::take(&mut self.groups).into_iter();
        groups
            .map(|(group, queues)| (group, queues.into_iter().collect::<Vec<_>>()))
            .filter(|(_, queues)| !queues.is_empty())
    }

    /// Whether the caller is to see to it that they are written, [`DELAY`] from now and until none waits: something
    /// waits, and nobody does that yet.
    pub fn wants_writer(&mut self) -> bool {
        let wants = self.waiting > 0 && !self.has_writer;
        self.has_writer |= wants;
        wants
    }

    /// Whether whoever writes them is done: none waits.
    pub fn is_written(&mut self) -> bool {
        self.has_writer = self.waiting > 0;
        !self.has_writer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUE: QueueHandle = QueueHandle(1);

    #[test]
    fn the_last_commit_counts_and_all_are_written_together() {
        let mut commits = PendingCommits::default();
        assert!(!commits.wants_writer(), "nothing waits");
        assert!(commits.put("g", QUEUE, QueueOffset(1)));
        assert!(commits.wants_writer());
        assert!(commits.put("g", QUEUE, QueueOffset(2)));
        assert!(!commits.wants_writer(), "one is enough");
        commits.put("h", QUEUE, QueueOffset(3));
        commits.put("gone", QUEUE, QueueOffset(4));
        commits.forget_group("gone");
        commits.forget("h", QUEUE);
        let taken: Vec<_> = commits.take().collect();
        assert_eq!(taken, [("g".into(), vec![(QUEUE, QueueOffset(2))])]);
        assert!(commits.is_written());
    }

    #[test]
    fn what_the_log_did_not_take_is_put_back_and_tried_again() {
        let mut commits = PendingCommits::default();
        commits.put("g", QUEUE, QueueOffset(1));
        assert!(commits.wants_writer());
        let _ = commits.take().count();
        commits.put("g", QUEUE, QueueOffset(1));
        assert!(!commits.is_written(), "it goes on");
        assert!(!commits.wants_writer());
    }

    #[test]
    fn too_many_are_not_taken() {
        let mut commits = PendingCommits::default();
        for queue in 0..WAITING_MAX as u32 {
            assert!(commits.put("g", QueueHandle(queue), QueueOffset(1)));
        }
        assert!(!commits.put("h", QUEUE, QueueOffset(1)));
        assert!(commits.put("g", QUEUE, QueueOffset(2)), "not one more");
        commits.forget("g", QUEUE);
        assert!(commits.put("h", QUEUE, QueueOffset(1)));
    }
}
