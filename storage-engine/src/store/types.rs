//! What goes into a store and comes out of it.

use crate::cache::SharedSlice;
use crate::commitlog::record::{STORE_TIME_BYTES, record_bytes};
use crate::disk::{Disk, DiskError};
use crate::index::IndexError;
use crate::position::{Position, QueueHandle, QueueOffset};
use ringmq_wire::batch::BatchHeader;
use std::rc::Rc;

/// One of several records that enter the log together.
#[derive(Debug, Clone, Copy)]
pub enum Append<'a> {
    /// A batch that `BatchView::parse` accepted, at the end of its queue.
    Batch {
        queue: QueueHandle,
        /// Where the queue ends once the records before this one are applied.
        base_offset: QueueOffset,
        batch: &'a [u8],
    },
    /// A change of the state.
    Control(&'a [u8]),
}

impl Append<'_> {
    /// What it takes in a frame.
    pub(super) fn record_bytes(&self) -> usize {
        match self {
            Self::Batch { batch, .. } => record_bytes(batch.len()),
            Self::Control(record) => record_bytes(STORE_TIME_BYTES + record.len()),
        }
    }
}

/// Whether records are taken while the disk is above its last watermark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// Messages are refused.
    Ordinary,
    /// They let go of older ones, so that space returns: taken while a segment is prepared.
    Relieving,
}

/// Where a record went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Position of the record; message `i` of a batch is at `position + i`.
    pub position: Position,
    /// End of the record: hand it to `Store::durable`.
    pub end: Position,
    /// The time stored with it.
    pub store_time_ms: i64,
}

/// Why the log takes no more records, for good.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogStopped {
    /// A write or sync failed; what was not durable by then may or may not survive.
    #[error("the log stopped after a failed write: {0}")]
    Failed(#[source] Rc<DiskError>),
    /// Damage was found below the durable frontier.
    #[error("the log is read-only: {0}")]
    ReadOnly(Damage),
    /// `Store::stop` was called.
    #[error("the log was stopped")]
    Stopped,
}

/// Bytes below the durable frontier that are not what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "damage in segment {segment} at byte {offset} (position {position}): the log was durable up to {durable}; {cause}"
)]
pub struct Damage {
    pub segment: u64,
    /// Byte in the segment.
    pub offset: u64,
    pub position: Position,
    /// Highest durable frontier that was proven.
    pub durable: Position,
    /// What was wrong at `position`.
    pub cause: String,
}

/// Why a record was not appended. Nothing changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// The in-flight bound is reached: wait with `Store::wait_room`.
    #[error("too many bytes are waiting for the disk")]
    Busy,
    /// Retryable once space returned.
    #[error("no space for another segment, or the disk is above its watermark")]
    NoSpace,
    #[error(transparent)]
    Failed(LogStopped),
    #[error(transparent)]
    ReadOnly(LogStopped),
    #[error("record of {bytes} bytes is over the limit of {limit}")]
    TooLarge { bytes: usize, limit: usize },
    #[error("the store is stopping")]
    Stopping,
}

/// Why a store did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("options: {0}")]
    Options(&'static str),
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Both slots of `shard.meta` are unreadable or gone although there are segments.
    #[error("shard.meta cannot be read: {0}")]
    MetaUnreadable(String),
    #[error("{file} was written by format version {found}; this program knows {known}")]
    NewerVersion {
        file: String,
        found: u16,
        known: u16,
    },
    /// State cannot be rebuilt: neither a snapshot nor the start of the log is there.
    #[error("state cannot be rebuilt: {0}")]
    StateUnavailable(String),
}

/// Why a read gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("offset {offset} is outside {min}..={visible}")]
    OffsetOutOfRange {
        offset: QueueOffset,
        min: QueueOffset,
        visible: QueueOffset,
    },
    /// Stored bytes are not what was written; `next_readable` is the first offset behind them.
    #[error("stored batch at position {position} is damaged")]
    Corrupt {
        position: Position,
        next_readable: QueueOffset,
    },
    #[error("queue {} does not exist", .0.0)]
    QueueNotFound(QueueHandle),
    /// Nothing is stored at this position (any more).
    #[error("no message at position {0}")]
    PositionNotFound(Position),
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The index cannot be read, nor made again.
    #[error(transparent)]
    Index(#[from] IndexError),
}

/// Why a clean stop was not clean; the log is whole all the same.
#[derive(Debug, thiserror::Error)]
pub enum StopError {
    #[error(transparent)]
    Log(#[from] LogStopped),
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Bounds of one read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimits {
    /// Bytes of all batches together; the first batch comes whatever its size.
    pub max_bytes: usize,
    /// Batches of one answer.
    pub max_batches: usize,
}

impl Default for ReadLimits {
    fn default() -> Self {
        Self {
            max_bytes: 1 << 20,
            max_batches: 4096,
        }
    }
}

/// A batch as it lies in the log.
#[derive(Debug, Clone)]
pub struct StoredBatch<D: Disk> {
    pub position: Position,
    /// Placed and checked bytes of the whole batch.
    pub bytes: SharedSlice<D>,
    pub header: BatchHeader,
}

/// Answer of `Store::read`. The first batch holds the offset asked for; it may start below it.
#[derive(Debug, Clone)]
pub struct ReadBatches<D: Disk> {
    pub batches: Vec<StoredBatch<D>>,
    /// Where to read on.
    pub next_offset: QueueOffset,
    /// First offset that may not be read yet.
    pub visible_offset: QueueOffset,
    /// First offset still stored.
    pub min_offset: QueueOffset,
}

/// Answer of `Store::read_position`: the batch that holds the message, and which of its records that is.
#[derive(Debug, Clone)]
pub struct FoundBatch<D: Disk> {
    pub batch: StoredBatch<D>,
    pub record_index: u32,
}

/// Whether the log takes records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogMode {
    /// Reads and appends.
    Serving,
    /// Reads; appends are refused until space returns.
    NoSpace,
    /// Reads; damage was found.
    ReadOnly,
    /// Reads; a write failed.
    Failed,
    /// Reads until the process ends.
    Stopped,
}

/// How the store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    pub mode: LogMode,
    /// Why `mode` is not `Serving`, in plain words.
    pub reason: Option<String>,
    /// What an operator should look at although the store serves.
    pub warnings: Vec<String>,
}

impl Health {
    /// Whether appends are taken.
    pub fn is_writable(&self) -> bool {
        self.mode == LogMode::Serving
    }
}
