//! Who has been silent for too long. Pure: the time is an argument, in milliseconds of a clock that never goes back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A deadline for each name.
#[derive(Debug, Clone, Default)]
pub struct Liveness {
    by_name: BTreeMap<Arc<str>, u64>,
    by_deadline: BTreeSet<(u64, Arc<str>)>,
}

impl Liveness {
    /// Sets the deadline of `name`, replacing an earlier one.
    pub fn set(&mut self, name: &Arc<str>, deadline_ms: u64) {
        self.forget(name);
        self.by_name.insert(name.clone(), deadline_ms);
        self.by_deadline.insert((deadline_ms, name.clone()));
    }

    /// Stops looking after `name`.
    pub fn forget(&mut self, name: &str) {
        if let Some((name, deadline_ms)) = self.by_name.remove_entry(name) {
            self.by_deadline.remove(&(deadline_ms, name));
        }
    }

    /// Removes and returns a name whose deadline has passed, earliest first.
    pub fn pop_expired(&mut self, now_ms: u64) -> Option<Arc<str>> {
        let (deadline_ms, _) = self.by_deadline.first()?;
        if *deadline_ms > now_ms {
            return None;
        }
        let (_, name) = self.by_deadline.pop_first()?;
        self.by_name.remove(&name);
        Some(name)
    }

    /// The next moment at which [`Self::pop_expired`] has something to say.
    pub fn next_deadline_ms(&self) -> Option<u64> {
        self.by_deadline
            .first()
            .map(|(deadline_ms, _)| *deadline_ms)
    }

    /// Moves every deadline: for time in which nobody could be heard because the listener itself was stopped.
    pub fn extend_all(&mut self, by_ms: u64) {
        self.by_deadline.clear();
        for (name, deadline_ms) in &mut self.by_name {
            *deadline_ms += by_ms;
            self.by_deadline.insert((*deadline_ms, name.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expired(liveness: &mut Liveness, now_ms: u64) -> Vec<Arc<str>> {
        std::iter::from_fn(|| liveness.pop_expired(now_ms)).collect()
    }

    #[test]
    fn the_last_deadline_counts_and_each_name_expires_once() {
        let mut liveness = Liveness::default();
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        liveness.set(&a, 10);
        liveness.set(&b, 5);
        liveness.set(&a, 20);
        assert_eq!(liveness.next_deadline_ms(), Some(5));
        assert_eq!(expired(&mut liveness, 19), [b]);
        assert_eq!(expired(&mut liveness, 20), std::slice::from_ref(&a));
        assert_eq!(expired(&mut liveness, u64::MAX), []);
        liveness.set(&a, 30);
        liveness.extend_all(7);
        assert_eq!(liveness.next_deadline_ms(), Some(37));
        liveness.forget("a");
        assert_eq!(liveness.next_deadline_ms(), None);
    }
}
