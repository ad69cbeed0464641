//! The newest frames, as they were written: readers at the tail need no disk.

use super::SharedSlice;
use crate::disk::Disk;
use crate::position::Position;
use std::collections::VecDeque;
use std::rc::Rc;

/// Frames in log order, oldest evicted first, at most `bytes_max` of them (one frame may exceed it alone).
///
/// Lives on its shard's executor. A frame that is evicted while slices of it are out stays allocated until the last
/// of them is dropped; that memory is accounted for by whoever holds the slices.
pub struct TailCache<D: Disk> {
    frames: VecDeque<Frame<D>>,
    bytes: usize,
    bytes_max: usize,
}

struct Frame<D: Disk> {
    start: Position,
    buffer: Rc<D::Buf>,
}

impl<D: Disk> Frame<D> {
    fn end(&self) -> Position {
        Position(self.start.0 + self.buffer.len() as u64)
    }
}

impl<D: Disk> TailCache<D> {
    pub fn new(bytes_max: usize) -> Self {
        Self {
            frames: VecDeque::new(),
            bytes: 0,
            bytes_max,
        }
    }

    /// Adds the frame that starts at `start`, behind all others. What has to go for it goes to `evicted`, so that a
    /// buffer which nobody else holds can be used again.
    ///
    /// # Panics
    /// If the frame does not lie behind the last one.
    pub fn push(
        &mut self,
        start: Position,
        buffer: Rc<D::Buf>,
        mut evicted: impl FnMut(Rc<D::Buf>),
    ) {
        if let Some(last) = self.frames.back() {
            assert!(start >= last.end(), "frames enter the cache in log order");
        }
        self.bytes += buffer.len();
        self.frames.push_back(Frame { start, buffer });
        while self.bytes > self.bytes_max && self.frames.len() > 1 {
            let frame = self
                .frames
                .pop_front()
                .expect("more than one frame is there");
            self.bytes -= frame.buffer.len();
            evicted(frame.buffer);
        }
    }

    /// `len` bytes at `position`, if the frame around them is here.
    pub fn find(&self, position: Position, len: usize) -> Option<SharedSlice<D>> {
        let behind = self.frames.partition_point(|frame| frame.start <= position);
        let frame = self.frames.get(behind.checked_sub(1)?)?;
        let from = usize::try_from(position.0 - frame.start.0).ok()?;
        let to = from.checked_add(len)?;
        (to <= frame.buffer.len())
            .then(|| SharedSlice::of_frame(Rc::clone(&frame.buffer), from..to))
    }

    /// Position of the oldest byte; `None` when empty.
    pub fn start(&self) -> Option<Position> {
        self.frames.front().map(|frame| frame.start)
    }

    /// Bytes of all frames.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Forgets every frame that reaches beyond `cut`.
    pub fn truncate(&mut self, cut: Position) {
        while let Some(last) = self.frames.back() {
            if last.end() <= cut {
                break;
            }
            self.bytes -= last.buffer.len();
            self.frames.pop_back();
        }
    }
}
