//! Which groups' members are to be told of a change, and when.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Pending notices. Changes of one group within the delay make one notice; a group waits at most once.
#[derive(Debug)]
pub struct Notices {
    delay_ms: u64,
    pending: BTreeMap<Arc<str>, u64>,
}

impl Notices {
    /// `delay_ms`: from the first change to the notice.
    pub fn new(delay_ms: u64) -> Self {
        Self {
            delay_ms,
            pending: BTreeMap::new(),
        }
    }

    /// The group changed now.
    pub fn add(&mut self, group: &Arc<str>, now_ms: u64) {
        if !self.pending.contains_key(group) {
            self.pending.insert(group.clone(), now_ms + self.delay_ms);
        }
    }

    /// Nobody is left to be told.
    pub fn remove(&mut self, group: &str) {
        self.pending.remove(group);
    }

    /// Takes the groups whose time has come.
    pub fn due(&mut self, now_ms: u64) -> Vec<Arc<str>> {
        let due = self.pending.iter().filter(|(_, at_ms)| **at_ms <= now_ms);
        let due: Vec<Arc<str>> = due.map(|(group, _)| group.clone()).collect();
        for group in &due {
            self.pending.remove(group);
        }
        due
    }

    /// When [`Self::due`] has something next.
    pub fn next_due_ms(&self) -> Option<u64> {
        self.pending.values().min().copied()
    }
}
