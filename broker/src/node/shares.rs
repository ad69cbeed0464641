//! The topics of one shard as name servers know them: a table with versions, and the changes since any of them.
//!
//! Invariants: versions only grow; every present or removed name is listed under the version of its last change;
//! [`ShareTable::changes`] from 0 is the whole table, in parts if it is large. Removed names are forgotten oldest
//! first beyond a bound; who is further behind than that starts from 0 again. A name that is held back is in the table
//! and in no change: a topic that is being made on several shards is registered once all of them have it.

use std::collections::BTreeMap;

use ringmq_wire::native::schema::TopicRecordT;

/// Removed names that are remembered.
const REMOVED_MAX: usize = 4096;

/// See the module.
#[derive(Debug)]
pub struct ShareTable {
    version: u64,
    loaded: bool,
    /// The node wants the shard to be written to.
    open: bool,
    /// The shard's log takes messages.
    able: bool,
    shares: BTreeMap<String, (u64, TopicRecordT)>,
    by_version: BTreeMap<u64, String>,
    removed: BTreeMap<String, u64>,
    /// Names that are held back, with their share if there is one by now.
    held: BTreeMap<String, Option<TopicRecordT>>,
    /// Changes after this version are complete, and so are those after 0.
    forgotten: u64,
}

/// What to register.
#[derive(Debug, Clone, PartialEq)]
pub struct ShareChanges {
    /// The receiver's version before.
    pub base_version: u64,
    /// The receiver's version after.
    pub version: u64,
    /// Whether the shard accepts messages.
    pub writable: bool,
    /// New and changed shares.
    pub shares: Vec<TopicRecordT>,
    /// Names whose share is gone.
    pub removed: Vec<String>,
}

impl Default for ShareTable {
    fn default() -> Self {
        Self {
            version: 0,
            loaded: false,
            open: false,
            able: true,
            shares: BTreeMap::new(),
            by_version: BTreeMap::new(),
            removed: BTreeMap::new(),
            held: BTreeMap::new(),
            forgotten: 0,
        }
    }
}

impl ShareTable {
    /// The last change; 0 until the shard has loaded its topics.
    pub fn version(&self) -> u64 {
        if self.loaded { self.version } else { 0 }
    }

    /// Whether the shard accepts messages.
    pub fn writable(&self) -> bool {
        self.open && self.able
    }

    /// The shares that are there.
    pub fn iter(&self) -> impl Iterator<Item = &TopicRecordT> {
        self.shares.values().map(|(_, topic)| topic)
    }

    /// The share of that name.
    pub fn find(&self, name: &str) -> Option<&TopicRecordT> {
        let held = || self.held.get(name)?.as_ref();
        self.shares.get(name).map(|(_, topic)| topic).or_else(held)
    }

    /// A share of that name that comes from now on is held back, unless there is one already.
    pub fn hold(&mut self, name: &str) {
        if !self.shares.contains_key(name) {
            self.held.entry(name.to_owned()).or_default();
        }
    }

    /// Ends [`Self::hold`].
    pub fn release(&mut self, name: &str) {
        if let Some(topic) = self.held.remove(name).flatten() {
            self.put(topic);
        }
    }

    /// Adds or replaces a share.
    pub fn put(&mut self, topic: TopicRecordT) {
        if let Some(held) = self.held.get_mut(&topic.name) {
            *held = Some(topic);
            return;
        }
        let name = topic.name.clone();
        if let Some((at, old)) = self.shares.get(&name) {
            if *old == topic {
                return;
            }
            self.by_version.remove(at);
        }
        if let Some(at) = self.removed.remove(&name) {
            self.by_version.remove(&at);
        }
        self.version += 1;
        self.by_version.insert(self.version, name.clone());
        self.shares.insert(name, (self.version, topic));
    }

    /// Removes a share.
    pub fn remove(&mut self, name: &str) {
        if let Some(held) = self.held.get_mut(name) {
            *held = None;
        }
        let Some((at, _)) = self.shares.remove(name) else {
            return;
        };
        self.by_version.remove(&at);
        self.version += 1;
        self.by_version.insert(self.version, name.to_owned());
        self.removed.insert(name.to_owned(), self.version);
        if self.removed.len() > REMOVED_MAX {
            self.forget_oldest();
        }
    }

    /// The shard serves: it is registered from here on.
    pub fn loaded(&mut self) {
        if !self.loaded {
            self.loaded = true;
            self.set_writable(true);
        }
    }

    /// Gives or withdraws write permission.
    pub fn set_writable(&mut self, writable: bool) {
        let before = self.writable();
        self.open = writable;
        self.note_writable(before);
    }

    /// Whether the shard's log takes messages; returns whether that is a change.
    pub fn set_able(&mut self, able: bool) -> bool {
        let before = self.writable();
        let changed = std::mem::replace(&mut self.able, able) != able;
        self.note_writable(before);
        changed
    }

    fn note_writable(&mut self, before: bool) {
        if self.writable() != before {
            // A version of its own, without a name: even an empty table is worth registering.
            self.version += 1;
        }
    }

    /// What a receiver at `base_version` lacks, about `bytes_max` of it. `None`: nothing is lacking, or the shard
    /// has not loaded its topics. A receiver that is too far behind gets the table from 0.
    pub fn changes(&self, base_version: u64, bytes_max: usize) -> Option<ShareChanges> {
        if !self.loaded || base_version == self.version {
            return None;
        }
        let known = base_version >= self.forgotten && base_version < self.version;
        let base_version = if known { base_version } else { 0 };
        let mut changes = ShareChanges {
            base_version,
            version: self.version,
            writable: self.writable(),
            shares: Vec::new(),
            removed: Vec::new(),
        };
        let mut bytes = 0;
        for (version, name) in self.by_version.range(base_version + 1..) {
            // The rest comes as a change from here, which must be a version that still has complete changes.
            if bytes >= bytes_max && *version > self.forgotten {
                changes.version = version - 1;
                break;
            }
            bytes += 16 + name.len();
            match self.shares.get(name) {
                Some((_, topic)) => {
                    bytes += record_bytes(topic);
                    changes.shares.push(topic.clone());
                }
                // Who starts from nothing has nothing to remove.
                None if base_version == 0 => {}
                None => changes.removed.push(name.clone()),
            }
        }
        Some(changes)
    }

    fn forget_oldest(&mut self) {
        let oldest = self
            .removed
            .iter()
            .min_by_key(|(_, at)| **at)
            .map(|(n, at)| (n.clone(), *at));
        if let Some((name, at)) = oldest {
            self.removed.remove(&name);
            self.by_version.remove(&at);
            self.forgotten = self.forgotten.max(at);
        }
    }
}

/// About what a record takes on the wire.
fn record_bytes(topic: &TopicRecordT) -> usize {
    let placement = topic.placement.iter().flatten();
    128 + placement.map(|shard| shard.len() + 12).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn topic(name: &str, version: u64) -> TopicRecordT {
        let mut topic = TopicRecordT::default();
        topic.name = name.to_owned();
        topic.version = version;
        topic
    }

    #[derive(Default)]
    struct Receiver {
        version: u64,
        writable: bool,
        names: BTreeSet<String>,
    }
    impl Receiver {
        fn take(&mut self, changes: ShareChanges) {
            if changes.base_version == 0 {
                self.names.clear();
            } else {
                assert_eq!(
                    changes.base_version, self.version,
                    "a change must start where the receiver is"
                );
            }
            self.names
                .extend(changes.shares.into_iter().map(|t| t.name));
            for name in changes.removed {
                self.names.remove(&name);
            }
            self.version = changes.version;
            self.writable = changes.writable;
        }
        fn catch_up(&mut self, table: &ShareTable, max: usize) {
            let mut steps = 0;
            while let Some(changes) = table.changes(self.version, max) {
                self.take(changes);
                steps += 1;
                assert!(steps < 100_000, "never catches up");
            }
        }
    }

    fn names(table: &ShareTable) -> BTreeSet<String> {
        table.iter().map(|t| t.name.clone()).collect()
    }

    #[test]
    fn nothing_is_registered_before_the_shard_has_loaded() {
        let mut table = ShareTable::default();
        table.put(topic("a", 1));
        assert_eq!(table.changes(0, 10), None);
        assert_eq!(table.version(), 0);
        table.loaded();
        let changes = table.changes(0, 10).expect("loaded");
        assert!(changes.writable);
        assert_eq!(changes.shares.len(), 1);
    }

    #[test]
    fn a_shard_is_written_to_if_the_node_wants_it_and_its_log_can() {
        let mut table = ShareTable::default();
        table.loaded();
        let mut receiver = Receiver::default();
        for (open, able) in [(true, false), (false, false), (false, true), (true, true)] {
            table.set_writable(open);
            table.set_able(able);
            receiver.catch_up(&table, 10);
            assert_eq!(receiver.writable, open && able);
        }
        assert!(!table.set_able(true), "no change");
        assert_eq!(table.changes(receiver.version, 10), None);
    }

    #[test]
    fn what_is_held_back_is_known_here_and_told_when_it_is_released() {
        let mut table = ShareTable::default();
        table.loaded();
        table.put(topic("there", 1));
        let version = table.version();
        table.hold("there");
        table.hold("new");
        table.hold("gone");
        table.hold("never");
        table.put(topic("there", 2));
        assert_eq!(table.version(), version + 1, "it was there before");
        let version = table.version();
        table.put(topic("new", 1));
        table.put(topic("gone", 1));
        table.remove("gone");
        assert_eq!(table.find("new").map(|topic| topic.version), Some(1));
        assert_eq!(table.find("gone"), None);
        assert_eq!(table.changes(version, 1000), None);
        for name in ["there", "new", "gone", "never"] {
            table.release(name);
        }
        let changes = table.changes(version, 1000).expect("one");
        let names: Vec<_> = changes.shares.iter().map(|topic| &*topic.name).collect();
        assert_eq!((names, changes.removed.len()), (vec!["new"], 0));
        assert!(table.held.is_empty());
    }

    #[test]
    fn an_empty_shard_registers() {
        let mut table = ShareTable::default();
        table.loaded();
        let mut receiver = Receiver::default();
        receiver.catch_up(&table, 10);
        assert!(receiver.version > 0 && receiver.writable);
    }

    #[test]
    fn receivers_converge_from_any_version() {
        let seed = std::env::var("RINGMQ_SEED")
            .ok()
            .and_then(|s| s.parse().ok())
            .unwrap_or(7_u64);
        let mut state = seed;
        let mut random = move |bound: u64| {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (state >> 33) % bound
        };
        let mut table = ShareTable::default();
        table.loaded();
        let mut receivers: Vec<Receiver> = (0..4).map(|_| Receiver::default()).collect();
        for step in 0..20_000_u64 {
            let name = format!("t{}", random(9000));
            match random(10) {
                0..=4 => table.put(topic(&name, step)),
                5..=8 => table.remove(&name),
                _ => table.set_writable(random(2) == 0),
            }
            if random(50) == 0 {
                let which = random(4) as usize;
                let max = 1 + random(4000) as usize;
                // The last receiver lags until the end.
                if which < 3 {
                    receivers[which].catch_up(&table, max);
                    assert_eq!(
                        receivers[which].names,
                        names(&table),
                        "seed {seed} step {step}"
                    );
                }
            }
        }
        for receiver in &mut receivers {
            receiver.catch_up(&table, 100_000);
            assert_eq!(receiver.names, names(&table), "seed {seed}");
            assert_eq!(receiver.writable, table.writable());
        }
        assert!(table.removed.len() <= REMOVED_MAX);
    }
}
