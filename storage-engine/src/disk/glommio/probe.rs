//! The self-test before a directory is used: does direct IO through the ring give back what was written?

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use glommio::io::OpenOptions;

use super::error::{glommio_error, io_error};
use crate::disk::{BLOCK_BYTES, DiskError, DiskOperation};

/// Never listed and never a valid file name of the engine: it starts with a dot.
const PROBE_NAME: &str = ".direct-io-probe";
/// What `statfs` says for tmpfs.
const TMPFS_MAGIC: u64 = 0x0102_1994;

/// Writes a block, reads it back through the ring with O_DIRECT, compares.
///
/// glommio: the reactor decides for the whole device whether it can poll (IOPOLL) from the first `DmaFile`
/// opened on it; if that is a new, empty file, every later direct read on the device fails with EOPNOTSUPP.
/// So the first one opened is this one, with content.
pub(super) async fn direct_io(directory: &Path) -> Result<(), DiskError> {
    refuse_tmpfs(directory).map_err(|e| io_error(DiskOperation::Open, ".", None, e))?;
    let path = directory.join(PROBE_NAME);
    let pattern = pattern();
    write_probe(&path, &pattern)
        .map_err(|e| io_error(DiskOperation::Write, PROBE_NAME, None, e))?;
    let outcome = read_back(&path, &pattern).await;
    let removed = fs::remove_file(&path);
    outcome?;
    removed.map_err(|e| io_error(DiskOperation::Remove, PROBE_NAME, None, e))
}

/// glommio: on tmpfs it silently switches direct IO off; nothing there would survive anyway.
fn refuse_tmpfs(directory: &Path) -> io::Result<()> {
    let stat = rustix::fs::statfs(directory)?;
    if stat.f_type as u64 == TMPFS_MAGIC {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "the directory is on tmpfs (memory): it has no direct IO and nothing survives a restart; \
             use a directory on ext4 or xfs",
        ));
    }
    Ok(())
}

fn pattern() -> Vec<u8> {
    let salt: u8 = rand::random();
    (0..BLOCK_BYTES).map(|i| (i % 251) as u8 ^ salt).collect()
}

fn write_probe(path: &Path, pattern: &[u8]) -> io::Result<()> {
    let mut file = fs::File::create(path)?;
    file.write_all(pattern)?;
    file.sync_all()
}

async fn read_back(path: &Path, pattern: &[u8]) -> Result<(), DiskError> {
    let failed = |e| glommio_error(DiskOperation::Read, PROBE_NAME, Some(0), e);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .dma_open(path)
        .await
        .map_err(|e| glommio_error(DiskOperation::Open, PROBE_NAME, None, e))?;
    let read = file.read_at_aligned(0, BLOCK_BYTES).await;
    let same = read.as_ref().is_ok_and(|bytes| **bytes == *pattern);
    file.close().await.map_err(failed)?;
    read.map_err(failed)?;
    if !same {
        let source = io::Error::new(
            io::ErrorKind::InvalidData,
            "the block read back with direct IO is not the block that was written",
        );
        return Err(io_error(DiskOperation::Read, PROBE_NAME, Some(0), source));
    }
    Ok(())
}
