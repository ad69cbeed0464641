//! The seam between the engine and a disk.
//!
//! Everything the engine asks of storage goes through [`Disk`] (one shard's directory) and [`DiskFile`].
//! Two implementations serve: `disk::glommio` (io_uring, O_DIRECT) and `disk::sim` (in memory, deterministic, with
//! faults); both pass `tests/disk_conformance.rs`. `disk::plain` is for tools on a directory that nobody serves.
//!
//! Contract:
//! - Offsets and lengths of reads and writes are multiples of [`BLOCK_BYTES`]; buffers are aligned to it.
//! - A write is whole or an error; a short write of the device is an error.
//! - A finished [`Durability::Volatile`] write may be lost by a power cut until a [`DiskFile::sync_data`]
//!   that was *issued after it finished* has returned. A finished [`Durability::Durable`] write has made
//!   exactly its own range durable.
//! - Creating, renaming and removing a file may be lost until [`Disk::sync_dir`] returned.
//! - Dropping a read future is safe. Dropping a write future may or may not still change the disk, so
//!   the engine never does it.

use std::ops::{Deref, DerefMut};
use std::rc::Rc;

mod error;
#[cfg(target_os = "linux")]
pub mod glommio;
#[cfg(unix)]
pub mod plain;
#[cfg(feature = "sim")]
pub mod sim;

pub use error::{DiskError, DiskErrorKind, DiskOperation};

/// Unit of addressing and of power-cut damage: every frame starts on a block of its own.
pub const BLOCK_BYTES: usize = 4096;

/// What a finished write promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Survives a crash only after a later sync.
    Volatile,
    /// Survives a crash once the write has returned (O_DSYNC).
    Durable,
}

/// A block-aligned buffer that can be handed to a write. Its content is undefined after `alloc`.
pub trait DiskBuffer: Deref<Target = [u8]> + DerefMut + 'static {
    /// Shortens the buffer for good; `len` is at most the current length.
    fn truncate(&mut self, len: usize);
    /// Memory that the buffer takes; shortening it gives none back.
    fn allocated_bytes(&self) -> usize;
}

/// Bytes and whether anyone may still write the space they came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    /// Size of the file system as far as an unprivileged process may use it.
    pub total_bytes: u64,
    /// What an unprivileged process may still allocate.
    pub free_bytes: u64,
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// File name without directory.
    pub name: String,
    /// Length in bytes.
    pub len: u64,
}

/// Refuses names that would leave the directory, or that are reserved for the disk itself (leading dot).
fn check_name(operation: DiskOperation, name: &str) -> Result<(), DiskError> {
    if !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0']) {
        return Ok(());
    }
    Err(DiskError {
        kind: DiskErrorKind::Failed,
        operation,
        file: name.to_owned(),
        offset: None,
        source: std::io::Error::new(
            std::io::ErrorKind::InvalidInput,
            "not a plain file name (no separator, no leading dot)",
        ),
    })
}

/// One directory on a disk; a cheap handle.
#[allow(
    async_fn_in_trait,
    reason = "single-threaded executors: no Send bound wanted"
)]
pub trait Disk: Clone + 'static {
    /// Aligned memory for writes.
    type Buf: DiskBuffer;
    /// An open file.
    type File: DiskFile<Buf = Self::Buf>;

    /// A buffer of `len` bytes, a multiple of [`BLOCK_BYTES`].
    fn alloc(&self, len: usize) -> Self::Buf;
    /// Creates a new empty file, read-write; an existing one is an error. Names have no separator and no
    /// leading dot.
    async fn create(&self, name: &str) -> Result<Self::File, DiskError>;
    /// Opens an existing file, read-write.
    async fn open(&self, name: &str) -> Result<Self::File, DiskError>;
    /// All files, sorted by name.
    async fn list(&self) -> Result<Vec<DirEntry>, DiskError>;
    /// Renames within the directory, replacing `to`.
    async fn rename(&self, from: &str, to: &str) -> Result<(), DiskError>;
    /// Removes a file; open handles stay readable.
    async fn remove(&self, name: &str) -> Result<(), DiskError>;
    /// Makes earlier create, rename and remove calls durable.
    async fn sync_dir(&self) -> Result<(), DiskError>;
    /// Space of the file system below.
    async fn space(&self) -> Result<DiskSpace, DiskError>;
}

/// An open file.
#[allow(
    async_fn_in_trait,
    reason = "single-threaded executors: no Send bound wanted"
)]
pub trait DiskFile: 'static {
    /// Same as the disk's.
    type Buf: DiskBuffer;
    /// Bytes that were read; cheap to clone.
    type Read: Deref<Target = [u8]> + Clone + 'static;

    /// Length as of the last call that changed it.
    fn len(&self) -> u64;
    /// Whether the file has no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Reads exactly `len` bytes, or fails.
    async fn read_at(&self, offset: u64, len: usize) -> Result<Self::Read, DiskError>;
    /// Writes the whole buffer, or fails.
    async fn write_at(
        &self,
        buf: Rc<Self::Buf>,
        offset: u64,
        durability: Durability,
    ) -> Result<(), DiskError>;
    /// Makes every write that finished before this call durable, with the length needed to read it.
    async fn sync_data(&self) -> Result<(), DiskError>;
    /// Reserves space for `len` bytes and raises the length to it; new content reads as zero. Never
    /// shortens the file.
    async fn allocate(&self, len: u64) -> Result<(), DiskError>;
    /// Closes the file and reports what the kernel says.
    async fn close(self) -> Result<(), DiskError>;
}

/// The part of the contract that both disks hold their callers to.
fn check_aligned(
    operation: DiskOperation,
    file: &str,
    offset: u64,
    len: usize,
) -> Result<(), DiskError> {
    if offset.is_multiple_of(BLOCK_BYTES as u64) && len > 0 && len.is_multiple_of(BLOCK_BYTES) {
        return Ok(());
    }
    let why = format!("{len} bytes at {offset} are not whole blocks of {BLOCK_BYTES}");
    Err(DiskError {
        kind: DiskErrorKind::Failed,
        operation,
        file: file.to_owned(),
        offset: Some(offset),
        source: std::io::Error::new(std::io::ErrorKind::InvalidInput, why),
    })
}
