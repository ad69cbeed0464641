//! What can go wrong on a disk, with the operation, the file and the offset.

use std::fmt;

/// Which call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskOperation {
    /// `Disk::create`
    Create,
    /// `Disk::open`
    Open,
    /// `Disk::list`
    List,
    /// `Disk::rename`
    Rename,
    /// `Disk::remove`
    Remove,
    /// `Disk::sync_dir`
    SyncDir,
    /// `Disk::space`
    Space,
    /// `DiskFile::read_at`
    Read,
    /// `DiskFile::write_at`
    Write,
    /// `DiskFile::sync_data`
    Sync,
    /// `DiskFile::allocate`
    Allocate,
    /// `DiskFile::close`
    Close,
}

/// What the engine must tell apart; everything else is `Failed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskErrorKind {
    /// No space, quota or file-size limit: retryable once space returned.
    NoSpace,
    /// The process or the system has no descriptor left: retryable once some were closed.
    NoDescriptor,
    /// The file does not exist.
    NotFound,
    /// The file exists already.
    AlreadyExists,
    /// The device, file system or kernel failed.
    Failed,
}

impl DiskErrorKind {
    /// Whether the same call may succeed later, with the file as it was before.
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::NoSpace | Self::NoDescriptor)
    }
}

/// A failed disk call.
#[derive(Debug)]
pub struct DiskError {
    /// What the engine must tell apart.
    pub kind: DiskErrorKind,
    /// Which call failed.
    pub operation: DiskOperation,
    /// File name, or "." for the directory.
    pub file: String,
    /// Byte offset, where the call has one.
    pub offset: Option<u64>,
    /// The cause.
    pub source: std::io::Error,
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {}", self.operation, self.file)?;
        if let Some(offset) = self.offset {
            write!(f, " at byte {offset}")?;
        }
        write!(f, " failed: {}", self.source)
    }
}

impl std::error::Error for DiskError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}
