//! `N.idx`: the index of sealed segment N as a file.
//!
//! A file of 4096-byte pages, each with its own checksum, so that a lookup verifies what it reads and reads little.
//! All integers are little-endian.
//!
//! ```text
//! every page
//!    0  checksum u32       CRC-32 over log id, segment base (both zero for page 0), and bytes 4..4096 of the page
//!    4  page number u32
//!    8  4088 bytes: rows, never across pages; what is left is zero
//!
//! page 0, the header
//!    8  magic              "RNGQIDX1"
//!   16  version u32        1
//!   20  zero u32
//!   24  log id u128
//!   40  segment base u64
//!   48  segment end u64    position behind the last frame
//!   56  last frame header checksum u32 | zero u32
//!   64  first store time i64, ms | last store time i64, ms        both 0 without batches
//!   80  six sections: first page u32 | pages u32 | rows u64       in the order below, without gaps
//!  176  pages of the file u32 | zero to the end
//!
//! section       row bytes  rows
//! 0 queues      32         queue u32 | batches u32 | first row in section 1 u64 | first offset u64 | next offset u64
//! 1 batches     32         base offset u64 | store time i64, ms | offset in segment u32 | batch bytes u32
//!                          | last offset delta u16 | records - 1 u16 | tags summary u32
//! 2 extents      8         offset in segment u32 | batch bytes u32
//! 3 keys        16         key hash u32 | queue u32 | row in section 1 u32 | record index u32
//! 4 filter    4088         one Bloom filter of 32,704 bits a page
//! 5 directory   16         queue u32 | zero u32 | next offset at seal u64
//! ```
//! Sections 0, 1 (within a queue), 2, 3 and 5 are sorted, by their first columns. Section 0 has the queues with
//! batches in the segment; section 5 all queues that had
//! messages before the seal. A batch's offset in the segment is that of its record
//! header.
//!
//! Filter: a pair (key hash, queue) belongs to one page and sets seven bits of it; see `filter.rs`.

mod encode;
mod file;
mod filter;
mod format;
mod lookup;
mod page;
mod rows;
mod write;

pub(super) use encode::merged_directory;
pub use file::Bundle;
pub use format::{BundleHeader, BundleIdentity};
pub use page::{PAGE_BYTES, PageCache};
pub use rows::DirectoryEntry;
pub use write::{BundleSource, SealedAt, write};

use crate::disk::DiskError;

/// Why a bundle cannot be read. Whatever it is, a scan of the segment makes a new one.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("{file} is damaged in page {page}: {what}")]
    Corrupt {
        file: String,
        page: u32,
        what: &'static str,
    },
    #[error("{file} belongs to something else: {what}")]
    Mismatch { file: String, what: &'static str },
}

/// Makes a page pass its check.
#[cfg(test)]
pub(super) fn seal_page(page: &mut [u8], number: u32, identity: Option<&BundleIdentity>) {
    page::seal(page, number, identity);
}

/// Name of a segment's bundle.
pub fn file_name(segment: u64) -> String {
    format!("{segment:020}.idx")
}

/// The segment that a file name of a bundle names.
pub fn number_of(name: &str) -> Option<u64> {
    let number: u64 = name.strip_suffix(".idx")?.parse().ok()?;
    (file_name(number) == name).then_some(number)
}

/// Name while it is written; a file of this name left at start is waste.
pub fn temporary_name(segment: u64) -> String {
    format!("{segment:020}.idx.tmp")
}
