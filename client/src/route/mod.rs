//! Routes: asked for once, then kept fresh by a watch on a name server.

mod table;
mod watcher;

pub(crate) use table::{Route, RouteTable};

use regex::Regex;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Instant,
};
use tokio::sync::{Notify, watch};
pub(crate) use watcher::keep_watching;

/// Topics of one client that a name server may be asked to watch.
pub(crate) const WATCHED_TOPICS_MAX: usize = 100_000;

/// The cache and what the watch covers.
#[derive(Debug)]
pub(crate) struct Routes {
    table: Mutex<RouteTable>,
    /// Raised at every change of the table.
    changed: watch::Sender<u64>,
    interest: Mutex<Interest>,
    interest_changed: Notify,
}

/// What is watched, each with the number of those who want it.
#[derive(Debug, Default)]
struct Interest {
    topics: BTreeMap<String, usize>,
    patterns: BTreeMap<String, usize>,
}

/// Keeps a name or pattern watched while it lives.
#[derive(Debug)]
pub(crate) struct Watched {
    routes: Arc<Routes>,
    name: String,
    is_pattern: bool,
}

impl Routes {
    pub(crate) fn new() -> Self {
        Self {
            table: Mutex::default(),
            changed: watch::Sender::new(0),
            interest: Mutex::default(),
            interest_changed: Notify::new(),
        }
    }

    pub(crate) fn table(&self) -> MutexGuard<'_, RouteTable> {
        self.table.lock().expect("no holder panics")
    }

    /// Sees a new value after every change.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Raised at every change; cheap to compare.
    pub(crate) fn version(&self) -> u64 {
        *self.changed.borrow()
    }

    pub(crate) fn announce_change(&self) {
        self.changed.send_modify(|version| *version += 1);
    }

    pub(crate) fn cached(&self, topic: &str) -> Option<Arc<Route>> {
        self.table().route(topic, Instant::now())
    }

    pub(crate) fn watch_topic(self: &Arc<Self>, topic: &str) -> Watched {
        self.add_interest(topic, false)
    }

    pub(crate) fn watch_pattern(self: &Arc<Self>, pattern: &str) -> Watched {
        self.add_interest(pattern, true)
    }

    fn add_interest(self: &Arc<Self>, name: &str, is_pattern: bool) -> Watched {
        let mut interest = self.interest.lock().expect("no holder panics");
        let set = if is_pattern {
            &mut interest.patterns
        } else {
            &mut interest.topics
        };
        let count = set.entry(name.to_owned()).or_default();
        *count += 1;
        if *count == 1 {
            self.interest_changed.notify_one();
        }
        Watched {
            routes: Arc::clone(self),
            name: name.to_owned(),
            is_pattern,
        }
    }

    /// Topics and patterns to watch.
    fn interest(&self) -> (Vec<String>, Vec<String>) {
        let interest = self.interest.lock().expect("no holder panics");
        let topics = interest
            .topics
            .keys()
            .take(WATCHED_TOPICS_MAX)
            .cloned()
            .collect();
        (topics, interest.patterns.keys().cloned().collect())
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let mut interest = self.routes.interest.lock().expect("no holder panics");
        let set = if self.is_pattern {
            &mut interest.patterns
        } else {
            &mut interest.topics
        };
        if let Some(count) = set.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                // Not announced: a watch that covers too much does no harm until the next one replaces it.
                set.remove(&self.name);
            }
        }
    }
}

/// A topic pattern as name servers read it: a regular expression that must match the whole name.
pub(crate) fn whole_name(pattern: &str) -> Result<Regex, regex::Error> {
    Regex::new(&format!("^(?:{pattern})$"))
}
