//! What the index answers.

use super::TagsSummary;
use crate::position::{Position, QueueHandle, QueueOffset};

/// A batch as the index knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchRef {
    pub queue: QueueHandle,
    /// Queue offset of the first record.
    pub base_offset: QueueOffset,
    /// Queue offset behind the last record.
    pub next_offset: QueueOffset,
    /// Of the batch's record header.
    pub position: Position,
    /// Length of the batch behind its record header.
    pub batch_bytes: u32,
    pub record_count: u32,
    pub store_time_ms: i64,
    pub tags: TagsSummary,
}

/// Where a batch lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Of the batch's record header.
    pub position: Position,
    /// Length of the batch behind its record header.
    pub batch_bytes: u32,
}
