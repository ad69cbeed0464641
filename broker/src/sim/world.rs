//! What everything in a simulated run shares: time, network, plan, oracle, and the story so far.

use super::client::watch::Watch;
use super::net::Net;
use super::oracle::Oracle;
use super::plan::Plan;
use futures_lite::future::or;
use ringmq_storage_engine::runtime::Runtime;
use ringmq_storage_engine::runtime::sim::SimRuntime;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::time::Duration;

/// Lines of the story that are kept; the end is what explains a failure.
const STORY_LINES_MAX: usize = 20_000;

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Things break.
    Faults,
    /// Nothing breaks any more; what was begun must come to an end.
    Settling,
    /// Clients stop.
    Over,
}

/// See the module.
pub struct World {
    pub runtime: SimRuntime,
    pub net: Net,
    pub plan: Plan,
    pub oracle: RefCell<Oracle>,
    pub phase: Cell<Phase>,
    /// Clients that still have something to do.
    pub busy_clients: Cell<usize>,
    /// Watches at name servers.
    pub watches: RefCell<Vec<Weak<Watch>>>,
    story: Option<RefCell<VecDeque<String>>>,
}

impl World {
    /// `tell`: keep a readable trace.
    pub fn new(runtime: SimRuntime, net: Net, plan: Plan, tell: bool) -> Rc<Self> {
        Rc::new(Self {
            runtime,
            net,
            plan,
            oracle: RefCell::default(),
            phase: Cell::new(Phase::Faults),
            busy_clients: Cell::new(0),
            watches: RefCell::default(),
            story: tell.then(RefCell::default),
        })
    }

    /// Adds a line to the story, if there is one.
    pub fn tell(&self, line: impl FnOnce() -> String) {
        if let Some(story) = &self.story {
            let at = self.runtime.now().as_secs_f64();
            let line = format!("{at:>12.6} {}", line());
            let mut story = story.borrow_mut();
            if story.len() == STORY_LINES_MAX {
                story.pop_front();
            }
            story.push_back(line);
        }
    }

    /// The story so far.
    pub fn story(&self) -> Vec<String> {
        let story = self.story.as_ref();
        story.map_or_else(Vec::new, |story| story.borrow().iter().cloned().collect())
    }

    pub fn is_settling(&self) -> bool {
        self.phase.get() >= Phase::Settling
    }

    pub fn is_over(&self) -> bool {
        self.phase.get() == Phase::Over
    }

    /// The outcome, or `None` after so much time.
    pub async fn within<T>(&self, limit: Duration, outcome: impl Future<Output = T>) -> Option<T> {
        let late = async {
            self.runtime.sleep(limit).await;
            None
        };
        or(async { Some(outcome.await) }, late).await
    }

    /// Looks every few milliseconds until `done`; false if it is not within `limit`.
    pub async fn eventually(&self, limit: Duration, mut done: impl FnMut() -> bool) -> bool {
        let deadline = self.runtime.now() + limit;
        while !done() {
            if self.runtime.now() >= deadline {
                return false;
            }
            self.runtime.sleep(Duration::from_millis(10)).await;
        }
        true
    }
}
