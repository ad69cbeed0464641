//! Sealing, rebuilding and removing bundles.

use super::slots::Source;
use super::{Catalog, Directory, IndexError};
use crate::disk::Disk;
use crate::index::ActiveIndex;
use crate::index::bundle::{self, BundleSource, DirectoryEntry, SealedAt};
use crate::position::{QueueHandle, QueueOffset};
use futures_lite::future::yield_now;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Directory entries copied before other tasks get a turn.
const ENTRIES_PER_SLICE: usize = 4096;
/// Segments that are scanned to learn where queues stand, while a start or a reader waits.
const SCANS_MAX: usize = 16;

impl<D: Disk> Catalog<D> {
    /// Writes the bundle of the oldest segment in memory and lets go of the memory. All its frames must be
    /// acknowledged. `keep`: whether a queue still exists; others leave the directory of all queues.
    pub async fn seal(
        &self,
        segment: u64,
        sealed_at: SealedAt,
        keep: &dyn Fn(QueueHandle) -> bool,
    ) -> Result<(), IndexError> {
        let index = {
            let slots = self.inner.slots.borrow();
            let order = |what| IndexError::Order { segment, what };
            let oldest = slots.at(slots.first_in_memory());
            match oldest
                .filter(|slot| slot.segment == segment)
                .map(|slot| &slot.source)
            {
                Some(Source::Frozen(index)) => Rc::clone(index),
                Some(_) => return Err(order("it still gets batches")),
                None => return Err(order("it is not the oldest one in memory")),
            }
        };
        self.write(segment, &index, sealed_at, &[], keep).await
    }

    /// Writes the bundle of a sealed segment from an index made by scanning it. `behind`: where queues start behind it,
    /// as [`Self::starts_behind`] says; used if nothing tells what was before.
    pub async fn install_rebuilt(
        &self,
        index: &ActiveIndex,
        sealed_at: SealedAt,
        behind: &[DirectoryEntry],
        keep: &dyn Fn(QueueHandle) -> bool,
    ) -> Result<(), IndexError> {
        let segment = index.base().0 / self.inner.options.segment_bytes;
        let is_file = {
            let slots = self.inner.slots.borrow();
            slots
                .find(segment)
                .is_some_and(|slot| matches!(slot.source, Source::File { .. }))
        };
        if !is_file {
            let what = "it is not a sealed segment";
            return Err(IndexError::Order { segment, what });
        }
        self.write(segment, index, sealed_at, behind, keep).await
    }

    /// Whether anything tells where queues stood before this segment.
    pub fn is_told_of_before(&self, segment: u64) -> bool {
        let slots = self.inner.slots.borrow();
        slots.index_of(segment).is_some_and(|index| index > 0)
            || slots.removed_directory().is_some()
    }

    /// Where queues start behind `segment`, sorted by queue: what its directory says of those that are silent in it. The
    /// next bundle that can be read knows it of every queue; the segments before that one are scanned, since their
    /// bundles are lost, too. `None` of a scan: not all of the segment could be read, so nothing is sure.
    pub async fn starts_behind(
        &self,
        segment: u64,
        scan: impl AsyncFn(u64) -> Option<ActiveIndex>,
    ) -> Vec<DirectoryEntry> {
        let mut starts = Starts::default();
        let behind = self.inner.slots.borrow().files_after(Some(segment));
        for (scans, segment) in behind.into_iter().enumerate() {
            match self.starts_of(segment).await {
                Ok(Some(all)) => {
                    mark!("index: the next one tells where queues start");
                    starts.add(all);
                    return starts.into_directory();
                }
                // Retention took it, and it was not the oldest: everything is about to go.
                Ok(None) => return Vec::new(),
                Err(_) if scans == SCANS_MAX => {
                    mark!("index: too many in a row are lost");
                    return Vec::new();
                }
                Err(_) => match scan(segment).await {
                    Some(index) => starts.add_index(&index),
                    None => {
                        mark!("index: a damaged segment leaves it unknown where queues start");
                        return Vec::new();
                    }
                },
            }
        }
        mark!("index: what is in memory tells where queues start");
        for (_, index) in self.inner.slots.borrow().in_memory() {
            starts.add_index(index);
        }
        starts.into_directory()
    }

    /// Forgets the oldest segment, unless that was done already; its queues now start in the next one. Its bundle goes
    /// with the segment.
    pub async fn remove_oldest(&self, segment: u64) -> Result<(), IndexError> {
        {
            let slots = self.inner.slots.borrow();
            match slots.index_of(segment) {
                None => return Ok(()),
                Some(_) if slots.oldest_file() == Some(segment) => {}
                Some(_) => {
                    let what = "it is not the oldest sealed one";
                    return Err(IndexError::Order { segment, what });
                }
            }
        }
        // The bundle is going anyway; what it would have told is in the next one.
        let directory = self.directory_of(segment).await.unwrap_or_default();
        let starts = match directory {
            Some(_) => Vec::new(),
            None => self.starts_of_next(segment).await?,
        };
        {
            let mut slots = self.inner.slots.borrow_mut();
            slots.remove_oldest(segment);
            match directory {
                Some(directory) => slots.set_removed(directory),
                None => slots.set_start(starts),
            }
        }
        self.inner.pages.forget(segment);
        Ok(())
    }

    async fn write(
        &self,
        segment: u64,
        index: &ActiveIndex,
        sealed_at: SealedAt,
        behind: &[DirectoryEntry],
        keep: &dyn Fn(QueueHandle) -> bool,
    ) -> Result<(), IndexError> {
        let before = self.directory_before(segment).await?;
        // Queues that are silent in the oldest segment of the log stand where they start behind it.
        let before = before.unwrap_or_else(|| behind.into());
        let source = BundleSource {
            segment,
            log_id: self.inner.options.log_id,
            sealed_at,
            directory_before: &before,
            keep,
        };
        bundle::write(&self.inner.disk, index, source)
            .await
            .map_err(|cause| IndexError::Write { segment, cause })?;
        let mut after = Vec::with_capacity(before.len());
        for (number, entry) in bundle::merged_directory(index, &before).enumerate() {
            if keep(entry.queue) {
                after.push(entry);
            }
            if number % ENTRIES_PER_SLICE == ENTRIES_PER_SLICE - 1 {
                yield_now().await;
            }
        }
        let after: Directory = after.into();
        let starts = after.iter().map(|entry| DirectoryEntry {
            next_offset: index.first_offset(entry.queue).unwrap_or(entry.next_offset),
            ..*entry
        });
        self.inner.pages.forget(segment);
        let mut slots = self.inner.slots.borrow_mut();
        if slots.set_file(segment, sealed_at.last_header_checksum) {
            if slots.index_of(segment) == Some(0) {
                // Until now the segment itself told, in memory.
                slots.set_start(starts.collect());
            }
            let newest = slots.first_in_memory() - 1;
            if slots.index_of(segment) == Some(newest) {
                slots.set_newest(segment, after);
            }
        }
        Ok(())
    }

    /// Directory of the segment before `segment`; `None` if that one is not in the log.
    async fn directory_before(&self, segment: u64) -> Result<Option<Directory>, IndexError> {
        let before = {
            let slots = self.inner.slots.borrow();
            let index = slots.index_of(segment);
            let Some(before) = index
                .and_then(|index| index.checked_sub(1))
                .and_then(|index| slots.at(index))
            else {
                return Ok(slots.removed_directory());
            };
            before.segment
        };
        self.directory_of(before).await
    }

    /// Where the queues of the bundle behind `segment` start; nothing if that one is in memory.
    async fn starts_of_next(&self, segment: u64) -> Result<Vec<DirectoryEntry>, IndexError> {
        let next = {
            let slots = self.inner.slots.borrow();
            slots.files_after(Some(segment)).first().copied()
        };
        let Some(next) = next else {
            return Ok(Vec::new());
        };
        Ok(self.starts_of(next).await?.unwrap_or_default())
    }

    /// Where the queues of a bundle start; `None` if it is gone or in memory.
    async fn starts_of(&self, segment: u64) -> Result<Option<Vec<DirectoryEntry>>, IndexError> {
        let Some(bundle) = self.bundle(segment).await? else {
            return Ok(None);
        };
        let starts = bundle.first_offsets().await;
        starts
            .map(Some)
            .map_err(|cause| self.failed(segment, cause))
    }

    async fn directory_of(&self, segment: u64) -> Result<Option<Directory>, IndexError> {
        if let Some((newest, directory)) = self.inner.slots.borrow().newest()
            && newest == segment
        {
            return Ok(Some(directory));
        }
        let Some(bundle) = self.bundle(segment).await? else {
            return Ok(None);
        };
        let directory = bundle.directory().await;
        directory
            .map(|entries| Some(entries.into()))
            .map_err(|cause| self.failed(segment, cause))
    }
}

/// The first offset of each queue over segments that are looked at in order.
#[derive(Default)]
struct Starts(BTreeMap<QueueHandle, QueueOffset>);

impl Starts {
    fn add(&mut self, segment: impl IntoIterator<Item = DirectoryEntry>) {
        for entry in segment {
            self.0.entry(entry.queue).or_insert(entry.next_offset);
        }
    }

    fn add_index(&mut self, segment: &ActiveIndex) {
        let queues = segment.queues().map(|(queue, _)| queue);
        let first = |queue| Some((queue, segment.first_offset(queue)?));
        self.add(
            queues
                .filter_map(first)
                .map(|(queue, next_offset)| DirectoryEntry { queue, next_offset }),
        );
    }

    /// Queues that begin here had nothing before, and no directory names them.
    fn into_directory(self) -> Vec<DirectoryEntry> {
        let entries = self.0.into_iter();
        entries
            .filter(|(_, next_offset)| next_offset.0 > 0)
            .map(|(queue, next_offset)| DirectoryEntry { queue, next_offset })
            .collect()
    }
}
