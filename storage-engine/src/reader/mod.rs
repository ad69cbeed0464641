//! Batches from the disk, for readers that are behind the tail cache.
//!
//! ```text
//!  batches of a queue (from the index)
//!       │ in the tail cache? ──▶ served, no IO
//!       ▼
//!  small, and many of them in one chunk of the log (256 KiB), or the chunk asked for again? ──▶ chunk cache, read-ahead
//!       │ else
//!       ▼
//!  a read of just the blocks of that batch, which may be under way already if its reader was foreseen
//! ```
//! - Chunks belong to the log, not to a reader: readers of different queues that go through the same region share
//!   them. Read-ahead follows a reader by (queue, next offset), so any number of interleaved readers each stream.
//! - Several reads of one request are under way at a time, so that a single reader gets what the disk can give.
//! - Memory is bounded: chunks in the cache, chunks being read ahead, streams remembered. Nothing here evicts the tail.
//! - Equal reads that are under way at the same time are one read.
//! - Whatever comes from the disk is checked before it is served: record header, batch structure, both checksums of the
//!   batch, and that it is the batch that the index named. What fails is read once more on its own, so that one bad
//!   block does not hide its neighbours, and is then reported as [`BatchReadError::Corrupt`].
//! - Only bytes below `end` (the visible position) are kept: they are never rewritten.

mod check;
mod chunks;
mod fetch;
mod flight;
mod plan;
mod streams;

pub use check::CorruptCause;

use crate::cache::SharedSlice;
use crate::disk::{Disk, DiskError};
use crate::index::{BatchRef, Extent};
use crate::position::{Position, QueueOffset};
use crate::runtime::Runtime;
use crate::store::StoredBatch;
use chunks::Chunks;
use flight::Flights;
use futures_util::stream::{self, StreamExt};
use plan::{Geometry, Plan};
use ringmq_wire::batch::BatchHeader;
use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;
use streams::{Step, Streams};

/// Reads of one request that are under way at a time.
const READS_AT_ONCE: usize = 8;

/// Where the bytes of segments come from.
#[allow(
    async_fn_in_trait,
    reason = "single-threaded executors: no Send bound wanted"
)]
pub trait SegmentSource<D: Disk>: 'static {
    /// An open segment; while it is held, the segment is not retired.
    type Segment: 'static;
    /// Its file.
    fn file(segment: &Self::Segment) -> &D::File;
    /// Opens a segment; `None` if it is not in the log (any more).
    async fn segment(&self, number: u64) -> Result<Option<Self::Segment>, DiskError>;
}

/// Bounds of a reader.
#[derive(Debug, Clone, Copy)]
pub struct ReaderOptions {
    /// Distance of segment bases.
    pub segment_bytes: u64,
    /// Unit of large reads: a multiple of 4096.
    pub chunk_bytes: usize,
    /// Memory for chunks.
    pub cache_bytes: usize,
    /// Most chunks read ahead of a reader that goes through the log in order.
    pub read_ahead_chunks: usize,
}

impl ReaderOptions {
    /// Bounds for production.
    pub fn new(segment_bytes: u64) -> Self {
        Self {
            segment_bytes,
            chunk_bytes: 256 << 10,
            cache_bytes: 16 << 20,
            read_ahead_chunks: 8,
        }
    }
}

/// Why a batch cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum BatchReadError {
    #[error("stored batch at position {position} is damaged: {cause}")]
    Corrupt {
        position: Position,
        /// Queue offset behind the batch, if the index told it.
        next_readable: Option<QueueOffset>,
        cause: CorruptCause,
    },
    /// Retention took the segment away.
    #[error("position {0} is not in the log any more")]
    Gone(Position),
}

/// What was read.
pub struct Served<D: Disk> {
    pub batches: Vec<StoredBatch<D>>,
    /// Bytes of large batches behind these that are worth [`Reader::read_large_ahead`]; 0: none.
    pub ahead_bytes: u64,
}

/// What a reader has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReaderMetrics {
    /// Batches that were in the tail cache.
    pub tail_hits: u64,
    /// Batches that were in a chunk in memory.
    pub chunk_hits: u64,
    /// Batches that had to wait for the disk.
    pub misses: u64,
    /// Reads of the disk, read-ahead included.
    pub disk_reads: u64,
    pub disk_read_bytes: u64,
    /// Batches that were not what was written.
    pub corrupt: u64,
}

/// Reads batches of one shard; a cheap handle. Lives on its shard's executor.
pub struct Reader<D: Disk, R: Runtime, F: SegmentSource<D>> {
    inner: Rc<Inner<D, R, F>>,
}

struct Inner<D: Disk, R: Runtime, F: SegmentSource<D>> {
    runtime: R,
    source: F,
    options: ReaderOptions,
    geometry: Geometry,
    chunks: RefCell<Chunks<D>>,
    flights: Flights<D>,
    streams: RefCell<Streams>,
    metrics: RefCell<ReaderMetrics>,
}

impl<D: Disk, R: Runtime, F: SegmentSource<D>> Clone for Reader<D, R, F> {
    fn clone(&self) -> Self {
        Self {
            inner: Rc::clone(&self.inner),
        }
    }
}

impl<D: Disk, R: Runtime, F: SegmentSource<D>> Reader<D, R, F> {
    pub fn new(runtime: R, source: F, options: ReaderOptions) -> Self {
        Self {
            inner: Rc::new(Inner {
                runtime,
                source,
                options,
                geometry: Geometry {
                    segment_bytes: options.segment_bytes,
                    chunk_bytes: options.chunk_bytes as u64,
                },
                chunks: RefCell::new(Chunks::new(options.cache_bytes)),
                flights: Flights::default(),
                streams: RefCell::default(),
                metrics: RefCell::default(),
            }),
        }
    }

    /// A copy of the counters.
    pub fn metrics(&self) -> ReaderMetrics {
        *self.inner.metrics.borrow()
    }

    /// Memory held by chunks.
    pub fn cached_bytes(&self) -> usize {
        self.inner.chunks.borrow().bytes()
    }

    /// Bytes of `batches`, which are consecutive batches of one queue, all below `end`. `tail` looks into the tail
    /// cache. Stops at the first that cannot be served; an error is that of the first batch.
    pub async fn read(
        &self,
        batches: &[BatchRef],
        end: Position,
        tail: impl Fn(Position, usize) -> Option<SharedSlice<D>>,
    ) -> Result<Served<D>, BatchReadError> {
        let mut served = Vec::with_capacity(batches.len());
        let at_tail = batches
            .iter()
            .map_while(|batch| self.in_tail(&extent_of(batch), &tail));
        served.extend(at_tail);
        let behind = &batches[served.len()..];
        if behind.is_empty() {
            return Ok(Served {
                batches: served,
                ahead_bytes: 0,
            });
        }
        let plan = Plan::of(self.inner.geometry, behind);
        let groups = plan
            .groups(behind)
            .map(|group| self.read_group(group, end, &plan, &tail));
        // The disk works on several at a time; they come out in order.
        let mut groups = pin!(stream::iter(groups).buffered(READS_AT_ONCE));
        while let Some((group, failed)) = groups.next().await {
            served.extend(group);
            match failed {
                Some(error) if served.is_empty() => return Err(error),
                Some(_) => break,
                None => {}
            }
        }
        let last = extent_of(&batches[served.len() - 1]);
        let ahead_bytes = match tail(last.position, 1) {
            Some(_) => 0,
            None => self.read_ahead(Step::of(&batches[..served.len()]), last, end),
        };
        Ok(Served {
            batches: served,
            ahead_bytes,
        })
    }

    /// Batches of one chunk, one after the other, up to the first that cannot be served.
    async fn read_group(
        &self,
        group: &[BatchRef],
        end: Position,
        plan: &Plan,
        tail: &impl Fn(Position, usize) -> Option<SharedSlice<D>>,
    ) -> (Vec<StoredBatch<D>>, Option<BatchReadError>) {
        let mut served = Vec::with_capacity(group.len());
        for batch in group {
            let extent = extent_of(batch);
            // The first of all may have left the tail, others not yet.
            if let Some(stored) = self.in_tail(&extent, tail) {
                served.push(stored);
                continue;
            }
            match self.read_checked(&extent, Some(batch), end, plan).await {
                Ok(stored) => served.push(stored),
                Err(error) => return (served, Some(error)),
            }
        }
        (served, None)
    }

    /// The batch at an extent of which only the index's word is known.
    pub async fn read_extent(
        &self,
        extent: Extent,
        end: Position,
        tail: impl Fn(Position, usize) -> Option<SharedSlice<D>>,
    ) -> Result<StoredBatch<D>, BatchReadError> {
        match self.in_tail(&extent, &tail) {
            Some(stored) => Ok(stored),
            None => {
                let plan = Plan::of(self.inner.geometry, &[]);
                self.read_checked(&extent, None, end, &plan).await
            }
        }
    }

    fn in_tail(
        &self,
        extent: &Extent,
        tail: &impl Fn(Position, usize) -> Option<SharedSlice<D>>,
    ) -> Option<StoredBatch<D>> {
        let record = tail(extent.position, plan::record_bytes(extent))?;
        let bytes = record.slice(plan::RECORD_HEADER_BYTES..record.len());
        // Checked when it was appended, and in memory ever since.
        let header = BatchHeader::parse(&bytes).ok()?;
        self.count(|metrics| metrics.tail_hits += 1);
        Some(StoredBatch {
            position: extent.position,
            bytes,
            header,
        })
    }

    fn count(&self, change: impl FnOnce(&mut ReaderMetrics)) {
        change(&mut self.inner.metrics.borrow_mut());
    }
}

fn extent_of(batch: &BatchRef) -> Extent {
    Extent {
        position: batch.position,
        batch_bytes: batch.batch_bytes,
    }
}

#[cfg(all(test, feature = "sim"))]
mod tests;
