//! Where the batches of every queue are: derived from the log, never synced on the hot path.
//!
//! - [`ActiveIndex`]: the index of one segment in memory, fed batch by batch while the segment is written or scanned.
//! - [`bundle`]: the same as a file, `N.idx`, written when segment N is sealed; read page by page.
//! - [`Catalog`]: all segments of a shard, oldest to newest, behind one set of questions.
//!
//! Invariants:
//! - The index of a segment is a function of the segment's bytes and of the directory of the segment before it:
//!   a lost or damaged `N.idx` is rebuilt by a scan, byte for byte.
//! - Within a queue, offsets, positions and store times rise together, so one order serves all searches.
//! - Nothing here costs a file or a descriptor per queue. Memory and disk per item: see [`limits`].

mod active;
pub mod bundle;
mod catalog;
mod keys;
pub mod limits;
mod tags;
mod types;

pub use active::{ActiveIndex, InsertError};
pub use catalog::{BatchLimits, Catalog, CatalogOptions, IndexError};
pub use tags::TagsSummary;
pub use types::{BatchRef, Extent};

#[cfg(all(test, feature = "sim"))]
mod tests;
