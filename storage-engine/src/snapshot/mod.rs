//! Snapshots of the state: files from which a start goes on, instead of from the beginning of the log.
//!
//! | name | what |
//! |---|---|
//! | `NNNNNNNNNNNNNNNNNNNN.snap` | a snapshot; N is its last stamp, decimal |
//! | `snapshot.tmp` | one being written; waste after a crash |
//!
//! ```text
//! header, 4096 bytes
//!    0  magic "RNGQSNP1"
//!    8  version u32, 1 | zero u32
//!   16  log id u128
//!   32  replay from u64       stamp of the first chunk, the lowest: replay starts here
//!   40  zero to 4092
//! 4092  checksum u32          CRC-32 over bytes 0..4092
//!
//! then chunks, and one footer, each
//!    0  kind u32              1 chunk, 2 footer
//!    4  number u32            counted from 0; in the footer the number of chunks
//!    8  payload bytes u32
//!   12  checksum u32          CRC-32 over log id, bytes 0..12, and everything from byte 16 on, padding included
//!   16  stamp u64             the chunk holds every record below; never falls; in the footer the last stamp
//!   24  payload, zeros up to the next multiple of 8
//!
//! zeros up to a multiple of 4096, the end of the file
//! ```
//! The footer's payload is the CRC-32 over the checksums of all chunks, u32, so that a snapshot is whole or not one.
//!
//! Invariants:
//! - A snapshot gets its name only when it was synced, read back and found good, and when the log is durable up to its
//!   last stamp: it never holds what a crash could undo.
//! - The two newest are kept. What the older one needs of the log stays: [`Snapshots::needed_from`].
//! - Absent, present and unreadable are three results: only the first may be answered by a replay from the very start.

mod format;
mod load;
mod publish;
mod write;

pub use load::{LoadedSnapshots, SnapshotOutcome, check, load, names};
pub use publish::Snapshots;
pub use write::{SnapshotWriter, StagedSnapshot};

use crate::disk::DiskError;
use crate::position::Position;

/// Largest chunk.
pub const CHUNK_BYTES_MAX: usize = 16 << 20;

/// A snapshot on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// Lowest stamp: replay starts here.
    pub replay_from: Position,
    /// Highest stamp.
    pub last_stamp: Position,
    pub bytes: u64,
}

/// Why a snapshot could not be written, published or loaded.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("{file} is damaged at byte {offset}: {what}")]
    Corrupt {
        file: String,
        offset: u64,
        what: &'static str,
    },
    #[error(
        "a snapshot stamped {last_stamp} is ahead of the log, which is durable up to {durable}"
    )]
    NotDurable {
        last_stamp: Position,
        durable: Position,
    },
    #[error("a chunk of {bytes} bytes is over the limit of {CHUNK_BYTES_MAX}")]
    TooLarge { bytes: usize },
    #[error("chunk {number} of {file} does not fit the state: {what}")]
    Refused {
        file: String,
        number: u32,
        what: String,
    },
}

const TEMPORARY: &str = "snapshot.tmp";

fn file_name(last_stamp: Position) -> String {
    format!("{:020}.snap", last_stamp.0)
}

/// The stamp in a snapshot's name; `None` for other files.
pub fn stamp_in(name: &str) -> Option<Position> {
    let digits = name.strip_suffix(".snap")?;
    let plain = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok().map(Position)).flatten()
}

#[cfg(all(test, feature = "sim"))]
mod tests;
