//! A part of a shared buffer.

use crate::disk::{Disk, DiskFile};
use std::fmt;
use std::ops::{Deref, Range};
use std::rc::Rc;

type ReadOf<D> = <<D as Disk>::File as DiskFile>::Read;

/// Bytes of the log; keeps the buffer they lie in alive. Cheap to clone.
pub struct SharedSlice<D: Disk> {
    source: Source<D>,
    range: Range<usize>,
}

enum Source<D: Disk> {
    Frame(Rc<D::Buf>),
    Read(ReadOf<D>),
    Owned(Rc<[u8]>),
}

impl<D: Disk> SharedSlice<D> {
    /// A part of a frame that was written.
    ///
    /// # Panics
    /// If `range` is not inside `frame`.
    pub fn of_frame(frame: Rc<D::Buf>, range: Range<usize>) -> Self {
        Self::new(Source::Frame(frame), range)
    }

    /// A part of what was read from a file.
    ///
    /// # Panics
    /// If `range` is not inside `read`.
    pub fn of_read(read: ReadOf<D>, range: Range<usize>) -> Self {
        Self::new(Source::Read(read), range)
    }

    /// Bytes of its own.
    pub fn owned(bytes: Rc<[u8]>) -> Self {
        let range = 0..bytes.len();
        Self::new(Source::Owned(bytes), range)
    }

    fn new(source: Source<D>, range: Range<usize>) -> Self {
        assert!(
            range.start <= range.end && range.end <= source.bytes().len(),
            "a slice lies inside its buffer"
        );
        Self { source, range }
    }

    /// A part of this slice.
    ///
    /// # Panics
    /// If `range` is not inside this slice.
    pub fn slice(&self, range: Range<usize>) -> Self {
        assert!(
            range.start <= range.end && range.end <= self.len(),
            "a slice lies inside its parent"
        );
        Self {
            source: self.source.clone(),
            range: self.range.start + range.start..self.range.start + range.end,
        }
    }

    /// Memory that stays allocated as long as this slice lives; others may share it.
    pub fn pinned_bytes(&self) -> usize {
        self.source.bytes().len()
    }
}

impl<D: Disk> Source<D> {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Frame(frame) => frame,
            Self::Read(read) => read,
            Self::Owned(bytes) => bytes,
        }
    }
}

impl<D: Disk> Deref for SharedSlice<D> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.source.bytes()[self.range.clone()]
    }
}

impl<D: Disk> Clone for SharedSlice<D> {
    fn clone(&self) -> Self {
        Self {
            source: self.source.clone(),
            range: self.range.clone(),
        }
    }
}

impl<D: Disk> Clone for Source<D> {
    fn clone(&self) -> Self {
        match self {
            Self::Frame(frame) => Self::Frame(Rc::clone(frame)),
            Self::Read(read) => Self::Read(read.clone()),
            Self::Owned(bytes) => Self::Owned(Rc::clone(bytes)),
        }
    }
}

impl<D: Disk> fmt::Debug for SharedSlice<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "SharedSlice({} of {} bytes)",
            self.len(),
            self.pinned_bytes()
        )
    }
}
