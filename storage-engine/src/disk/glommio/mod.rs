//! One directory on a real disk: io_uring, O_DIRECT, and O_DSYNC for durable writes.
//!
//! Invariants:
//! - Every file has two descriptors, one with O_DSYNC: durability is a flag of the descriptor, because
//!   glommio offers no per-write flag.
//! - A name never contains a directory separator; all files live directly in the directory.
//! - Calls that block (listing, directory sync, file system size) run on glommio's helper thread, never on
//!   the reactor.
//!
//! Defects of glommio 0.9.0 that matter here are worked round at the spot, each with a comment that starts
//! with "glommio:".

mod error;
mod file;
mod probe;

use std::fs;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use glommio::io::DmaBuffer;

use super::{
    BLOCK_BYTES, DirEntry, Disk, DiskBuffer, DiskError, DiskOperation, DiskSpace, check_name,
};
use error::{glommio_error, io_error};
pub use file::GlommioFile;

/// A directory on a file system with direct IO; a cheap handle. Lives on one executor.
#[derive(Debug, Clone)]
pub struct GlommioDisk {
    directory: Rc<Path>,
}

impl GlommioDisk {
    /// Opens an existing directory and proves that direct IO works in it: a block is written, read back
    /// through the ring and compared. Must run on the executor that will use the disk, before any other
    /// `DmaFile` is opened on the device.
    pub async fn open(directory: impl AsRef<Path>) -> Result<Self, DiskError> {
        let directory = directory.as_ref();
        ignore_file_size_signal()
            .map_err(|source| io_error(DiskOperation::Open, ".", None, source))?;
        probe::direct_io(directory).await?;
        Ok(Self {
            directory: Rc::from(directory),
        })
    }

    /// Where the files are.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn path(&self, operation: DiskOperation, name: &str) -> Result<PathBuf, DiskError> {
        check_name(operation, name)?;
        Ok(self.directory.join(name))
    }

    /// Runs a blocking call on the helper thread. `call` must not panic: glommio: a panic in
    /// `spawn_blocking` never resolves.
    async fn blocking<T: Send + 'static>(
        &self,
        operation: DiskOperation,
        call: impl FnOnce(&Path) -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, DiskError> {
        let directory = self.directory.to_path_buf();
        glommio::executor()
            .spawn_blocking(move || call(&directory))
            .await
            .map_err(|source| io_error(operation, ".", None, source))
    }
}

impl Disk for GlommioDisk {
    type Buf = GlommioBuf;
    type File = GlommioFile;

    fn alloc(&self, len: usize) -> GlommioBuf {
        assert!(
            len > 0 && len.is_multiple_of(BLOCK_BYTES),
            "a disk buffer of {len} bytes is not a positive multiple of {BLOCK_BYTES}"
        );
        GlommioBuf {
            buffer: Rc::new(glommio::allocate_dma_buffer(len)),
            allocated_bytes: len,
        }
    }

    async fn create(&self, name: &str) -> Result<GlommioFile, DiskError> {
        let path = self.path(DiskOperation::Create, name)?;
        GlommioFile::create(&path, name).await
    }

    async fn open(&self, name: &str) -> Result<GlommioFile, DiskError> {
        let path = self.path(DiskOperation::Open, name)?;
        GlommioFile::open(&path, name).await
    }

    async fn list(&self) -> Result<Vec<DirEntry>, DiskError> {
        self.blocking(DiskOperation::List, list_directory).await
    }

    async fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        let operation = DiskOperation::Rename;
        let (from_path, to_path) = (self.path(operation, from)?, self.path(operation, to)?);
        glommio::io::rename(from_path, to_path)
            .await
            .map_err(|e| glommio_error(operation, from, None, e))
    }

    async fn remove(&self, name: &str) -> Result<(), DiskError> {
        let operation = DiskOperation::Remove;
        let path = self.path(operation, name)?;
        glommio::io::remove(path)
            .await
            .map_err(|e| glommio_error(operation, name, None, e))
    }

    async fn sync_dir(&self) -> Result<(), DiskError> {
        // glommio: `Directory::sync` is fdatasync; whether that covers a changed entry when the directory's
        // size stays the same is up to the file system, so a full fsync it is.
        self.blocking(DiskOperation::SyncDir, |directory| {
            fs::File::open(directory)?.sync_all()
        })
        .await
    }

    async fn space(&self) -> Result<DiskSpace, DiskError> {
        self.blocking(DiskOperation::Space, |directory| {
            let stat = rustix::fs::statvfs(directory)?;
            Ok(DiskSpace {
                // As df counts: blocks that only the superuser may take are not part of the size.
                total_bytes: (stat.f_blocks - stat.f_bfree + stat.f_bavail)
                    .saturating_mul(stat.f_frsize),
                free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
            })
        })
        .await
    }
}

fn list_directory(directory: &Path) -> std::io::Result<Vec<DirEntry>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        // Names that are not UTF-8 or start with a dot are not ours.
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            Err(gone) if gone.kind() == std::io::ErrorKind::NotFound => continue,
            Err(other) => return Err(other),
        };
        if !name.starts_with('.') && metadata.is_file() {
            entries.push(DirEntry {
                name,
                len: metadata.len(),
            });
        }
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

/// A write over the file-size limit must come back as an error (EFBIG), not kill the process.
fn ignore_file_size_signal() -> std::io::Result<()> {
    use std::sync::atomic::AtomicBool;
    use std::sync::{Arc, OnceLock};

    use signal_hook::consts::signal::SIGXFSZ;
    static REGISTERED: OnceLock<Result<(), i32>> = OnceLock::new();
    let registered = REGISTERED.get_or_init(|| {
        signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))
            .map(|_| ())
            .map_err(|e| e.raw_os_error().unwrap_or(0))
    });
    (*registered).map_err(std::io::Error::from_raw_os_error)
}

/// Aligned memory from the executor's registered pool, or from the heap when the pool is used up.
#[derive(Debug)]
pub struct GlommioBuf {
    buffer: Rc<DmaBuffer>,
    allocated_bytes: usize,
}

impl GlommioBuf {
    fn shared(&self) -> Rc<DmaBuffer> {
        Rc::clone(&self.buffer)
    }

    /// The only holder is this buffer, except while a write of it is in flight; then nobody can have `&mut`
    /// of it, because writes take it by `Rc`. A straggling reference inside glommio is met with a copy.
    fn exclusive(&mut self) -> &mut DmaBuffer {
        if Rc::get_mut(&mut self.buffer).is_none() {
            let mut copy = glommio::allocate_dma_buffer(self.buffer.len());
            copy.as_bytes_mut().copy_from_slice(self.buffer.as_bytes());
            self.allocated_bytes = copy.len();
            self.buffer = Rc::new(copy);
        }
        Rc::get_mut(&mut self.buffer).expect("either unique from the start or a fresh copy")
    }
}

impl Deref for GlommioBuf {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.buffer.as_bytes()
    }
}

impl DerefMut for GlommioBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.exclusive().as_bytes_mut()
    }
}

impl DiskBuffer for GlommioBuf {
    fn truncate(&mut self, len: usize) {
        assert!(len <= self.len(), "a buffer can only be shortened");
        self.exclusive().trim_to_size(len);
    }

    fn allocated_bytes(&self) -> usize {
        self.allocated_bytes
    }
}
