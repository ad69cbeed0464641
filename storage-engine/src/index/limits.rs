//! Sizes and bounds of the index, in one place.

/// Index size at which a segment is rolled early; counted by [`super::ActiveIndex::index_bytes`], which depends on
/// nothing but the log, so that every replica rolls at the same position.
pub const INDEX_BYTES_ROLL: u64 = 32 << 20;
/// What one batch counts for.
pub const BATCH_INDEX_BYTES: u64 = 48;
/// What one queue with batches in the segment counts for.
pub const QUEUE_INDEX_BYTES: u64 = 48;
/// What one key counts for.
pub const KEY_INDEX_BYTES: u64 = 16;
/// Positions within a segment are kept in 32 bits.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 32;
