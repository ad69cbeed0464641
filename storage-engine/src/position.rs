//! Places in a log and in a queue; never mixed.

use std::fmt;

/// A byte position in a shard's log: segment number x segment size + offset in the segment. The position of a
/// message is the position of its batch's record header plus the message's index in the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(pub u64);

/// A shard's number for one queue of one topic incarnation; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueHandle(pub u32);

/// The number of a message within its queue, dense from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct QueueOffset(pub u64);

/// `appended >= written >= durable >= visible`, all exclusive ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Frontiers {
    /// End of what entered the open frame.
    pub appended: Position,
    /// End of the gapless prefix whose writes have finished.
    pub written: Position,
    /// End of what survives a power cut.
    pub durable: Position,
    /// End of what consumers may read.
    pub visible: Position,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
impl fmt::Display for QueueOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
