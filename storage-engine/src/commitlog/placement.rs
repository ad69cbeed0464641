//! Where the next frame goes: pure.
//!
//! A frame starts where the last one ended, or, if it does not fit there, at the start of the next segment. The end
//! of a segment is kept for control records, the end of that for the engine's own, so that a full disk can still be
//! told that the log starts later.

use super::frame::FRAME_HEADER_BYTES;
use crate::position::Position;

/// Sizes that positions depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    pub segment_bytes: u64,
    pub reserve_bytes: u64,
    pub frame_bytes_max: usize,
}

/// Who writes a frame. Ordered by how far into the reserve it may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Writer {
    /// Batches, and control records while there are prepared segments.
    Ordinary,
    /// Control records when no segment is prepared.
    Control,
    /// The engine itself.
    Engine,
}

impl Geometry {
    /// Number of the segment that holds the byte at `position`.
    pub fn segment_of(&self, position: Position) -> u64 {
        position.0 / self.segment_bytes
    }

    /// First position of a segment.
    pub fn base_of(&self, segment: u64) -> Position {
        Position(segment * self.segment_bytes)
    }

    /// Byte of `position` in its segment.
    pub fn offset_of(&self, position: Position) -> u64 {
        position.0 % self.segment_bytes
    }

    /// Whether a segment starts at `position`.
    pub fn is_base(&self, position: Position) -> bool {
        self.offset_of(position) == 0
    }

    /// First position of the segment behind the one that holds the byte at `position`.
    pub fn next_base(&self, position: Position) -> Position {
        self.base_of(self.segment_of(position) + 1)
    }

    /// Largest frame, padding included, that `writer` may start at `position`.
    pub fn frame_room(&self, position: Position, writer: Writer) -> usize {
        let kept = match writer {
            Writer::Ordinary => self.reserve_bytes,
            Writer::Control => self.reserve_bytes / 2,
            Writer::Engine => 0,
        };
        let room = (self.segment_bytes - self.offset_of(position)).saturating_sub(kept);
        // Whole blocks only; `kept` may be an odd half.
        let room = room & !(crate::disk::BLOCK_BYTES as u64 - 1);
        usize::try_from(room).map_or(self.frame_bytes_max, |room| room.min(self.frame_bytes_max))
    }

    /// Largest body of one frame.
    pub fn body_bytes_max(&self) -> usize {
        self.frame_bytes_max - FRAME_HEADER_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GEOMETRY: Geometry = Geometry {
        segment_bytes: 16 * 4096,
        reserve_bytes: 2 * 4096,
        frame_bytes_max: 4 * 4096,
    };

    #[test]
    fn the_end_of_a_segment_is_kept() {
        let room = |block: u64, writer| GEOMETRY.frame_room(Position(block * 4096), writer) / 4096;
        assert_eq!(room(0, Writer::Ordinary), 4);
        assert_eq!(room(12, Writer::Ordinary), 2);
        assert_eq!(room(14, Writer::Ordinary), 0);
        assert_eq!(room(15, Writer::Ordinary), 0);
        assert_eq!(room(13, Writer::Control), 2);
        assert_eq!(room(14, Writer::Engine), 2);
        assert_eq!(room(16, Writer::Ordinary), 4, "the next segment");
    }

    #[test]
    fn positions_are_segment_times_size_plus_offset() {
        let position = Position(2 * 16 * 4096 + 8192);
        assert_eq!(GEOMETRY.segment_of(position), 2);
        assert_eq!(GEOMETRY.offset_of(position), 8192);
        assert_eq!(GEOMETRY.next_base(position), GEOMETRY.base_of(3));
        assert!(GEOMETRY.is_base(GEOMETRY.base_of(3)));
    }
}
