//! An open file on the ring.

use std::cell::Cell;
use std::io;
use std::path::Path;
use std::rc::Rc;

use glommio::io::{DmaFile, OpenOptions, ReadResult};

use super::GlommioBuf;
use super::error::{glommio_error, io_error};
use crate::disk::{DiskError, DiskErrorKind, DiskFile, DiskOperation, Durability, check_aligned};

/// O_DSYNC: a write returns once its own range, and the length needed to read it, are durable.
const DURABLE_FLAGS: i32 = rustix::fs::OFlags::DSYNC.bits() as i32;

/// An open file: one descriptor for volatile writes, reads and syncs, one with O_DSYNC.
#[derive(Debug)]
pub struct GlommioFile {
    volatile: DmaFile,
    durable: DmaFile,
    name: String,
    len: Cell<u64>,
}

impl GlommioFile {
    pub(super) async fn create(path: &Path, name: &str) -> Result<Self, DiskError> {
        let operation = DiskOperation::Create;
        let volatile = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o640)
            .dma_open(path)
            .await
            .map_err(|e| glommio_error(operation, name, None, e))?;
        Self::with_second_descriptor(volatile, path, name, operation, 0).await
    }

    pub(super) async fn open(path: &Path, name: &str) -> Result<Self, DiskError> {
        let operation = DiskOperation::Open;
        let volatile = OpenOptions::new()
            .read(true)
            .write(true)
            .dma_open(path)
            .await
            .map_err(|e| glommio_error(operation, name, None, e))?;
        let len = volatile
            .file_size()
            .await
            .map_err(|e| glommio_error(operation, name, None, e))?;
        Self::with_second_descriptor(volatile, path, name, operation, len).await
    }

    async fn with_second_descriptor(
        volatile: DmaFile,
        path: &Path,
        name: &str,
        operation: DiskOperation,
        len: u64,
    ) -> Result<Self, DiskError> {
        let durable = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(DURABLE_FLAGS)
            .dma_open(path)
            .await
            .map_err(|e| glommio_error(operation, name, None, e))?;
        Ok(Self {
            volatile,
            durable,
            name: name.to_owned(),
            len: Cell::new(len),
        })
    }

    fn failed(&self, operation: DiskOperation, offset: u64, why: String) -> DiskError {
        let source = io::Error::new(io::ErrorKind::UnexpectedEof, why);
        io_error(operation, &self.name, Some(offset), source)
    }

    /// A write that ended early is a failed write; whether it is for want of space decides if trying again
    /// later makes sense. glommio: `write_at` reports a short write as success with its length.
    fn short_write(&self, offset: u64, written: usize, wanted: usize) -> DiskError {
        let mut error = self.failed(
            DiskOperation::Write,
            offset,
            format!("short write: {written} of {wanted} bytes"),
        );
        let left = (wanted - written) as u64;
        // One non-blocking look on an error path; a full file system ends a write early before it says so.
        if rustix::fs::fstatvfs(descriptor(&self.volatile))
            .is_ok_and(|stat| stat.f_bavail.saturating_mul(stat.f_frsize) < left)
        {
            error.kind = DiskErrorKind::NoSpace;
        }
        error
    }
}

fn descriptor(file: &DmaFile) -> impl std::os::fd::AsFd + '_ {
    BorrowedDescriptor(file)
}

struct BorrowedDescriptor<'a>(&'a DmaFile);

impl std::os::fd::AsFd for BorrowedDescriptor<'_> {
    #[allow(unsafe_code, reason = "glommio offers only AsRawFd")]
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        use std::os::fd::AsRawFd;
        // SAFETY: the descriptor is owned by the DmaFile, which is borrowed for the whole lifetime.
        unsafe { std::os::fd::BorrowedFd::borrow_raw(self.0.as_raw_fd()) }
    }
}

impl DiskFile for GlommioFile {
    type Buf = GlommioBuf;
    type Read = ReadResult;

    fn len(&self) -> u64 {
        self.len.get()
    }

    async fn read_at(&self, offset: u64, len: usize) -> Result<ReadResult, DiskError> {
        let operation = DiskOperation::Read;
        check_aligned(operation, &self.name, offset, len)?;
        // glommio: `read_at` may return bytes past the end of the file; we read aligned and keep our own
        // length.
        let end = offset.saturating_add(len as u64);
        if end > self.len.get() {
            let why = format!("read to {end} in a file of {} bytes", self.len.get());
            return Err(self.failed(operation, offset, why));
        }
        let read = self
            .volatile
            .read_at_aligned(offset, len)
            .await
            .map_err(|e| glommio_error(operation, &self.name, Some(offset), e))?;
        if read.len() != len {
            let why = format!("short read: {} of {len} bytes", read.len());
            return Err(self.failed(operation, offset, why));
        }
        Ok(read)
    }

    async fn write_at(
        &self,
        buf: Rc<GlommioBuf>,
        offset: u64,
        durability: Durability,
    ) -> Result<(), DiskError> {
        let operation = DiskOperation::Write;
        let wanted = buf.len();
        check_aligned(operation, &self.name, offset, wanted)?;
        let file = match durability {
            Durability::Volatile => &self.volatile,
            Durability::Durable => &self.durable,
        };
        let written = file
            .write_rc_at(buf.shared(), offset)
            .await
            .map_err(|e| glommio_error(operation, &self.name, Some(offset), e))?;
        if written != wanted {
            return Err(self.short_write(offset, written, wanted));
        }
        let end = offset + wanted as u64;
        self.len.set(self.len.get().max(end));
        Ok(())
    }

    async fn sync_data(&self) -> Result<(), DiskError> {
        self.volatile
            .fdatasync()
            .await
            .map_err(|e| glommio_error(DiskOperation::Sync, &self.name, None, e))
    }

    async fn allocate(&self, len: u64) -> Result<(), DiskError> {
        if len == 0 {
            return Ok(());
        }
        loop {
            match self.volatile.pre_allocate(len, false).await {
                Ok(()) => break,
                // fallocate may be interrupted by a signal, half done; it is idempotent.
                Err(e) if e.raw_os_error() == Some(rustix::io::Errno::INTR.raw_os_error()) => {}
                Err(e) => {
                    return Err(glommio_error(DiskOperation::Allocate, &self.name, None, e));
                }
            }
        }
        self.len.set(self.len.get().max(len));
        Ok(())
    }

    async fn close(self) -> Result<(), DiskError> {
        // glommio: dropping a file closes it in the background and ignores the result.
        let durable = self.durable.close().await;
        let volatile = self.volatile.close().await;
        durable
            .and(volatile)
            .map_err(|e| glommio_error(DiskOperation::Close, &self.name, None, e))
    }
}
