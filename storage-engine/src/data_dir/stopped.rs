//! A directory that no process serves, to be looked at or mended.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::{
    DataDirError, LOCK, SUPERBLOCK, SUPERBLOCK_COPY, Superblock, shard_path, write_superblock,
};

/// How one of the two superblocks is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyState {
    Good,
    /// It is whole, and says something else than the one that counts.
    Differs,
    Missing,
    Damaged(String),
}

/// A directory that this process keeps from being started, until dropped. Nothing in it is changed by that.
#[derive(Debug)]
pub struct StoppedDir {
    path: PathBuf,
    superblock: Superblock,
    copies: [(&'static str, CopyState); 2],
    /// Holds the lock, if there is a lock file; a directory without one was never started.
    _lock: Option<File>,
}

impl StoppedDir {
    /// Takes the lock and reads both superblocks.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        let lock = lock(path)?;
        let names = [SUPERBLOCK, SUPERBLOCK_COPY];
        let read = |name: &'static str| match fs::read(path.join(name)) {
            Ok(bytes) => Superblock::decode(&bytes).map_err(|e| CopyState::Damaged(e.to_string())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Err(CopyState::Missing),
            Err(e) => Err(CopyState::Damaged(e.to_string())),
        };
        let found = names.map(read);
        let Some(superblock) = found.iter().find_map(|one| one.as_ref().ok()).cloned() else {
            // Says in the same words as a start would why there is none, unless a start would make one.
            super::inspect(path)?;
            return Err(no_directory(path, "it is empty"));
        };
        let state = |one: &Result<Superblock, CopyState>| match one {
            Ok(found) if *found == superblock => CopyState::Good,
            Ok(_) => CopyState::Differs,
            Err(state) => state.clone(),
        };
        let copies = [(names[0], state(&found[0])), (names[1], state(&found[1]))];
        Ok(Self {
            path: path.to_path_buf(),
            superblock,
            copies,
            _lock: lock,
        })
    }

    /// What counts.
    #[must_use]
    pub fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    /// File names of the superblocks, and how they are.
    #[must_use]
    pub fn copies(&self) -> &[(&'static str, CopyState); 2] {
        &self.copies
    }

    /// Directory of a shard, which may be missing.
    #[must_use]
    pub fn shard_path(&self, shard: u32) -> PathBuf {
        shard_path(&self.path, shard)
    }

    /// Writes both superblocks again.
    pub fn rewrite_superblocks(&self) -> Result<(), DataDirError> {
        write_superblock(&self.path, &self.superblock)
    }
}

fn no_directory(path: &Path, why: &'static str) -> DataDirError {
    DataDirError::NoDirectory {
        path: path.to_path_buf(),
        why,
    }
}

fn lock(path: &Path) -> Result<Option<File>, DataDirError> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => return Err(no_directory(path, "it is not a directory")),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(no_directory(path, "it does not exist"));
        }
        Err(e) => return Err(DataDirError::io("open", path, e)),
    }
    let file = path.join(LOCK);
    let mut lock = match File::open(&file) {
        Ok(lock) => lock,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(DataDirError::io("lock", &file, e)),
    };
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(lock)),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            // Only for the message.
            let _ = lock.read_to_string(&mut holder);
            Err(DataDirError::InUse {
                path: path.to_path_buf(),
                process: holder.trim().parse().ok(),
            })
        }
        Err(errno) => Err(DataDirError::io("lock", &file, errno.into())),
    }
}
