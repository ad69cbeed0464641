//! Getting bytes: from chunks or with reads of their own, each read once at a time.

use super::check::check;
use super::plan::{Plan, Span};
use super::streams::Step;
use super::{BatchReadError, CorruptCause, READS_AT_ONCE, Reader, SegmentSource, extent_of};
use crate::cache::SharedSlice;
use crate::commitlog::record::RECORD_HEADER_BYTES;
use crate::disk::{Disk, DiskError, DiskFile};
use crate::index::{BatchRef, Extent};
use crate::position::Position;
use crate::runtime::Runtime;
use crate::store::StoredBatch;
use futures_util::future::join_all;
use ringmq_wire::batch::BatchHeader;
use std::ops::Range;

type ReadOf<D> = <<D as Disk>::File as DiskFile>::Read;

/// Reads under way above which nothing is read ahead.
const READS_FOR_READ_AHEAD_MAX: usize = 8;

/// Chunks read ahead of a reader that takes small steps.
const READ_AHEAD_CHUNKS_MIN: usize = 2;

/// Why a span was not read.
enum SpanError {
    Disk(DiskError),
    /// The segment is not in the log.
    Gone,
    /// The file is shorter.
    BehindEnd,
}

impl<D: Disk, R: Runtime, F: SegmentSource<D>> Reader<D, R, F> {
    /// Reads one batch and checks it; what does not pass is read once more, alone.
    pub(super) async fn read_checked(
        &self,
        extent: &Extent,
        expected: Option<&BatchRef>,
        end: Position,
        plan: &Plan,
    ) -> Result<StoredBatch<D>, BatchReadError> {
        if let Some(record) = self.in_chunks(extent, end, plan).await
            && let Ok(header) = check(&record, extent, expected)
        {
            return Ok(stored(extent, record, header));
        }
        let corrupt = |cause| BatchReadError::Corrupt {
            position: extent.position,
            next_readable: expected.map(|batch| batch.next_offset),
            cause,
        };
        let result = match self.alone(extent).await {
            Err(SpanError::Gone) => return Err(BatchReadError::Gone(extent.position)),
            Err(SpanError::Disk(error)) => Err(CorruptCause::Unreadable(error)),
            Err(SpanError::BehindEnd) => Err(CorruptCause::BehindEnd),
            Ok(record) => {
                check(&record, extent, expected).map(|header| stored(extent, record, header))
            }
        };
        result.map_err(|cause| {
            self.count(|metrics| metrics.corrupt += 1);
            corrupt(cause)
        })
    }

    /// Reads the chunks behind the last batch of a reader that goes on where it stopped. Only the index knows where
    /// large batches are: returns how many bytes of them are worth [`Self::read_large_ahead`].
    pub(super) fn read_ahead(&self, step: Step, last: Extent, end: Position) -> u64 {
        if !self.inner.streams.borrow_mut().advance(step) {
            return 0;
        }
        let geometry = self.inner.geometry;
        if geometry.is_large(&last) {
            return step.bytes;
        }
        // As far ahead as the reader goes at a time.
        let count = (step.bytes / geometry.chunk_bytes) as usize;
        let count = count
            .max(READ_AHEAD_CHUNKS_MIN)
            .min(self.inner.options.read_ahead_chunks);
        for ahead in geometry.chunks_behind(&last, count) {
            let Some(span) = geometry.chunk_span(ahead, end) else {
                break;
            };
            let is_here = self.inner.chunks.borrow().contains(span.place(), span.len);
            if is_here || self.inner.flights.count() >= READS_FOR_READ_AHEAD_MAX {
                continue;
            }
            let reader = self.clone();
            self.inner.runtime.spawn(async move {
                // Whoever needs the chunk will meet the error again, and report it.
                let _ = reader.chunk(span).await;
            });
        }
        0
    }

    /// Reads those of `batches` that are large, for a reader that will ask for them next.
    pub async fn read_large_ahead(&self, batches: &[BatchRef]) {
        let geometry = self.inner.geometry;
        let large = batches.iter().map(extent_of);
        let large = large.take_while(|extent| geometry.is_large(extent));
        let mut bytes = 0;
        let mut reads = Vec::new();
        for extent in large.take(READS_AT_ONCE) {
            let (segment, range) = geometry.record(&extent);
            let span = geometry.blocks(segment, &range);
            let mut chunks = self.inner.chunks.borrow_mut();
            if chunks.contains(span.place(), span.len) || self.inner.flights.contains(&span) {
                continue;
            }
            bytes += span.len;
            if !chunks.make_room_ahead(bytes) {
                break;
            }
            reads.push(async move {
                // Whoever needs it will meet the error again, and report it.
                if let Ok(bytes) = self.span(span).await {
                    let mut chunks = self.inner.chunks.borrow_mut();
                    chunks.insert(span.place(), bytes, true);
                }
            });
        }
        join_all(reads).await;
    }

    /// A record from chunks; `None` if it is large, or its chunks are not worth it or cannot be read.
    async fn in_chunks(
        &self,
        extent: &Extent,
        end: Position,
        plan: &Plan,
    ) -> Option<SharedSlice<D>> {
        let geometry = self.inner.geometry;
        let (segment, range) = geometry.record(extent);
        if geometry.is_large(extent) {
            return self.read_before(geometry.blocks(segment, &range), &range);
        }
        let mut parts = Vec::with_capacity(2);
        let mut waited = false;
        for id in geometry.chunks(segment, &range) {
            let place = geometry.start(id);
            let start = place.offset;
            let needed = range.end.min(start + geometry.chunk_bytes) - start;
            let cached = self.inner.chunks.borrow_mut().find(place, needed as usize);
            let bytes = match cached {
                Some(bytes) => bytes,
                None => {
                    let again = self.inner.chunks.borrow_mut().touch(id);
                    if !again && !plan.is_dense(id) {
                        return None;
                    }
                    let span = geometry.chunk_span(id, end)?;
                    if (span.len as u64) < needed {
                        return None;
                    }
                    waited = true;
                    self.chunk(span).await.ok()?
                }
            };
            parts.push((start, bytes));
        }
        self.count(|metrics| {
            if waited {
                metrics.misses += 1;
            } else {
                metrics.chunk_hits += 1;
            }
        });
        Some(join(parts, &range))
    }

    /// A large record that was read ahead.
    fn read_before(&self, span: Span, range: &Range<u64>) -> Option<SharedSlice<D>> {
        let mut chunks = self.inner.chunks.borrow_mut();
        let bytes = chunks.take_large(span.place(), span.len)?;
        self.count(|metrics| metrics.chunk_hits += 1);
        Some(cut(span.offset, bytes, range))
    }

    /// A record by a read of its own.
    async fn alone(&self, extent: &Extent) -> Result<SharedSlice<D>, SpanError> {
        let (segment, range) = self.inner.geometry.record(extent);
        let span = self.inner.geometry.blocks(segment, &range);
        self.count(|metrics| metrics.misses += 1);
        let bytes = self.span(span).await?;
        // Where it was being read ahead, it need not wait for anybody any more.
        self.inner
            .chunks
            .borrow_mut()
            .take_large(span.place(), span.len);
        Ok(cut(span.offset, bytes, &range))
    }

    /// Reads a chunk into the cache.
    async fn chunk(&self, span: Span) -> Result<ReadOf<D>, SpanError> {
        let bytes = self.span(span).await?;
        let mut chunks = self.inner.chunks.borrow_mut();
        if !chunks.contains(span.place(), span.len) {
            chunks.insert(span.place(), bytes.clone(), false);
        }
        Ok(bytes)
    }

    async fn span(&self, span: Span) -> Result<ReadOf<D>, SpanError> {
        let flights = &self.inner.flights;
        flights
            .join(span, async || self.read_span(span).await)
            .await
    }

    async fn read_span(&self, span: Span) -> Result<ReadOf<D>, SpanError> {
        let segment = self.inner.source.segment(span.segment).await;
        let segment = segment.map_err(SpanError::Disk)?.ok_or(SpanError::Gone)?;
        let file = F::file(&segment);
        if span.offset + span.len as u64 > file.len() {
            return Err(SpanError::BehindEnd);
        }
        self.count(|metrics| {
            metrics.disk_reads += 1;
            metrics.disk_read_bytes += span.len as u64;
        });
        let read = file.read_at(span.offset, span.len).await;
        read.map_err(SpanError::Disk)
    }
}

fn stored<D: Disk>(extent: &Extent, record: SharedSlice<D>, header: BatchHeader) -> StoredBatch<D> {
    StoredBatch {
        position: extent.position,
        bytes: record.slice(RECORD_HEADER_BYTES..record.len()),
        header,
    }
}

/// What of `range` lies in `bytes`, which begin at `start`.
fn within(start: u64, bytes: &[u8], range: &Range<u64>) -> Range<usize> {
    let from = range.start.max(start) - start;
    let to = range.end.min(start + bytes.len() as u64) - start;
    from as usize..to as usize
}

/// The range out of bytes that hold all of it.
fn cut<D: Disk>(start: u64, bytes: ReadOf<D>, range: &Range<u64>) -> SharedSlice<D> {
    let part = within(start, &bytes, range);
    SharedSlice::of_read(bytes, part)
}

/// One slice of the parts (start in the segment, bytes); a record across chunks is copied together.
fn join<D: Disk>(mut parts: Vec<(u64, ReadOf<D>)>, range: &Range<u64>) -> SharedSlice<D> {
    if parts.len() == 1
        && let Some((start, bytes)) = parts.pop()
    {
        return cut(start, bytes, range);
    }
    let mut joined = Vec::with_capacity((range.end - range.start) as usize);
    for (start, bytes) in &parts {
        joined.extend_from_slice(&bytes[within(*start, bytes, range)]);
    }
    SharedSlice::owned(joined.into())
}
