//! How far the process is in its life, and how its shards stand; read by probes, written by the main thread.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::runtime::Condition;

/// The life of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Shards are recovering.
    Starting,
    /// All shards serve.
    Serving,
    /// Told to stop; serves, but takes no new writers.
    Draining,
    /// Shards are flushing and ending.
    Stopping,
}

type Conditions = Arc<dyn Fn() -> Vec<Condition> + Send + Sync>;

/// A clone is a pointer.
#[derive(Clone)]
pub struct Standing {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    phase: Phase,
    conditions: Option<Conditions>,
}

impl Default for Standing {
    fn default() -> Self {
        Self {
            inner: Arc::new(Mutex::new(Inner {
                phase: Phase::Starting,
                conditions: None,
            })),
        }
    }
}

impl fmt::Debug for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Standing({:?})", self.phase())
    }
}

impl Standing {
    /// The process entered this phase.
    pub fn enter(&self, phase: Phase) {
        self.with(|inner| inner.phase = phase);
    }

    /// The shards are there, and this tells how they stand.
    pub fn watch(&self, conditions: impl Fn() -> Vec<Condition> + Send + Sync + 'static) {
        self.with(|inner| inner.conditions = Some(Arc::new(conditions)));
    }

    /// Where the process is.
    pub fn phase(&self) -> Phase {
        self.with(|inner| inner.phase)
    }

    /// How the shards stand; empty before they are there.
    pub fn conditions(&self) -> Vec<Condition> {
        let conditions = self.with(|inner| inner.conditions.clone());
        conditions.map_or_else(Vec::new, |conditions| conditions())
    }

    fn with<T>(&self, look: impl FnOnce(&mut Inner) -> T) -> T {
        // Assignments cannot be half done.
        look(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
