//! Which bytes of which segment to read: pure.

use crate::disk::BLOCK_BYTES;
use crate::index::{BatchRef, Extent};
use crate::position::Position;
use std::collections::BTreeMap;
use std::ops::Range;

pub(super) use crate::commitlog::record::RECORD_HEADER_BYTES;

/// A chunk is read whole when at least this part of it is wanted.
const DENSE_PART: u64 = 8;

/// A record of more than this part of a chunk is large.
const LARGE_PART: u64 = 4;

/// A block-aligned range of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    pub(super) segment: u64,
    pub(super) offset: u64,
    pub(super) len: usize,
}

/// Where in the log bytes begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) segment: u64,
    pub(super) offset: u64,
}

impl Span {
    pub(super) fn place(&self) -> Place {
        Place {
            segment: self.segment,
            offset: self.offset,
        }
    }
}

/// A chunk of the log: `number` within its segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ChunkId {
    pub(super) segment: u64,
    pub(super) number: u64,
}

/// How segments and chunks divide the log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Geometry {
    pub(super) segment_bytes: u64,
    pub(super) chunk_bytes: u64,
}

/// Record header and batch.
pub(super) fn record_bytes(extent: &Extent) -> usize {
    RECORD_HEADER_BYTES + extent.batch_bytes as usize
}

impl Geometry {
    /// A record's segment and its bytes in it.
    pub(super) fn record(&self, extent: &Extent) -> (u64, Range<u64>) {
        let offset = extent.position.0 % self.segment_bytes;
        let segment = extent.position.0 / self.segment_bytes;
        (segment, offset..offset + record_bytes(extent) as u64)
    }

    /// The blocks around a range.
    pub(super) fn blocks(&self, segment: u64, range: &Range<u64>) -> Span {
        let block = BLOCK_BYTES as u64;
        let offset = range.start - range.start % block;
        Span {
            segment,
            offset,
            len: (range.end.next_multiple_of(block) - offset) as usize,
        }
    }

    /// Whether a record is read on its own: it would often lie across chunks, and be copied to be put together.
    pub(super) fn is_large(&self, extent: &Extent) -> bool {
        record_bytes(extent) as u64 * LARGE_PART > self.chunk_bytes
    }

    /// The first byte of a chunk.
    pub(super) fn start(&self, chunk: ChunkId) -> Place {
        Place {
            segment: chunk.segment,
            offset: chunk.number * self.chunk_bytes,
        }
    }

    /// The chunks that hold the bytes of a record that is not large: at most two.
    pub(super) fn chunks(
        &self,
        segment: u64,
        range: &Range<u64>,
    ) -> impl Iterator<Item = ChunkId> + use<> {
        let numbers = range.start / self.chunk_bytes..=(range.end - 1) / self.chunk_bytes;
        numbers.map(move |number| ChunkId { segment, number })
    }

    /// What of a chunk may be read when everything below `end` is final; `None`: nothing.
    pub(super) fn chunk_span(&self, chunk: ChunkId, end: Position) -> Option<Span> {
        let base = chunk.segment.checked_mul(self.segment_bytes)?;
        let offset = chunk.number * self.chunk_bytes;
        let to = (offset + self.chunk_bytes)
            .min(self.segment_bytes)
            .min(end.0.checked_sub(base)?);
        let len = to.checked_sub(offset)? as usize / BLOCK_BYTES * BLOCK_BYTES;
        (len > 0).then_some(Span {
            segment: chunk.segment,
            offset,
            len,
        })
    }

    /// The chunks behind the one in which a record ends.
    pub(super) fn chunks_behind(&self, extent: &Extent, count: usize) -> Vec<ChunkId> {
        let (segment, range) = self.record(extent);
        let per_segment = self.segment_bytes.div_ceil(self.chunk_bytes);
        let last = (range.end - 1) / self.chunk_bytes;
        (1..=count as u64)
            .map(|ahead| ChunkId {
                segment: segment + (last + ahead) / per_segment,
                number: (last + ahead) % per_segment,
            })
            .collect()
    }
}

/// How much of each chunk a request wants.
#[derive(Debug)]
pub(super) struct Plan {
    geometry: Geometry,
    wanted: BTreeMap<ChunkId, u64>,
}

impl Plan {
    pub(super) fn of(geometry: Geometry, batches: &[BatchRef]) -> Self {
        let mut wanted = BTreeMap::new();
        for batch in batches {
            let (segment, range) = geometry.record(&super::extent_of(batch));
            let number = range.start / geometry.chunk_bytes;
            *wanted.entry(ChunkId { segment, number }).or_insert(0) += range.end - range.start;
        }
        Self { geometry, wanted }
    }

    /// What is read together: the batches that start in one chunk, and each large one.
    pub(super) fn groups<'a>(
        &self,
        batches: &'a [BatchRef],
    ) -> impl Iterator<Item = &'a [BatchRef]> + use<'a> {
        let geometry = self.geometry;
        let chunk = move |batch: &BatchRef| {
            let extent = super::extent_of(batch);
            let (segment, range) = geometry.record(&extent);
            (!geometry.is_large(&extent)).then_some((segment, range.start / geometry.chunk_bytes))
        };
        batches
            .chunk_by(move |a, b| chunk(a).is_some_and(|chunk_of_a| chunk(b) == Some(chunk_of_a)))
    }

    /// Whether a chunk is worth reading whole.
    pub(super) fn is_dense(&self, chunk: ChunkId) -> bool {
        let wanted = self.wanted.get(&chunk).copied().unwrap_or(0);
        wanted * DENSE_PART >= self.geometry.chunk_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::TagsSummary;
    use crate::position::{QueueHandle, QueueOffset};

    const GEOMETRY: Geometry = Geometry {
        segment_bytes: 5 * 4096,
        chunk_bytes: 2 * 4096,
    };

    fn extent(position: u64, batch_bytes: u32) -> Extent {
        Extent {
            position: Position(position),
            batch_bytes,
        }
    }

    #[test]
    fn spans_cover_records_and_stay_inside() {
        let (segment, range) = GEOMETRY.record(&extent(5 * 4096 + 4090, 10));
        assert_eq!((segment, range.clone()), (1, 4090..4108));
        let blocks = GEOMETRY.blocks(segment, &range);
        assert_eq!((blocks.offset, blocks.len), (0, 2 * 4096));
        assert_eq!(GEOMETRY.chunks(segment, &range).count(), 1);
        assert_eq!(GEOMETRY.chunks(0, &(8000..8200)).count(), 2);
    }

    #[test]
    fn small_batches_of_a_chunk_are_read_together_and_large_ones_alone() {
        let batch = |position, batch_bytes| BatchRef {
            queue: QueueHandle(1),
            base_offset: QueueOffset(0),
            next_offset: QueueOffset(1),
            position: Position(position),
            batch_bytes,
            record_count: 1,
            store_time_ms: 0,
            tags: TagsSummary::default(),
        };
        let batches = [
            batch(0, 100),
            batch(200, 2000),
            batch(2400, 2200),
            batch(5000, 3000),
            batch(8100, 100),
            batch(8300, 100),
        ];
        let plan = Plan::of(GEOMETRY, &batches);
        let sizes: Vec<usize> = plan.groups(&batches).map(<[_]>::len).collect();
        assert_eq!(sizes, [2, 1, 1, 1, 1]);
    }

    #[test]
    fn a_chunk_ends_with_its_segment_and_with_what_is_final() {
        let chunk = |segment, number| ChunkId { segment, number };
        let far = Position(1 << 30);
        assert_eq!(
            GEOMETRY.chunk_span(chunk(0, 2), far).map(|s| s.len),
            Some(4096)
        );
        let end = Position(5 * 4096 + 4096 + 7);
        assert_eq!(
            GEOMETRY.chunk_span(chunk(1, 0), end).map(|s| s.len),
            Some(4096)
        );
        assert_eq!(GEOMETRY.chunk_span(chunk(1, 1), end), None);
        assert_eq!(GEOMETRY.chunk_span(chunk(2, 0), end), None);
    }

    #[test]
    fn chunks_behind_go_on_in_the_next_segment() {
        let behind = GEOMETRY.chunks_behind(&extent(3 * 4096, 10), 3);
        let ids: Vec<_> = behind.iter().map(|c| (c.segment, c.number)).collect();
        assert_eq!(ids, [(0, 2), (1, 0), (1, 1)]);
    }
}
