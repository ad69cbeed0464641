//! What the engine asks of the state that is built from its log.

use crate::position::{Position, QueueHandle, QueueOffset};
use ringmq_wire::batch::BatchHeader;

/// One record of the log.
#[derive(Debug, Clone, Copy)]
pub enum RecordRef<'a> {
    /// A record batch; the engine has placed it (queue, base offset, store time are set in the header).
    Batch(&'a BatchHeader),
    /// A change of the broker's state, in the broker's own encoding.
    Control(&'a [u8]),
}

/// A chunk of a snapshot, and where the next one starts.
#[derive(Debug)]
pub struct SnapshotChunk {
    /// The chunk in the state's own encoding; says itself which keys it covers.
    pub bytes: Vec<u8>,
    /// Opaque key of the last entry in the chunk; hand it to the next call. `None`: this was the last chunk.
    pub next: Option<Vec<u8>>,
}

/// Deterministic state: snapshot + replay gives the same state as having lived through it.
///
/// `apply` has no clock, no randomness, no hash order, and cannot fail: records hold outcomes. A snapshot is
/// taken in chunks while records go on being applied, so every chunk is stamped with the position up to which it
/// is current; `apply` skips what a restored chunk already holds (records below the stamp of the chunk that covers the key).
pub trait StateMachine: 'static {
    /// Applies the record at `position` (its record header), stored at `store_time_ms`.
    fn apply(&mut self, position: Position, store_time_ms: i64, record: RecordRef<'_>);
    /// The next offset of a queue; `None` for a queue that does not exist (any more).
    fn next_offset(&self, queue: QueueHandle) -> Option<QueueOffset>;
    /// The next offset of every queue that has had messages, by rising handle. With it, the log knows where silent
    /// queues stand although none of their messages is left.
    fn next_offsets(&self) -> Vec<(QueueHandle, QueueOffset)> {
        Vec::new()
    }
    /// The first offset of a queue that the state still wants kept, whatever the log holds below it.
    fn trim_offset(&self, queue: QueueHandle) -> QueueOffset {
        let _ = queue;
        QueueOffset(0)
    }
    /// Serialises the entries after `after` (`None`: from the start), about `bytes_max` bytes of them.
    fn snapshot_chunk(&self, after: Option<&[u8]>, bytes_max: usize) -> SnapshotChunk;
    /// Loads a chunk into an empty or partly restored state. `stamp`: it holds all records below this position.
    fn restore_chunk(&mut self, stamp: Position, bytes: &[u8]) -> Result<(), String>;
    /// All chunks are loaded; replay starts at the lowest stamp.
    fn restore_finished(&mut self);
    /// A checksum over the whole state, equal for equal states.
    fn digest(&self) -> u64;
}
