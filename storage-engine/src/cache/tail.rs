//! The newest frames, as they were written: readers at the tail need no disk.
//!
//! A frame's buffer is as large as the frame was expected to become, aligned for the disk. Small frames are many, and would
//! take several times their size: they are kept as copies, and their buffers are free again once they are written.

use super::SharedSlice;
use crate::disk::{Disk, DiskBuffer};
use crate::position::Position;
use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;

/// Frames up to this size are copied: a few microseconds each, and frames are only that small while there is time.
const COPY_BYTES_MAX: usize = 32 << 10;

/// Frames in log order, oldest evicted first, in at most `bytes_max` of memory (one frame may exceed it alone).
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
    kept: Kept<D>,
}

enum Kept<D: Disk> {
    Buffer(Rc<D::Buf>),
    Copy(Rc<[u8]>),
}

impl<D: Disk> Frame<D> {
    fn new(start: Position, buffer: Rc<D::Buf>) -> Self {
        let kept = if buffer.len() <= COPY_BYTES_MAX {
            Kept::Copy(Rc::from(&buffer[..]))
        } else {
            Kept::Buffer(buffer)
        };
        Self { start, kept }
    }

    fn len(&self) -> usize {
        match &self.kept {
            Kept::Buffer(buffer) => buffer.len(),
            Kept::Copy(copy) => copy.len(),
        }
    }

    fn allocated_bytes(&self) -> usize {
        match &self.kept {
            Kept::Buffer(buffer) => buffer.allocated_bytes(),
            Kept::Copy(copy) => copy.len(),
        }
    }

    fn end(&self) -> Position {
        Position(self.start.0 + self.len() as u64)
    }

    fn slice(&self, range: Range<usize>) -> SharedSlice<D> {
        match &self.kept {
            Kept::Buffer(buffer) => SharedSlice::of_frame(Rc::clone(buffer), range),
            Kept::Copy(copy) => SharedSlice::owned(Rc::clone(copy)).slice(range),
        }
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

    /// Adds the frame that starts at `start`, behind all others.
    ///
    /// # Panics
    /// If the frame does not lie behind the last one.
    pub fn push(&mut self, start: Position, buffer: Rc<D::Buf>) {
        if let Some(last) = self.frames.back() {
            assert!(start >= last.end(), "frames enter the cache in log order");
        }
        let frame = Frame::new(start, buffer);
        self.bytes += frame.allocated_bytes();
        self.frames.push_back(frame);
        while self.bytes > self.bytes_max && self.frames.len() > 1 {
            let frame = self
                .frames
                .pop_front()
                .expect("more than one frame is there");
            self.bytes -= frame.allocated_bytes();
        }
    }

    /// `len` bytes at `position`, if the frame around them is here.
    pub fn find(&self, position: Position, len: usize) -> Option<SharedSlice<D>> {
        let behind = self.frames.partition_point(|frame| frame.start <= position);
        let frame = self.frames.get(behind.checked_sub(1)?)?;
        let from = usize::try_from(position.0 - frame.start.0).ok()?;
        let to = from.checked_add(len)?;
        (to <= frame.len()).then(|| frame.slice(from..to))
    }

    /// Position of the oldest byte; `None` when empty.
    pub fn start(&self) -> Option<Position> {
        self.frames.front().map(|frame| frame.start)
    }

    /// Memory that all frames take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Forgets every frame that reaches beyond `cut`.
    pub fn truncate(&mut self, cut: Position) {
        while let Some(last) = self.frames.back() {
            if last.end() <= cut {
                break;
            }
            self.bytes -= last.allocated_bytes();
            self.frames.pop_back();
        }
    }
}
