//! How each shard stands, readable from any thread.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How a shard stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    Starting,
    Serving,
    /// Reads are served, appends are not; the reason in plain words.
    Degraded(String),
    /// It does not serve.
    Failed(String),
    /// It was told to stop and has.
    Stopped,
}

/// One entry a shard; a clone is a pointer.
#[derive(Debug, Clone)]
pub(super) struct Board {
    entries: Arc<Mutex<Vec<Condition>>>,
}

/// Marks the shard as failed when its executor unwinds.
#[derive(Debug)]
pub(super) struct Alive {
    board: Board,
    shard: usize,
}

impl Board {
    pub fn new(shards: usize) -> Self {
        Self {
            entries: Arc::new(Mutex::new(vec![Condition::Starting; shards])),
        }
    }

    pub fn get(&self, shard: usize) -> Condition {
        self.entries()[shard].clone()
    }

    pub fn all(&self) -> Vec<Condition> {
        self.entries().clone()
    }

    pub fn set(&self, shard: usize, condition: Condition) {
        self.entries()[shard] = condition;
    }

    pub fn watch(&self, shard: usize) -> Alive {
        Alive {
            board: self.clone(),
            shard,
        }
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Condition>> {
        // A panic between two assignments leaves nothing half done.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let reason = "its executor panicked; restart the broker".to_owned();
            self.board.set(self.shard, Condition::Failed(reason));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_shows() {
        let board = Board::new(2);
        let watched = board.clone();
        let thread = std::thread::spawn(move || {
            let _alive = watched.watch(1);
            panic!("on purpose");
        });
        assert!(thread.join().is_err());
        assert_eq!(board.get(0), Condition::Starting);
        assert!(matches!(board.get(1), Condition::Failed(_)));
    }
}
