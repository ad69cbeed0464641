//! Who must be told what. Pure.
//!
//! Each connection has at most one watch: topic names and patterns. A change adds the *names* of the topics to the
//! watcher's pending set; what is sent is read from the route table when there is room to send, so a slow watcher gets
//! the latest state once, not the history. The pending sets are bounded: a watcher that would go over is dropped,
//! its connection closed, and it starts over with the whole state when it comes back.

use regex::{Regex, RegexBuilder};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Patterns in one watch.
pub const PATTERNS_MAX: usize = 16;
const PATTERN_BYTES_MAX: usize = 1_024;
const PATTERN_PROGRAM_BYTES_MAX: usize = 256 << 10;

/// A connection, numbered by the server.
pub type ConnectionId = u64;

/// Bounds on what waits to be told.
#[derive(Debug, Clone, Copy)]
pub struct WatchLimits {
    /// Names of one watch, and topics that may wait for one watcher.
    pub topics_per_watch_max: usize,
    /// Topics that may wait, over all watchers.
    pub pending_max: usize,
}

/// Why a watch was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    #[error("{count} {what} in one watch, the limit is {limit}")]
    TooMany {
        what: &'static str,
        count: usize,
        limit: usize,
    },
    #[error("pattern {pattern:?} cannot be used: {why}")]
    Pattern { pattern: String, why: String },
    #[error("too many route changes wait to be sent; watch again later")]
    NoRoom,
}

#[derive(Debug)]
struct Watch {
    correlation_id: u64,
    topics: BTreeSet<Arc<str>>,
    patterns: Vec<Regex>,
    pending: BTreeSet<Arc<str>>,
    /// Nothing was sent yet: the first answer goes out even if it is empty.
    unanswered: bool,
}

impl Watch {
    fn matches(&self, topic: &str) -> bool {
        self.topics.contains(topic) || self.patterns.iter().any(|pattern| pattern.is_match(topic))
    }

    fn add(&mut self, changed: &BTreeSet<Arc<str>>) {
        // The smaller set is walked: one registration may bring 10,000 topics, most watches name a few.
        if self.patterns.is_empty() && self.topics.len() < changed.len() {
            let hit = self.topics.iter().filter(|topic| changed.contains(*topic));
            self.pending.extend(hit.cloned());
        } else {
            let hit = changed.iter().filter(|topic| self.matches(topic));
            let hit: Vec<_> = hit.cloned().collect();
            self.pending.extend(hit);
        }
    }
}

/// What to send next to a watcher.
#[derive(Debug, PartialEq, Eq)]
pub struct Push {
    pub correlation_id: u64,
    pub topics: Vec<Arc<str>>,
    /// There is more for this watcher.
    pub more: bool,
}

/// Connections that a change concerns.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Noticed {
    /// Have something to send.
    pub wake: Vec<ConnectionId>,
    /// Were too slow: their watch is gone, close them.
    pub close: Vec<ConnectionId>,
}

/// All watches of a name server.
#[derive(Debug)]
pub struct Watches {
    limits: WatchLimits,
    by_connection: BTreeMap<ConnectionId, Watch>,
    /// Sum over all pending sets.
    pending: usize,
}

impl Watches {
    pub fn new(limits: WatchLimits) -> Self {
        Self {
            limits,
            by_connection: BTreeMap::new(),
            pending: 0,
        }
    }

    /// Sets the connection's watch in place of an earlier one, which stays if this one is not valid. The first push is the whole state: every name asked for,
    /// and those of `all_topics` that match a pattern.
    pub fn set<'a>(
        &mut self,
        connection: ConnectionId,
        correlation_id: u64,
        topics: &[String],
        patterns: &[String],
        all_topics: impl Iterator<Item = &'a Arc<str>>,
    ) -> Result<(), WatchError> {
        check_count("topics", topics.len(), self.limits.topics_per_watch_max)?;
        check_count("patterns", patterns.len(), PATTERNS_MAX)?;
        let patterns = patterns
            .iter()
            .map(|pattern| compile(pattern))
            .collect::<Result<_, _>>()?;
        let mut watch = Watch {
            correlation_id,
            topics: topics
                .iter()
                .map(|topic| Arc::from(topic.as_str()))
                .collect(),
            patterns,
            pending: BTreeSet::new(),
            unanswered: true,
        };
        watch.pending = watch.topics.clone();
        if !watch.patterns.is_empty() {
            let matching = all_topics.filter(|topic| watch.matches(topic));
            let matching: Vec<_> = matching.cloned().collect();
            watch.pending.extend(matching);
        }
        check_count(
            "matching topics",
            watch.pending.len(),
            self.limits.topics_per_watch_max,
        )?;
        self.remove(connection);
        if self.pending + watch.pending.len() > self.limits.pending_max {
            return Err(WatchError::NoRoom);
        }
        self.pending += watch.pending.len();
        self.by_connection.insert(connection, watch);
        Ok(())
    }

    /// The connection is gone.
    pub fn remove(&mut self, connection: ConnectionId) {
        if let Some(watch) = self.by_connection.remove(&connection) {
            self.pending -= watch.pending.len();
        }
    }

    /// Takes note of changed topics.
    pub fn notice(&mut self, changed: &BTreeSet<Arc<str>>) -> Noticed {
        let mut noticed = Noticed::default();
        if changed.is_empty() {
            return noticed;
        }
        for (connection, watch) in &mut self.by_connection {
            let before = watch.pending.len();
            watch.add(changed);
            self.pending += watch.pending.len() - before;
            let over_own_limit = watch.pending.len() > self.limits.topics_per_watch_max;
            if over_own_limit || self.pending > self.limits.pending_max {
                noticed.close.push(*connection);
            } else if watch.pending.len() > before {
                noticed.wake.push(*connection);
            }
            // Closed at once, so that the one watcher that is over the limit does not cost the next its place.
            if noticed.close.last() == Some(connection) {
                self.pending -= watch.pending.len();
                watch.pending.clear();
            }
        }
        for connection in &noticed.close {
            self.by_connection.remove(connection);
        }
        noticed
    }

    /// Takes up to `topics_max` topics that wait for this watcher.
    pub fn take(&mut self, connection: ConnectionId, topics_max: usize) -> Option<Push> {
        let watch = self.by_connection.get_mut(&connection)?;
        if watch.pending.is_empty() && !watch.unanswered {
            return None;
        }
        watch.unanswered = false;
        let mut topics = Vec::new();
        while topics.len() < topics_max
            && let Some(topic) = watch.pending.pop_first()
        {
            topics.push(topic);
        }
        self.pending -= topics.len();
        Some(Push {
            correlation_id: watch.correlation_id,
            topics,
            more: !watch.pending.is_empty(),
        })
    }

    pub fn len(&self) -> usize {
        self.by_connection.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_connection.is_empty()
    }
}

fn check_count(what: &'static str, count: usize, limit: usize) -> Result<(), WatchError> {
    if count > limit {
        return Err(WatchError::TooMany { what, count, limit });
    }
    Ok(())
}

/// A pattern that must match a whole name.
fn compile(pattern: &str) -> Result<Regex, WatchError> {
    let refused = |why: String| WatchError::Pattern {
        pattern: pattern.chars().take(80).collect(),
        why,
    };
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(refused(format!(
            "it is longer than {PATTERN_BYTES_MAX} bytes"
        )));
    }
    let build = |pattern: &str| {
        RegexBuilder::new(pattern)
            .size_limit(PATTERN_PROGRAM_BYTES_MAX)
            .dfa_size_limit(PATTERN_PROGRAM_BYTES_MAX)
            .build()
            .map_err(|error| refused(error.to_string()))
    };
    build(pattern)?; // valid by itself, so that its parentheses cannot reach around the anchors
    build(&format!("^(?:{pattern})$"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> BTreeSet<Arc<str>> {
        names.iter().map(|name| Arc::from(*name)).collect()
    }

    fn watches(topics_per_watch_max: usize, pending_max: usize) -> Watches {
        Watches::new(WatchLimits {
            topics_per_watch_max,
            pending_max,
        })
    }

    fn taken(watches: &mut Watches, connection: ConnectionId) -> Vec<String> {
        let push = watches.take(connection, 100);
        push.into_iter()
            .flat_map(|push| push.topics)
            .map(|topic| topic.to_string())
            .collect()
    }

    #[test]
    fn the_first_push_is_the_state_and_comes_even_if_empty() {
        let mut watches = watches(10, 100);
        let all = names(&["a", "ab", "b"]);
        watches
            .set(1, 7, &["zz".into()], &["a.*".into()], all.iter())
            .expect("valid");
        let push = watches.take(1, 2).expect("state");
        assert_eq!((push.correlation_id, push.more), (7, true));
        assert_eq!(taken(&mut watches, 1), ["zz"]);
        assert_eq!(watches.take(1, 2), None);
        watches
            .set(1, 8, &[], &["q".into()], all.iter())
            .expect("valid");
        assert_eq!(watches.take(1, 2).map(|push| push.topics.len()), Some(0));
        assert_eq!(watches.pending, 0);
    }

    #[test]
    fn patterns_match_whole_names_and_changes_coalesce() {
        let mut watches = watches(10, 100);
        watches
            .set(1, 1, &[], &["a|b".into()], [].iter())
            .expect("valid");
        watches.take(1, 1);
        assert_eq!(watches.notice(&names(&["xa", "bb"])), Noticed::default());
        assert_eq!(watches.notice(&names(&["a", "c"])).wake, [1]);
        assert_eq!(watches.notice(&names(&["a"])).wake, [] as [u64; 0]);
        assert_eq!(taken(&mut watches, 1), ["a"]);
    }

    #[test]
    fn a_watcher_over_its_bound_is_dropped_and_costs_nobody_else() {
        let mut watches = watches(2, 4);
        for connection in [1, 2] {
            watches
                .set(connection, 1, &[], &[".*".into()], [].iter())
                .expect("valid");
            watches.take(connection, 1);
        }
        watches.notice(&names(&["a", "b"]));
        taken(&mut watches, 2);
        let noticed = watches.notice(&names(&["c"]));
        assert_eq!((noticed.wake, noticed.close), (vec![2], vec![1]));
        assert_eq!(taken(&mut watches, 2), ["c"]);
        assert_eq!((watches.pending, watches.len()), (0, 1));
    }

    #[test]
    fn bad_and_oversized_patterns_are_refused() {
        let mut watches = watches(2, 4);
        for pattern in ["(", "((a{100}){100}){100}"] {
            let error = watches.set(1, 1, &[], &[pattern.into()], [].iter());
            assert!(
                matches!(error, Err(WatchError::Pattern { .. })),
                "{error:?}"
            );
        }
        let names = vec!["a".to_string(); 3];
        let error = watches.set(1, 1, &names, &[], [].iter());
        assert!(
            matches!(error, Err(WatchError::TooMany { .. })),
            "{error:?}"
        );
    }
}
