//! What a store consists of. No borrow of a cell is held across an await.

use super::behind::Behind;
use super::meta_keeper::MetaKeeper;
use super::read::SegmentFiles;
use super::waiters::Waiters;
use super::zeroing::Piece;
use super::{
    AppendError, Damage, LogMode, LogStopped, StoreMetrics, StoreOptions, VisibleListener,
};
use crate::cache::TailCache;
use crate::commitlog::placement::Geometry;
use crate::commitlog::segments::Segments;
use crate::commitlog::tail::LogTail;
use crate::disk::{Disk, DiskError};
use crate::index::Catalog;
use crate::index::bundle::SealedAt;
use crate::position::Position;
use crate::reader::Reader;
use crate::runtime::Runtime;
use crate::snapshot::Snapshots;
use crate::sync::{Signal, Turn};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// Shared by the handles of a store and its tasks.
pub(super) struct Inner<D: Disk, R: Runtime, S> {
    pub(super) disk: D,
    pub(super) runtime: R,
    pub(super) options: StoreOptions,
    pub(super) geometry: Geometry,
    pub(super) state: RefCell<S>,
    pub(super) tail: RefCell<LogTail<D::Buf>>,
    pub(super) cache: RefCell<TailCache<D>>,
    pub(super) catalog: Catalog<D>,
    pub(super) segments: Rc<Segments<D>>,
    pub(super) reader: Reader<D, R, SegmentFiles<D>>,
    /// What is served behind damage.
    pub(super) behind: Behind,
    pub(super) meta: MetaKeeper<D>,
    pub(super) metrics: RefCell<StoreMetrics>,
    pub(super) waiters: RefCell<Waiters>,
    pub(super) listener: RefCell<Option<VisibleListener>>,
    /// Store time of the last record.
    pub(super) last_store_time_ms: Cell<i64>,
    /// The segment whose index takes batches.
    pub(super) indexed_segment: Cell<Option<u64>>,
    /// How the segments ended that are not sealed yet.
    pub(super) ended: RefCell<BTreeMap<u64, SealedAt>>,
    /// Last store time of segments, as far as known.
    pub(super) segment_times: RefCell<BTreeMap<u64, i64>>,
    /// Segments from here on stay; `None`: no wish.
    pub(super) kept_from: Cell<Option<Position>>,
    /// `None` while one is being published.
    pub(super) snapshots: RefCell<Option<Snapshots<D>>>,
    /// First stamp and size of the newest snapshot.
    pub(super) last_snapshot: Cell<(Position, u64)>,
    pub(super) snapshotting: Cell<bool>,
    /// Zeros that are being written ahead of the log.
    pub(super) zeroing: Cell<Option<Piece>>,
    /// One snapshot is taken at a time.
    pub(super) snapshot_turn: Turn,
    /// One index is rebuilt at a time.
    pub(super) rebuilding: Turn,
    /// One segment is sealed at a time.
    pub(super) sealing: Turn,
    /// Frames are out since then, and the disk has finished none; `None`: nothing is out.
    pub(super) waits_for_disk_since: Cell<Option<Duration>>,
    pub(super) condition: Condition,
    pub(super) signals: Signals,
}

/// Why a store would not take records.
#[derive(Default)]
pub(super) struct Condition {
    pub(super) failed: RefCell<Option<Rc<DiskError>>>,
    pub(super) damage: RefCell<Option<Damage>>,
    /// `stop` was called.
    pub(super) stopping: Cell<bool>,
    /// `stop` is done: the tasks end.
    pub(super) stopped: Cell<bool>,
    /// The next segment could not be prepared.
    pub(super) no_space: Cell<bool>,
    /// The disk is above its last watermark.
    pub(super) above_watermark: Cell<bool>,
    /// Retention waits for a snapshot.
    pub(super) wants_snapshot: Cell<bool>,
    /// An append was refused because this segment is not prepared yet.
    pub(super) wanted_segment: Cell<Option<u64>>,
}

/// What tasks and callers wait for.
#[derive(Default)]
pub(super) struct Signals {
    /// A frame may go out.
    pub(super) work: Signal,
    /// Bytes left the tail, a segment came, or the log stopped.
    pub(super) room: Signal,
    /// A segment was entered, or something else that the upkeep looks at.
    pub(super) upkeep: Signal,
    /// The durable frontier moved.
    pub(super) durable: Signal,
    /// A write of zeros ended.
    pub(super) zeroed: Signal,
    /// The next segment may be wanted.
    pub(super) prepare: Signal,
    /// A segment was entered, or the log stopped.
    pub(super) entered: Signal,
}

impl Signals {
    pub(super) fn notify_all(&self) {
        self.work.notify();
        self.room.notify();
        self.upkeep.notify();
        self.durable.notify();
        self.prepare.notify();
        self.entered.notify();
    }
}

impl<D: Disk, R: Runtime, S> Inner<D, R, S> {
    /// Why the log takes no more records, for good.
    pub(super) fn stopped(&self) -> Option<LogStopped> {
        let condition = &self.condition;
        if let Some(error) = &*condition.failed.borrow() {
            return Some(LogStopped::Failed(Rc::clone(error)));
        }
        if let Some(damage) = &*condition.damage.borrow() {
            return Some(LogStopped::ReadOnly(damage.clone()));
        }
        condition.stopped.get().then_some(LogStopped::Stopped)
    }

    /// Refuses what cannot be appended whatever it is.
    pub(super) fn check_appendable(&self) -> Result<(), AppendError> {
        match self.stopped() {
            Some(stopped @ LogStopped::Failed(_)) => Err(AppendError::Failed(stopped)),
            Some(stopped @ LogStopped::ReadOnly(_)) => Err(AppendError::ReadOnly(stopped)),
            Some(LogStopped::Stopped) => Err(AppendError::Stopping),
            None if self.condition.stopping.get() => Err(AppendError::Stopping),
            None => Ok(()),
        }
    }

    pub(super) fn mode(&self) -> LogMode {
        match self.stopped() {
            Some(LogStopped::Failed(_)) => LogMode::Failed,
            Some(LogStopped::ReadOnly(_)) => LogMode::ReadOnly,
            Some(LogStopped::Stopped) => LogMode::Stopped,
            None if self.condition.stopping.get() => LogMode::Stopped,
            None if self.condition.no_space.get() || self.condition.above_watermark.get() => {
                LogMode::NoSpace
            }
            None => LogMode::Serving,
        }
    }

    /// Everything below survives a power cut.
    pub(super) fn durable(&self) -> Position {
        self.tail.borrow().frontiers().durable
    }

    /// Whether the background tasks are to end.
    pub(super) fn is_over(&self) -> bool {
        self.condition.stopped.get() || self.condition.failed.borrow().is_some()
    }

    /// Stops the log: what was not durable by now may or may not be there after a restart.
    pub(super) fn fail(&self, error: DiskError) {
        if self.condition.failed.borrow().is_some() {
            return;
        }
        mark!("verdict: the log stops");
        tracing::error!(%error, "the log stops");
        *self.condition.failed.borrow_mut() = Some(Rc::new(error));
        self.tail.borrow_mut().fail();
        let waiting = self.waiters.borrow_mut().all();
        waiting.into_iter().for_each(std::task::Waker::wake);
        self.signals.notify_all();
    }
}
