//! A directory through plain system calls: for tools that look at, or mend, a directory that nobody serves.
//!
//! Works on any file system and through the page cache. Calls block, and their futures are ready at once. Opened with
//! [`PlainDisk::read_only`] nothing can be written through it, whatever its user tries.

use std::cell::Cell;
use std::fs::{self, File};
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::{
    DirEntry, Disk, DiskBuffer, DiskError, DiskErrorKind, DiskFile, DiskOperation, DiskSpace,
    Durability, check_aligned, check_name,
};

/// One directory; a cheap handle.
#[derive(Debug, Clone)]
pub struct PlainDisk {
    path: Rc<Path>,
    writable: bool,
}

/// A buffer; no alignment is needed here.
#[derive(Debug)]
pub struct PlainBuf(Vec<u8>);

/// An open file.
#[derive(Debug)]
pub struct PlainFile {
    name: String,
    file: File,
    len: Cell<u64>,
    writable: bool,
}

impl PlainDisk {
    /// A directory that is only looked at.
    #[must_use]
    pub fn read_only(path: &Path) -> Self {
        Self {
            path: path.into(),
            writable: false,
        }
    }

    /// A directory that may be changed.
    #[must_use]
    pub fn read_write(path: &Path) -> Self {
        Self {
            path: path.into(),
            writable: true,
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn change(&self, operation: DiskOperation, name: &str) -> Result<(), DiskError> {
        check_name(operation, name)?;
        refuse_unless(self.writable, operation, name)
    }
}

fn refuse_unless(writable: bool, operation: DiskOperation, name: &str) -> Result<(), DiskError> {
    if writable {
        return Ok(());
    }
    let source = io::Error::new(io::ErrorKind::PermissionDenied, "opened to be read only");
    Err(failed(operation, name, None, source))
}

fn failed(
    operation: DiskOperation,
    file: &str,
    offset: Option<u64>,
    source: io::Error,
) -> DiskError {
    let kind = match source.kind() {
        io::ErrorKind::NotFound => DiskErrorKind::NotFound,
        io::ErrorKind::AlreadyExists => DiskErrorKind::AlreadyExists,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => DiskErrorKind::NoSpace,
        _ => DiskErrorKind::Failed,
    };
    DiskError {
        kind,
        operation,
        file: file.to_owned(),
        offset,
        source,
    }
}

impl Deref for PlainBuf {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for PlainBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl DiskBuffer for PlainBuf {
    fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    fn allocated_bytes(&self) -> usize {
        self.0.capacity()
    }
}

impl Disk for PlainDisk {
    type Buf = PlainBuf;
    type File = PlainFile;

    fn alloc(&self, len: usize) -> PlainBuf {
        PlainBuf(vec![0; len])
    }

    async fn create(&self, name: &str) -> Result<PlainFile, DiskError> {
        self.change(DiskOperation::Create, name)?;
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(self.file(name))
            .map_err(|e| failed(DiskOperation::Create, name, None, e))?;
        Ok(PlainFile {
            name: name.to_owned(),
            file,
            len: Cell::new(0),
            writable: true,
        })
    }

    async fn open(&self, name: &str) -> Result<PlainFile, DiskError> {
        check_name(DiskOperation::Open, name)?;
        let opened = File::options()
            .read(true)
            .write(self.writable)
            .open(self.file(name));
        let opened = opened.and_then(|file| Ok((file.metadata()?.len(), file)));
        let (len, file) = opened.map_err(|e| failed(DiskOperation::Open, name, None, e))?;
        Ok(PlainFile {
            name: name.to_owned(),
            file,
            len: Cell::new(len),
            writable: self.writable,
        })
    }

    async fn list(&self) -> Result<Vec<DirEntry>, DiskError> {
        let list = || -> io::Result<Vec<DirEntry>> {
            let mut entries = Vec::new();
            for entry in fs::read_dir(&self.path)? {
                let entry = entry?;
                let metadata = entry.metadata()?;
                if metadata.is_file() {
                    let name = entry.file_name().to_string_lossy().into_owned();
                    let len = metadata.len();
                    entries.push(DirEntry { name, len });
                }
            }
            entries.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(entries)
        };
        list().map_err(|e| failed(DiskOperation::List, ".", None, e))
    }

    async fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.change(DiskOperation::Rename, from)?;
        self.change(DiskOperation::Rename, to)?;
        fs::rename(self.file(from), self.file(to))
            .map_err(|e| failed(DiskOperation::Rename, from, None, e))
    }

    async fn remove(&self, name: &str) -> Result<(), DiskError> {
        self.change(DiskOperation::Remove, name)?;
        fs::remove_file(self.file(name)).map_err(|e| failed(DiskOperation::Remove, name, None, e))
    }

    async fn sync_dir(&self) -> Result<(), DiskError> {
        if !self.writable {
            return Ok(());
        }
        let synced = File::open(&self.path).and_then(|directory| directory.sync_all());
        synced.map_err(|e| failed(DiskOperation::SyncDir, ".", None, e))
    }

    async fn space(&self) -> Result<DiskSpace, DiskError> {
        let stat = rustix::fs::statvfs(&*self.path)
            .map_err(|e| failed(DiskOperation::Space, ".", None, e.into()))?;
        Ok(DiskSpace {
            total_bytes: stat.f_blocks * stat.f_frsize,
            free_bytes: stat.f_bavail * stat.f_frsize,
        })
    }
}

impl DiskFile for PlainFile {
    type Buf = PlainBuf;
    type Read = Rc<[u8]>;

    fn len(&self) -> u64 {
        self.len.get()
    }

    async fn read_at(&self, offset: u64, len: usize) -> Result<Rc<[u8]>, DiskError> {
        let operation = DiskOperation::Read;
        check_aligned(operation, &self.name, offset, len)?;
        let mut bytes = vec![0; len];
        self.file
            .read_exact_at(&mut bytes, offset)
            .map_err(|e| failed(operation, &self.name, Some(offset), e))?;
        Ok(bytes.into())
    }

    async fn write_at(
        &self,
        buf: Rc<PlainBuf>,
        offset: u64,
        durability: Durability,
    ) -> Result<(), DiskError> {
        let operation = DiskOperation::Write;
        refuse_unless(self.writable, operation, &self.name)?;
        check_aligned(operation, &self.name, offset, buf.len())?;
        let mut written = self.file.write_all_at(&buf, offset);
        if durability == Durability::Durable {
            written = written.and_then(|()| self.file.sync_data());
        }
        written.map_err(|e| failed(operation, &self.name, Some(offset), e))?;
        let end = offset + buf.len() as u64;
        self.len.set(self.len.get().max(end));
        Ok(())
    }

    async fn sync_data(&self) -> Result<(), DiskError> {
        let synced = self.file.sync_data();
        synced.map_err(|e| failed(DiskOperation::Sync, &self.name, None, e))
    }

    async fn allocate(&self, len: u64) -> Result<(), DiskError> {
        let operation = DiskOperation::Allocate;
        refuse_unless(self.writable, operation, &self.name)?;
        if len > self.len.get() {
            let grown = self.file.set_len(len);
            grown.map_err(|e| failed(operation, &self.name, None, e))?;
            self.len.set(len);
        }
        Ok(())
    }

    async fn close(self) -> Result<(), DiskError> {
        Ok(())
    }
}
