//! A data directory: one process at a time, one node for ever, a known format.
//!
//! Layout: `LOCK` (held with `flock` while a process uses the directory), `superblock` and `superblock.copy`
//! (equal unless a power cut came between them), and one directory a shard, `shard-NN`.
//!
//! Invariants:
//! - Nothing is written into a directory that holds anything that is not ours.
//! - A directory with shard data but no readable superblock is never treated as empty.
//! - Shard directories exist, durably, before a superblock counts them; so a counted one that is missing is
//!   damage, not an unfinished start.
//! - The superblock is replaced by write to a temporary file, sync, rename, directory sync; the copy first.
//!
//! All calls block; they run once, before the executors start.

mod error;
mod stopped;
mod superblock;

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::FlockOperation;

pub use error::DataDirError;
pub use stopped::{CopyState, StoppedDir};
pub use superblock::{
    CLUSTER_BYTES_MAX, FORMAT_VERSION, FormatConstants, NODE_BYTES_MAX, SHARDS_MAX, Superblock,
    SuperblockError,
};

const LOCK: &str = "LOCK";
const SUPERBLOCK: &str = "superblock";
const SUPERBLOCK_COPY: &str = "superblock.copy";
const SUPERBLOCK_TEMPORARY: &str = "superblock.tmp";
const SHARD_PREFIX: &str = "shard-";
/// What `mkfs` leaves in a fresh file system.
const LOST_AND_FOUND: &str = "lost+found";

/// How many shards a start asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShardCount {
    /// So many in a new directory; an existing one keeps its own.
    New(u32),
    /// Exactly so many: an existing directory with fewer is raised, one with more is refused.
    Exactly(u32),
}

/// Who opens a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Name of the node, `[A-Za-z0-9_-]{1,60}`.
    pub node: String,
    /// Name of the cluster, 1 to 127 bytes.
    pub cluster: String,
    /// Shards.
    pub shards: ShardCount,
    /// Constants of a new directory; an existing one keeps its own.
    pub format: FormatConstants,
}

/// A directory that is locked by this process, until dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    superblock: Superblock,
    /// Holds the lock; closing it lets go.
    _lock: File,
}

/// What is in a directory before we touch it.
enum Found {
    /// Nothing, or an unfinished creation.
    Fresh,
    /// Ours.
    Superblock(Superblock),
}

impl DataDir {
    /// Opens the directory, or makes it when it is missing or empty.
    pub fn open_or_create(
        path: impl AsRef<Path>,
        identity: &Identity,
    ) -> Result<Self, DataDirError> {
        let path = path.as_ref();
        check_identity(identity)?;
        create_directory(path)?;
        // Before anything is created in it: a foreign directory stays untouched.
        inspect(path)?;
        let lock = lock(path)?;
        // Once more under the lock: another process may just have made it.
        let superblock = match inspect(path)? {
            Found::Superblock(superblock) => adopt(path, superblock, identity)?,
            Found::Fresh => create(path, identity)?,
        };
        Ok(Self {
            path: path.to_path_buf(),
            superblock,
            _lock: lock,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What its superblock says.
    #[must_use]
    pub fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    /// Number of shards.
    #[must_use]
    pub fn shards(&self) -> u32 {
        self.superblock.shards
    }

    /// Directory of a shard; it exists.
    #[must_use]
    pub fn shard_path(&self, shard: u32) -> PathBuf {
        assert!(shard < self.shards(), "shard {shard} is not counted");
        shard_path(&self.path, shard)
    }
}

fn shard_path(path: &Path, shard: u32) -> PathBuf {
    path.join(format!("{SHARD_PREFIX}{shard:02}"))
}

fn check_identity(identity: &Identity) -> Result<(), DataDirError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let node = &identity.node;
    if node.is_empty() || node.len() > NODE_BYTES_MAX || !node.chars().all(plain) {
        return Err(DataDirError::BadNode { node: node.clone() });
    }
    let cluster = &identity.cluster;
    if cluster.is_empty() || cluster.len() > CLUSTER_BYTES_MAX {
        return Err(DataDirError::BadCluster {
            cluster: cluster.clone(),
        });
    }
    let (ShardCount::New(shards) | ShardCount::Exactly(shards)) = identity.shards;
    if !(1..=SHARDS_MAX).contains(&shards) {
        return Err(DataDirError::BadShards { shards });
    }
    Ok(())
}

fn create_directory(path: &Path) -> Result<(), DataDirError> {
    let failed = |source| DataDirError::io("create", path, source);
    if path.is_dir() {
        return Ok(());
    }
    let missing: Vec<&Path> = path
        .ancestors()
        .take_while(|ancestor| !ancestor.as_os_str().is_empty() && !ancestor.exists())
        .collect();
    let made = DirBuilder::new().recursive(true).mode(0o750).create(path);
    made.map_err(failed)?;
    // The names must survive a power cut as what is in them does.
    for made in missing {
        match made.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => sync_directory(parent)?,
            _ => sync_directory(Path::new("."))?,
        }
    }
    Ok(())
}

fn inspect(path: &Path) -> Result<Found, DataDirError> {
    if let Some(superblock) = read_superblock(path)? {
        return Ok(Found::Superblock(superblock));
    }
    let mut foreign = Vec::new();
    for entry in fs::read_dir(path).map_err(|e| DataDirError::io("list", path, e))? {
        let entry = entry.map_err(|e| DataDirError::io("list", path, e))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(SHARD_PREFIX) && entry.path().is_dir() {
            let shard = entry.path();
            let mut files =
                fs::read_dir(&shard).map_err(|e| DataDirError::io("list", &shard, e))?;
            if files.next().is_some() {
                mark!("data_dir: shards without a superblock");
                return Err(DataDirError::SuperblockMissing {
                    path: path.to_path_buf(),
                });
            }
        } else if ![LOCK, SUPERBLOCK_TEMPORARY, LOST_AND_FOUND].contains(&name.as_str()) {
            foreign.push(name);
        }
    }
    if foreign.is_empty() {
        return Ok(Found::Fresh);
    }
    foreign.sort();
    foreign.truncate(3);
    Err(DataDirError::Foreign {
        path: path.to_path_buf(),
        example: foreign.join(", "),
    })
}

/// The superblock or its copy; `None` if neither was ever written.
///
/// A newer version writes the copy first, so a copy that is whole and of a version known here says that a newer version
/// in the superblock is a flipped bit.
fn read_superblock(path: &Path) -> Result<Option<Superblock>, DataDirError> {
    let (mut damage, mut newer) = (None, None);
    for name in [SUPERBLOCK, SUPERBLOCK_COPY] {
        let file = path.join(name);
        let bytes = match fs::read(&file) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(DataDirError::io("read", &file, e)),
        };
        match Superblock::decode(&bytes) {
            Ok(superblock) => {
                if let Some((file, source)) = damage {
                    mark!("data_dir: the copy of the superblock is used");
                    tracing::warn!(?file, %source, "superblock is damaged; its copy is used");
                }
                return Ok(Some(superblock));
            }
            Err(source) => {
                if let SuperblockError::Newer { found } = source {
                    newer = newer.or(Some(found));
                }
                damage = damage.or(Some((file, source)));
            }
        }
    }
    let path_buf = || path.to_path_buf();
    match (newer, damage) {
        (Some(found), _) => {
            mark!("data_dir: it is of a newer version");
            Err(DataDirError::Newer {
                path: path_buf(),
                found,
            })
        }
        (None, Some((path, source))) => {
            mark!("data_dir: no superblock can be read");
            Err(DataDirError::Unreadable { path, source })
        }
        (None, None) => Ok(None),
    }
}

fn lock(path: &Path) -> Result<File, DataDirError> {
    let file = path.join(LOCK);
    let failed = |source| DataDirError::io("lock", &file, source);
    let mut lock = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&file)
        .map_err(failed)?;
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            // Only for the message; the holder may be writing it just now.
            let _ = lock.read_to_string(&mut holder);
            return Err(DataDirError::InUse {
                path: path.to_path_buf(),
                process: holder.trim().parse().ok(),
            });
        }
        Err(errno) => return Err(failed(errno.into())),
    }
    lock.set_len(0).map_err(failed)?;
    writeln!(lock, "{}", std::process::id()).map_err(failed)?;
    Ok(lock)
}

fn create(path: &Path, identity: &Identity) -> Result<Superblock, DataDirError> {
    let (ShardCount::New(shards) | ShardCount::Exactly(shards)) = identity.shards;
    let created = SystemTime::now().duration_since(UNIX_EPOCH);
    let superblock = Superblock {
        directory_id: rand::random(),
        node: identity.node.clone(),
        cluster: identity.cluster.clone(),
        shards,
        format: identity.format,
        created_ms: created.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(0)),
    };
    create_shards(path, 0..shards)?;
    write_superblock(path, &superblock)?;
    Ok(superblock)
}

fn adopt(
    path: &Path,
    mut superblock: Superblock,
    identity: &Identity,
) -> Result<Superblock, DataDirError> {
    let path_buf = || path.to_path_buf();
    if superblock.cluster != identity.cluster {
        return Err(DataDirError::OtherCluster {
            path: path_buf(),
            found: superblock.cluster,
            wanted: identity.cluster.clone(),
        });
    }
    if superblock.node != identity.node {
        return Err(DataDirError::OtherNode {
            path: path_buf(),
            found: superblock.node,
            wanted: identity.node.clone(),
        });
    }
    let found = superblock.shards;
    for shard in 0..found {
        let shard_path = shard_path(path, shard);
        if !shard_path.is_dir() {
            mark!("data_dir: a shard is missing");
            return Err(DataDirError::ShardMissing { path: shard_path });
        }
    }
    match identity.shards {
        ShardCount::Exactly(wanted) if wanted < found => {
            return Err(DataDirError::FewerShards {
                path: path_buf(),
                found,
                wanted,
            });
        }
        ShardCount::Exactly(wanted) if wanted > found => {
            create_shards(path, found..wanted)?;
            superblock.shards = wanted;
            write_superblock(path, &superblock)?;
        }
        ShardCount::Exactly(_) | ShardCount::New(_) => repair(path, &superblock)?,
    }
    Ok(superblock)
}

/// Writes both copies again if one of them is missing, damaged or older.
fn repair(path: &Path, superblock: &Superblock) -> Result<(), DataDirError> {
    let expected = superblock.encode();
    let same = |name| fs::read(path.join(name)).is_ok_and(|bytes| bytes == expected);
    if same(SUPERBLOCK) && same(SUPERBLOCK_COPY) {
        return Ok(());
    }
    mark!("data_dir: the superblocks are written again");
    write_superblock(path, superblock)
}

fn create_shards(path: &Path, shards: std::ops::Range<u32>) -> Result<(), DataDirError> {
    for shard in shards {
        let shard_path = shard_path(path, shard);
        match DirBuilder::new().mode(0o750).create(&shard_path) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && shard_path.is_dir() => {}
            Err(e) => return Err(DataDirError::io("create", &shard_path, e)),
        }
    }
    sync_directory(path)
}

fn write_superblock(path: &Path, superblock: &Superblock) -> Result<(), DataDirError> {
    let bytes = superblock.encode();
    for name in [SUPERBLOCK_COPY, SUPERBLOCK] {
        let file = path.join(name);
        let temporary = path.join(SUPERBLOCK_TEMPORARY);
        let replaced = File::create(&temporary)
            .and_then(|mut new| new.write_all(&bytes).and_then(|()| new.sync_all()))
            .and_then(|()| fs::rename(&temporary, &file));
        replaced.map_err(|e| DataDirError::io("write", &file, e))?;
        sync_directory(path)?;
    }
    Ok(())
}

fn sync_directory(path: &Path) -> Result<(), DataDirError> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(|e| DataDirError::io("sync", path, e))
}

#[cfg(test)]
mod tests;
