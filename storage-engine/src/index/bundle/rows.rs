//! Rows of the sections, one type each.

use super::page::PAGE_ROOM_BYTES;
use crate::format::{i64_at, put, u16_at, u32_at, u64_at};
use crate::index::{BatchRef, Extent, TagsSummary};
use crate::position::{Position, QueueHandle, QueueOffset};

/// A row of fixed size.
pub(super) trait Row: Copy {
    const BYTES: usize;
    /// Rows on a page.
    const PER_PAGE: usize = PAGE_ROOM_BYTES / Self::BYTES;
    /// `out` is zeroed and has `BYTES` bytes.
    fn encode(&self, out: &mut [u8]);
    /// `bytes` has `BYTES` bytes.
    fn decode(bytes: &[u8]) -> Self;
}

/// Section 0: a queue with batches in the segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct QueueRow {
    pub(super) queue: u32,
    pub(super) batches: u32,
    pub(super) first_row: u64,
    pub(super) first_offset: u64,
    pub(super) next_offset: u64,
}

/// Section 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BatchRow {
    pub(super) base_offset: u64,
    pub(super) store_time_ms: i64,
    pub(super) offset_in_segment: u32,
    pub(super) batch_bytes: u32,
    pub(super) last_offset_delta: u16,
    pub(super) record_count_minus_1: u16,
    pub(super) tags: u32,
}

/// Section 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ExtentRow {
    pub(super) offset_in_segment: u32,
    pub(super) batch_bytes: u32,
}

/// Section 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct KeyRow {
    pub(super) hash: u32,
    pub(super) queue: u32,
    pub(super) batch_row: u32,
    pub(super) record: u32,
}

/// Section 5: a queue and the offset behind its last message when the segment was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirectoryEntry {
    pub queue: QueueHandle,
    pub next_offset: QueueOffset,
}

impl BatchRow {
    pub(super) fn of(batch: &BatchRef, base: Position) -> Self {
        let delta = batch.next_offset.0 - batch.base_offset.0 - 1;
        Self {
            base_offset: batch.base_offset.0,
            store_time_ms: batch.store_time_ms,
            offset_in_segment: (batch.position.0 - base.0) as u32,
            batch_bytes: batch.batch_bytes,
            last_offset_delta: delta as u16,
            record_count_minus_1: (batch.record_count - 1) as u16,
            tags: batch.tags.0,
        }
    }

    /// Saturates, so that a damaged row stays harmless.
    pub(super) fn next_offset(&self) -> u64 {
        self.base_offset
            .saturating_add(u64::from(self.last_offset_delta) + 1)
    }

    pub(super) fn to_batch(self, queue: QueueHandle, base: Position) -> BatchRef {
        BatchRef {
            queue,
            base_offset: QueueOffset(self.base_offset),
            next_offset: QueueOffset(self.next_offset()),
            position: Position(base.0.saturating_add(u64::from(self.offset_in_segment))),
            batch_bytes: self.batch_bytes,
            record_count: u32::from(self.record_count_minus_1) + 1,
            store_time_ms: self.store_time_ms,
            tags: TagsSummary(self.tags),
        }
    }
}

impl ExtentRow {
    pub(super) fn of(extent: &Extent, base: Position) -> Self {
        Self {
            offset_in_segment: (extent.position.0 - base.0) as u32,
            batch_bytes: extent.batch_bytes,
        }
    }
}

impl Row for QueueRow {
    const BYTES: usize = 32;

    fn encode(&self, out: &mut [u8]) {
        put(out, 0, &self.queue.to_le_bytes());
        put(out, 4, &self.batches.to_le_bytes());
        put(out, 8, &self.first_row.to_le_bytes());
        put(out, 16, &self.first_offset.to_le_bytes());
        put(out, 24, &self.next_offset.to_le_bytes());
    }

    fn decode(bytes: &[u8]) -> Self {
        Self {
            queue: u32_at(bytes, 0),
            batches: u32_at(bytes, 4),
            first_row: u64_at(bytes, 8),
            first_offset: u64_at(bytes, 16),
            next_offset: u64_at(bytes, 24),
        }
    }
}

impl Row for BatchRow {
    const BYTES: usize = 32;

    fn encode(&self, out: &mut [u8]) {
        put(out, 0, &self.base_offset.to_le_bytes());
        put(out, 8, &self.store_time_ms.to_le_bytes());
        put(out, 16, &self.offset_in_segment.to_le_bytes());
        put(out, 20, &self.batch_bytes.to_le_bytes());
        put(out, 24, &self.last_offset_delta.to_le_bytes());
        put(out, 26, &self.record_count_minus_1.to_le_bytes());
        put(out, 28, &self.tags.to_le_bytes());
    }

    fn decode(bytes: &[u8]) -> Self {
        Self {
            base_offset: u64_at(bytes, 0),
            store_time_ms: i64_at(bytes, 8),
            offset_in_segment: u32_at(bytes, 16),
            batch_bytes: u32_at(bytes, 20),
            last_offset_delta: u16_at(bytes, 24),
            record_count_minus_1: u16_at(bytes, 26),
            tags: u32_at(bytes, 28),
        }
    }
}

impl Row for ExtentRow {
    const BYTES: usize = 8;

    fn encode(&self, out: &mut [u8]) {
        put(out, 0, &self.offset_in_segment.to_le_bytes());
        put(out, 4, &self.batch_bytes.to_le_bytes());
    }

    fn decode(bytes: &[u8]) -> Self {
        Self {
            offset_in_segment: u32_at(bytes, 0),
            batch_bytes: u32_at(bytes, 4),
        }
    }
}

impl Row for KeyRow {
    const BYTES: usize = 16;

    fn encode(&self, out: &mut [u8]) {
        put(out, 0, &self.hash.to_le_bytes());
        put(out, 4, &self.queue.to_le_bytes());
        put(out, 8, &self.batch_row.to_le_bytes());
        put(out, 12, &self.record.to_le_bytes());
    }

    fn decode(bytes: &[u8]) -> Self {
        Self {
            hash: u32_at(bytes, 0),
            queue: u32_at(bytes, 4),
            batch_row: u32_at(bytes, 8),
            record: u32_at(bytes, 12),
        }
    }
}

impl Row for DirectoryEntry {
    const BYTES: usize = 16;

    fn encode(&self, out: &mut [u8]) {
        put(out, 0, &self.queue.0.to_le_bytes());
        put(out, 8, &self.next_offset.0.to_le_bytes());
    }

    fn decode(bytes: &[u8]) -> Self {
        Self {
            queue: QueueHandle(u32_at(bytes, 0)),
            next_offset: QueueOffset(u64_at(bytes, 8)),
        }
    }
}
