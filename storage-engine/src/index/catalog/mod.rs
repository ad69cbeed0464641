//! The index of a whole shard: sealed segments as bundles on disk, the newest in memory, one set of questions.
//!
//! ```text
//!  oldest                                                     newest
//!  [N.idx] [N+1.idx] [N+2.idx] ... [N+k.idx] | frozen, frozen, active
//!   opened when first asked                  | in memory, not yet sealed
//! ```
//! - A batch (queue, offset) is found by a binary search over the bundles' directories: the next offset of a queue
//!   at each seal never falls. A queue that a directory does not name had no messages yet.
//! - Every question takes `end`, the visible position: what lies at or above is not answered.
//! - A bundle that cannot be read is reported as [`IndexError::NeedsRebuild`]. The caller scans the segment into a new
//!   [`ActiveIndex`], hands it to [`Catalog::install_rebuilt`] and asks again.
//! - Lives on its shard's executor; a cheap handle. No borrow is held across an await.

mod lookup;
mod maintain;
mod slots;

use super::bundle::{BundleError, DirectoryEntry, PageCache};
use super::{ActiveIndex, InsertError};
use crate::disk::{Disk, DiskError};
use crate::position::{Position, QueueHandle, QueueOffset};
use ringmq_wire::batch::BatchView;
use slots::{Slot, Slots, Source};
use std::cell::RefCell;
use std::rc::Rc;

/// What a catalog has to know about its log.
#[derive(Debug, Clone, Copy)]
pub struct CatalogOptions {
    pub log_id: u128,
    /// Distance of segment bases; at most `limits::SEGMENT_BYTES_MAX`.
    pub segment_bytes: u64,
    /// Memory for pages of bundles.
    pub cache_bytes: usize,
}

/// How much a lookup returns; it returns at least one batch if there is one.
#[derive(Debug, Clone, Copy)]
pub struct BatchLimits {
    pub batches_max: usize,
    pub bytes_max: u64,
}

/// Why the index cannot answer.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// Scan the segment, call [`Catalog::install_rebuilt`], ask again.
    #[error("the index of segment {segment} must be rebuilt: {cause}")]
    NeedsRebuild { segment: u64, cause: BundleError },
    #[error("segment {segment} cannot be read to make its index again: {cause}")]
    NotRead { segment: u64, cause: DiskError },
    #[error("the index of segment {segment} cannot be written: {cause}")]
    Write { segment: u64, cause: DiskError },
    #[error("segment {segment} is not the one to seal: {what}")]
    Order { segment: u64, what: &'static str },
}

/// All segments of a shard.
pub struct Catalog<D: Disk> {
    inner: Rc<Inner<D>>,
}

struct Inner<D: Disk> {
    disk: D,
    options: CatalogOptions,
    pages: Rc<PageCache>,
    slots: RefCell<Slots<D>>,
}

impl<D: Disk> Clone for Catalog<D> {
    fn clone(&self) -> Self {
        Self {
            inner: Rc::clone(&self.inner),
        }
    }
}

impl<D: Disk> Catalog<D> {
    pub fn new(disk: D, options: CatalogOptions) -> Self {
        Self {
            inner: Rc::new(Inner {
                disk,
                options,
                pages: Rc::new(PageCache::new(options.cache_bytes)),
                slots: RefCell::default(),
            }),
        }
    }

    /// Start-up, oldest first: a sealed segment whose bundle is (or should be) on disk. It is opened when asked.
    /// `last_header_checksum`: of the segment's last frame, if known; a bundle that has another is not used.
    ///
    /// # Panics
    /// If it is not newer than all segments before, or if one is in memory already.
    pub fn add_sealed(&self, segment: u64, last_header_checksum: Option<u32>) {
        let mut slots = self.inner.slots.borrow_mut();
        assert!(
            slots.first_in_memory() == slots.len(),
            "bundles are older than what is in memory"
        );
        slots.push(Slot {
            segment,
            source: Source::File {
                last_header_checksum,
                open: None,
            },
        });
    }

    /// Start-up, after the last `add_sealed`: learns where the queues of the oldest bundle start.
    pub async fn load_start(&self) -> Result<(), IndexError> {
        let Some(segment) = self.inner.slots.borrow().oldest_file() else {
            return Ok(());
        };
        let starts = match self.bundle(segment).await? {
            Some(bundle) => bundle.first_offsets().await,
            None => return Ok(()),
        };
        let starts = starts.map_err(|cause| self.failed(segment, cause))?;
        self.inner.slots.borrow_mut().set_start(starts);
        Ok(())
    }

    /// Start-up, after the replay, when no sealed segment is left: the next offset of every queue that exists, sorted
    /// by queue. Queues without messages in memory had them all in segments that are gone.
    pub fn set_next_offsets(&self, mut next_offsets: Vec<DirectoryEntry>) {
        let mut slots = self.inner.slots.borrow_mut();
        if slots.oldest_file().is_some() {
            return;
        }
        for entry in &mut next_offsets {
            let first = slots
                .in_memory()
                .find_map(|(_, index)| index.first_offset(entry.queue));
            entry.next_offset = first.unwrap_or(entry.next_offset);
        }
        next_offsets.retain(|entry| entry.next_offset.0 > 0);
        slots.set_removed(next_offsets.into());
    }

    /// Starts the segment at `base`: batches go there from now on, and the one before gets no more.
    ///
    /// # Panics
    /// If it is not newer than all segments before.
    pub fn open_segment(&self, base: Position) {
        let mut slots = self.inner.slots.borrow_mut();
        slots.freeze();
        slots.push(Slot {
            segment: base.0 / self.inner.options.segment_bytes,
            source: Source::Active(ActiveIndex::new(base)),
        });
    }

    /// Adds the placed batch whose record header is at `position` to the active segment.
    ///
    /// # Panics
    /// If no segment was opened.
    pub fn insert(&self, position: Position, batch: &BatchView<'_>) -> Result<(), InsertError> {
        let mut slots = self.inner.slots.borrow_mut();
        let active = slots.active_mut();
        active
            .expect("a segment is opened before batches come")
            .insert(position, batch)
    }

    /// Size of the active segment's index: the segment rolls at `limits::INDEX_BYTES_ROLL`.
    pub fn active_index_bytes(&self) -> u64 {
        let mut slots = self.inner.slots.borrow_mut();
        slots.active_mut().map_or(0, |active| active.index_bytes())
    }

    /// Drops every batch at or above `cut`, which is above everything that was sealed. Segments that start above it
    /// are gone; the one that holds it is active again.
    pub fn truncate(&self, cut: Position) {
        self.inner.slots.borrow_mut().truncate(cut);
    }

    /// First offset of a queue that is still in the log; `None` if the index does not know of any message.
    pub fn min_offset(&self, queue: QueueHandle) -> Option<QueueOffset> {
        self.inner.slots.borrow().min_offset(queue)
    }

    /// Segments whose index is in memory and which get no more batches, oldest first: to be sealed in this order.
    pub fn frozen(&self) -> Vec<u64> {
        self.inner.slots.borrow().frozen()
    }

    /// Memory held by cached pages of bundles.
    pub fn cached_bytes(&self) -> usize {
        self.inner.pages.bytes()
    }

    fn failed(&self, segment: u64, cause: BundleError) -> IndexError {
        // Opened again after the rebuild.
        self.inner.pages.forget(segment);
        self.inner.slots.borrow_mut().close(segment);
        IndexError::NeedsRebuild { segment, cause }
    }
}

/// Sorted by queue.
pub(super) type Directory = Rc<[DirectoryEntry]>;
