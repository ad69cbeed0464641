//! One shard's store: the only type of this crate that a broker works with.
//!
//! ```text
//! append ─▶ open frame ─▶ writer ─▶ disk ─▶ durable ─▶ waiters, visible, listener     append.rs, writer.rs
//!              │ state, index, cache                                                  (commitlog::tail)
//! read  ◀──────┴──────────── below visible                                            read.rs
//! open: shard.meta, snapshot, replay, verdict                                         load.rs, replay.rs
//! stopped: indexes made again, a tail cut by name                                      mend.rs
//! aside: segments, bundles, snapshots, retention                                      upkeep.rs, snapshotting.rs, retire.rs, zeroing.rs
//! ```
//! - Lives on its shard's executor. Handles are cheap; tasks end with `stop` or a failed write.
//! - A record is applied to the state when it enters the open frame. Whoever shows state to the outside waits until
//!   `durable` passes what it depends on.
//! - `appended >= written >= durable >= visible`; `visible` is `durable` until there are replicas.
//! - After a failed write nothing more becomes durable or visible; what was visible stays readable.

mod append;
mod behind;
mod inner;
mod load;
pub mod mend;
mod meta_keeper;
mod metrics;
mod open;
mod options;
mod read;
mod rebuild;
mod replay;
mod retire;
mod snapshotting;
mod stop;
mod tail_copy;
mod types;
mod upkeep;
mod waiters;
mod writer;
mod zeroing;

pub use crate::cache::SharedSlice;
pub use metrics::{Histogram, StoreMetrics};
pub use options::{StoreOptions, WriteMode};
pub use types::{
    Append, AppendError, Appended, Damage, FoundBatch, Health, LogMode, LogStopped, OpenError,
    ReadBatches, ReadError, ReadLimits, StopError, StoredBatch, Urgency,
};

use crate::disk::Disk;
use crate::position::{Frontiers, Position, QueueHandle, QueueOffset};
use crate::runtime::Runtime;
use crate::state_machine::StateMachine;
use inner::Inner;
use std::rc::Rc;

/// Told which queues gained visible messages.
pub type VisibleListener = Rc<dyn Fn(&[QueueHandle])>;

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

impl<D: Disk, R: Runtime, S: StateMachine> Store<D, R, S> {
    /// Recovers the log, rebuilds `state` (which must be empty) and starts the background tasks.
    pub async fn open(
        disk: D,
        runtime: R,
        options: StoreOptions,
        state: S,
    ) -> Result<Self, OpenError> {
        let inner = open::open(disk, runtime, options, state).await?;
        Ok(Self { inner })
    }

    /// Looks at the state. What is shown may still be undone by a crash: a reply that exposes it waits until
    /// `durable(frontiers().appended)`.
    pub fn with_state<T>(&self, look: impl FnOnce(&S) -> T) -> T {
        look(&self.inner.state.borrow())
    }

    /// The time that the next record gets: the wall clock, but never less than the last record's.
    pub fn store_time_ms(&self) -> i64 {
        self.inner.store_time_ms()
    }

    /// Places a batch that `BatchView::parse` accepted and appends it.
    pub fn append_batch(
        &self,
        queue: QueueHandle,
        base_offset: QueueOffset,
        batch: &[u8],
    ) -> Result<Appended, AppendError> {
        self.append_pieces(queue, base_offset, &[batch])
    }

    /// As [`Self::append_batch`], for a batch that is these pieces one behind the other; the first holds its whole header.
    /// Each is copied once, to where it is written from.
    pub fn append_pieces(
        &self,
        queue: QueueHandle,
        base_offset: QueueOffset,
        pieces: &[&[u8]],
    ) -> Result<Appended, AppendError> {
        self.inner.append_batch(queue, base_offset, pieces)
    }

    /// Appends a change of the state.
    pub fn append_control(&self, record: &[u8]) -> Result<Appended, AppendError> {
        self.inner.append_control(record)
    }

    /// Appends several records in one frame: after a power cut all of them are there, or none. Nothing changed on an
    /// error; `TooLarge` tells that no frame takes them together.
    pub fn append_atomic(
        &self,
        records: &[Append<'_>],
        urgency: Urgency,
    ) -> Result<Vec<Appended>, AppendError> {
        self.inner.append_atomic(records, urgency)
    }

    /// Keeps segments that hold this position or later ones, whatever their age and however full the disk is;
    /// `None`: no wish.
    pub fn keep_from(&self, position: Option<Position>) {
        self.inner.kept_from.set(position);
    }

    /// Waits until everything below `end` survives a power cut.
    pub async fn durable(&self, end: Position) -> Result<(), LogStopped> {
        self.inner.wait_durable(end).await
    }

    /// How far the log is.
    pub fn frontiers(&self) -> Frontiers {
        self.inner.tail.borrow().frontiers()
    }

    /// The first offset that consumers may not read yet.
    pub fn visible_offset(&self, queue: QueueHandle) -> Option<QueueOffset> {
        self.inner.visible_offset(queue)
    }

    /// The first offset still stored.
    pub fn min_offset(&self, queue: QueueHandle) -> Option<QueueOffset> {
        self.inner.min_offset(queue)
    }

    /// Whether the visible message with this offset is among the newest, which are kept in memory.
    pub fn is_cached(&self, queue: QueueHandle, offset: QueueOffset) -> bool {
        self.inner.is_cached(queue, offset)
    }

    /// Calls `listener` whenever queues gained visible messages. It may call back into the store.
    pub fn on_visible(&self, listener: VisibleListener) {
        *self.inner.listener.borrow_mut() = Some(listener);
    }

    /// Reads batches of a queue, beginning with the one that holds `from`; none if `from` is the visible offset.
    pub async fn read(
        &self,
        queue: QueueHandle,
        from: QueueOffset,
        limits: ReadLimits,
    ) -> Result<ReadBatches<D>, ReadError> {
        self.inner.read(queue, from, limits).await
    }

    /// Finds the batch of the message at `position`.
    pub async fn read_position(&self, position: Position) -> Result<FoundBatch<D>, ReadError> {
        self.inner.read_position(position).await
    }

    /// The first offset whose store time is at least `time_ms`; the visible offset if there is none.
    pub async fn offset_at_time(
        &self,
        queue: QueueHandle,
        time_ms: i64,
    ) -> Result<QueueOffset, ReadError> {
        self.inner.offset_at_time(queue, time_ms).await
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
        self.inner
            .find_key(queue, key_hash, from_ms..=to_ms, max)
            .await
    }

    /// Whether messages are taken now: neither failed, nor damaged, nor full, nor being stopped.
    pub fn is_writable(&self) -> bool {
        self.inner.mode() == LogMode::Serving
    }

    /// How the store is.
    pub fn health(&self) -> Health {
        self.inner.health()
    }

    /// A copy of the counters.
    pub fn metrics(&self) -> StoreMetrics {
        self.inner.metrics()
    }

    /// Bytes that may be appended before `Busy`.
    pub fn room(&self) -> usize {
        self.inner.tail.borrow().room()
    }

    /// Waits until `bytes` more may be appended, or the log is stopped.
    pub async fn wait_room(&self, bytes: usize) -> Result<(), LogStopped> {
        self.inner.wait_room(bytes).await
    }

    /// Refuses further appends, waits for those accepted, writes a snapshot and marks the log clean.
    pub async fn stop(&self) -> Result<(), StopError> {
        self.inner.stop().await
    }
}
