//! Why a data directory cannot be used, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use super::SuperblockError;
use super::superblock::{CLUSTER_BYTES_MAX, FORMAT_VERSION, NODE_BYTES_MAX, SHARDS_MAX};

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// The file system refused.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The node name cannot be part of a broker name.
    #[error("node name {node:?} must be 1 to {NODE_BYTES_MAX} characters of A-Z a-z 0-9 _ -")]
    BadNode {
        /// The name.
        node: String,
    },
    /// The cluster name is empty or too long.
    #[error("cluster name {cluster:?} must be 1 to {CLUSTER_BYTES_MAX} bytes long")]
    BadCluster {
        /// The name.
        cluster: String,
    },
    /// The number of shards is out of range.
    #[error("{shards} shards are out of range: 1 to {SHARDS_MAX}")]
    BadShards {
        /// The number asked for.
        shards: u32,
    },
    /// Another process holds the lock.
    #[error(
        "data directory {} is in use by {}; stop it, or choose another directory",
        path.display(),
        process.map_or_else(|| "another process".to_owned(), |id| format!("process {id}"))
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// Who holds it, as written in the lock file.
        process: Option<u32>,
    },
    /// Nothing that could be looked at or mended.
    #[error("there is no data directory at {}: {why}", path.display())]
    NoDirectory {
        /// The path.
        path: PathBuf,
        /// What is there.
        why: &'static str,
    },
    /// Something else lives there.
    #[error(
        "{} is not a RingMQ data directory and not empty (it holds {example}); choose an empty or a new one",
        path.display()
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// Some of what it holds.
        example: String,
    },
    /// There is shard data, but the superblock is gone.
    #[error(
        "{} holds shard data but no superblock; restore `superblock` or `superblock.copy` from a backup \
         (the directory is not treated as empty)",
        path.display()
    )]
    SuperblockMissing {
        /// The directory.
        path: PathBuf,
    },
    /// Both copies of the superblock are damaged.
    #[error(
        "the superblock {} and its copy are unreadable: {source}; restore one of them from a backup \
         (the directory is not treated as empty)",
        path.display()
    )]
    Unreadable {
        /// The first damaged copy.
        path: PathBuf,
        /// The damage.
        source: SuperblockError,
    },
    /// A newer version made the directory.
    #[error(
        "data directory {} has format version {found}; this build reads up to {FORMAT_VERSION}: use the \
         version that wrote it, or a newer one",
        path.display()
    )]
    Newer {
        /// The directory.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// The directory belongs to another node.
    #[error(
        "data directory {} belongs to node {found:?}, this is node {wanted:?}; start with the right name, or \
         choose another directory",
        path.display()
    )]
    OtherNode {
        /// The directory.
        path: PathBuf,
        /// Its node.
        found: String,
        /// The node that wants it.
        wanted: String,
    },
    /// The directory belongs to another cluster.
    #[error(
        "data directory {} belongs to cluster {found:?}, this is cluster {wanted:?}; start with the right \
         name, or choose another directory",
        path.display()
    )]
    OtherCluster {
        /// The directory.
        path: PathBuf,
        /// Its cluster.
        found: String,
        /// The cluster that wants it.
        wanted: String,
    },
    /// The number of shards may rise, never fall.
    #[error(
        "data directory {} has {found} shards, which can be raised but not lowered to {wanted}; start with \
         {found} or more (they also run on fewer cores)",
        path.display()
    )]
    FewerShards {
        /// The directory.
        path: PathBuf,
        /// Its shards.
        found: u32,
        /// The number asked for.
        wanted: u32,
    },
    /// A shard that the superblock counts is gone.
    #[error("{} is missing, although the superblock counts it; restore it from a backup", path.display())]
    ShardMissing {
        /// The shard's directory.
        path: PathBuf,
    },
}

impl DataDirError {
    pub(super) fn io(operation: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            operation,
            path: path.to_path_buf(),
            source,
        }
    }
}
