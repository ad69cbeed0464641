//! Offset commits that nobody waits for, gathered until they are written together. Pure.
//!
//! A crash loses what is gathered: consumers then get some messages again, as after any crash of their own.

use ringmq_storage_engine::position::{QueueHandle, QueueOffset};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// How long a commit may wait.
pub const DELAY: Duration = Duration::from_secs(1);

/// By group, then queue: the last commit counts.
#[derive(Debug, Default)]
pub struct PendingCommits {
    groups: BTreeMap<Rc<str>, BTreeMap<QueueHandle, QueueOffset>>,
}

impl PendingCommits {
    /// Takes a commit; true if there was none before: who gets that must see to it that they are written.
    pub fn put(&mut self, group: &str, queue: QueueHandle, offset: QueueOffset) -> bool {
        let first = self.groups.is_empty();
        if let Some(queues) = self.groups.get_mut(group) {
            queues.insert(queue, offset);
        } else {
            self.groups
                .insert(group.into(), BTreeMap::from([(queue, offset)]));
        }
        first
    }

    /// A commit that waits.
    pub fn get(&self, group: &str, queue: QueueHandle) -> Option<QueueOffset> {
        self.groups.get(group)?.get(&queue).copied()
    }

    /// Something newer takes the place of this commit.
    pub fn forget(&mut self, group: &str, queue: QueueHandle) {
        if let Some(queues) = self.groups.get_mut(group) {
            queues.remove(&queue);
        }
    }

    /// All of them, which wait no more.
    pub fn take(
        &mut self,
    ) -> impl Iterator<Item = (Rc<str>, Vec<(QueueHandle, QueueOffset)>)> + use<> {
        let groups = std::mem::take(&mut self.groups).into_iter();
        groups
            .map(|(group, queues)| (group, queues.into_iter().collect::<Vec<_>>()))
            .filter(|(_, queues)| !queues.is_empty())
    }
}
