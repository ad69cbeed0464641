//! One shard's store: the only type of this crate that a broker works with.

mod metrics;
mod options;
mod types;

pub use crate::cache::SharedSlice;
pub use metrics::{Histogram, StoreMetrics};
pub use options::{StoreOptions, WriteMode};
pub use types::{
    AppendError, Appended, Damage, FoundBatch, Health, LogMode, LogStopped, OpenError, ReadBatches,
    ReadError, ReadLimits, StopError, StoredBatch,
};

use crate::disk::Disk;
use crate::position::{Frontiers, Position, QueueHandle, QueueOffset};
use crate::runtime::Runtime;
use crate::state_machine::StateMachine;
use std::rc::Rc;

/// Told which queues gained visible messages.
pub type VisibleListener = Rc<dyn Fn(&[QueueHandle])>;

struct Inner<D: Disk, R: Runtime, S: StateMachine> {
    _disk: D,
    _runtime: R,
    _state: S,
}

/// A cheap handle to the store of one shard.
pub struct Store<D: Disk, R: Runtime, S: StateMachine> {
    inner: Rc<Inner<D, R, S>>,
}

impl<D: Disk, R: Runtime, S: StateMachine> Clone for Store<D, R, S> {
    fn clone(&self) -> Self {
        let inner = self.inner.clone();
        Self { inner }
    }
}

#[allow(unused_variables, clippy::todo, reason = "bodies follow")]
impl<D: Disk, R: Runtime, S: StateMachine> Store<D, R, S> {
    /// Recovers the log, rebuilds `state` (which must be empty) and starts the background tasks.
    pub async fn open(
        disk: D,
        runtime: R,
        options: StoreOptions,
        state: S,
    ) -> Result<Self, OpenError> {
        todo!()
    }

    /// Looks at the state. What is shown may still be undone by a crash: a reply that exposes it waits until
    /// `durable(frontiers().appended)`.
    pub fn with_state<T>(&self, look: impl FnOnce(&S) -> T) -> T {
        todo!()
    }

    /// The time that the next record gets: the wall clock, but never less than the last record's.
    pub fn store_time_ms(&self) -> i64 {
        todo!()
    }

    /// Places a batch that `BatchView::parse` accepted and appends it.
    pub fn append_batch(
        &self,
        queue: QueueHandle,
        base_offset: QueueOffset,
        batch: &[u8],
    ) -> Result<Appended, AppendError> {
        todo!()
    }

    /// Appends a change of the state.
    pub fn append_control(&self, record: &[u8]) -> Result<Appended, AppendError> {
        todo!()
    }

    /// Waits until everything below `end` survives a power cut.
    pub async fn durable(&self, end: Position) -> Result<(), LogStopped> {
        todo!()
    }

    /// How far the log is.
    pub fn frontiers(&self) -> Frontiers {
        todo!()
    }

    /// The first offset that consumers may not read yet.
    pub fn visible_offset(&self, queue: QueueHandle) -> Option<QueueOffset> {
        todo!()
    }

    /// The first offset still stored.
    pub fn min_offset(&self, queue: QueueHandle) -> Option<QueueOffset> {
        todo!()
    }

    /// Calls `listener` whenever queues gained visible messages. It may call back into the store.
    pub fn on_visible(&self, listener: VisibleListener) {
        todo!()
    }

    /// Reads batches of a queue, beginning with the one that holds `from`; none if `from` is the visible offset.
    pub async fn read(
        &self,
        queue: QueueHandle,
        from: QueueOffset,
        limits: ReadLimits,
    ) -> Result<ReadBatches<D>, ReadError> {
        todo!()
    }

    /// Finds the batch of the message at `position`.
    pub async fn read_position(&self, position: Position) -> Result<FoundBatch<D>, ReadError> {
        todo!()
    }

    /// The first offset whose store time is at least `time_ms`; the visible offset if there is none.
    pub async fn offset_at_time(
        &self,
        queue: QueueHandle,
        time_ms: i64,
    ) -> Result<QueueOffset, ReadError> {
        todo!()
    }

    /// Positions of visible messages whose key hash is `key_hash`, newest first; the caller compares the key.
    pub async fn find_key(
        &self,
        queue: QueueHandle,
        key_hash: u32,
        from_ms: i64,
        to_ms: i64,
        max: usize,
    ) -> Result<Vec<Position>, ReadError> {
        todo!()
    }

    /// How the store is.
    pub fn health(&self) -> Health {
        todo!()
    }

    /// A copy of the counters.
    pub fn metrics(&self) -> StoreMetrics {
        todo!()
    }

    /// Bytes that may be appended before `Busy`.
    pub fn room(&self) -> usize {
        todo!()
    }

    /// Waits until `bytes` more may be appended, or the log is stopped.
    pub async fn wait_room(&self, bytes: usize) -> Result<(), LogStopped> {
        todo!()
    }

    /// Refuses further appends, waits for those accepted, writes a snapshot and marks the log clean.
    pub async fn stop(&self) -> Result<(), StopError> {
        todo!()
    }
}
