//! The file that the limit writes to and reads from.

use super::failed;
use crate::BenchError;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

const CHUNK_BYTES: usize = 4 << 20;

/// A file whose every block has been written; removed when dropped.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
    pub(super) bytes: u64,
}

impl Scratch {
    /// Writes and syncs the file, in `directory` or else beside this program, which is on a real disk more often
    /// than the system's temporary directory.
    pub(super) fn prepare(directory: Option<&Path>, bytes: u64) -> Result<Self, BenchError> {
        let beside = || std::env::current_exe().ok()?.parent().map(Path::to_owned);
        let directory = directory
            .map(Path::to_owned)
            .or_else(beside)
            .unwrap_or_else(std::env::temp_dir);
        let name = format!("ringmq-bench-limit-{}.scratch", std::process::id());
        let scratch = Self {
            path: directory.join(name),
            bytes,
        };
        scratch
            .write()
            .map_err(|source| failed("write to", source))?;
        Ok(scratch)
    }

    fn write(&self) -> std::io::Result<()> {
        let mut chunk = vec![0; CHUNK_BYTES];
        rand::fill(&mut chunk[..]);
        let mut file = File::create_new(&self.path)?;
        let mut left = self.bytes;
        while left > 0 {
            let part = left.min(CHUNK_BYTES as u64) as usize;
            file.write_all(&chunk[..part])?;
            left -= part as u64;
        }
        file.sync_all()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is seen by its name.
        let _ = std::fs::remove_file(&self.path);
    }
}
