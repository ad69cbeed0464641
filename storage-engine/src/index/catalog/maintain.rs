//! Sealing, rebuilding and removing bundles.

use super::slots::Source;
use super::{Catalog, Directory, IndexError};
use crate::disk::{Disk, DiskErrorKind};
use crate::index::ActiveIndex;
use crate::index::bundle::{self, BundleSource, DirectoryEntry, SealedAt};
use crate::position::QueueHandle;
use std::rc::Rc;

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
        self.write(segment, &index, sealed_at, keep).await
    }

    /// Writes the bundle of a sealed segment from an index made by scanning it.
    pub async fn install_rebuilt(
        &self,
        index: &ActiveIndex,
        sealed_at: SealedAt,
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
        self.write(segment, index, sealed_at, keep).await
    }

    /// Forgets the oldest segment and removes its bundle; its queues now start in the next one.
    pub async fn remove_oldest(&self, segment: u64) -> Result<(), IndexError> {
        if self.inner.slots.borrow().oldest_file() != Some(segment) {
            let what = "it is not the oldest sealed one";
            return Err(IndexError::Order { segment, what });
        }
        let directory = self.directory_of(segment).await;
        {
            let mut slots = self.inner.slots.borrow_mut();
            slots.remove_oldest(segment);
            if let Ok(Some(directory)) = &directory {
                slots.set_removed(Rc::clone(directory));
            }
        }
        self.inner.pages.forget(segment);
        if !matches!(directory, Ok(Some(_))) {
            // The bundle is going anyway; what it would have told is in the next one.
            self.load_start().await?;
        }
        match self.inner.disk.remove(&bundle::file_name(segment)).await {
            Err(cause) if cause.kind != DiskErrorKind::NotFound => {
                Err(IndexError::Write { segment, cause })
            }
            _ => Ok(()),
        }
    }

    async fn write(
        &self,
        segment: u64,
        index: &ActiveIndex,
        sealed_at: SealedAt,
        keep: &dyn Fn(QueueHandle) -> bool,
    ) -> Result<(), IndexError> {
        let before = self.directory_before(segment).await?;
        let before = match before {
            Some(before) => before,
            None => self.directory_from_next(segment, index).await,
        };
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
        let after: Directory = bundle::merged_directory(index, &before)
            .filter(|entry| keep(entry.queue))
            .collect();
        let starts = after.iter().map(|entry| DirectoryEntry {
            next_offset: index.first_offset(entry.queue).unwrap_or(entry.next_offset),
            ..*entry
        });
        self.inner.pages.forget(segment);
        let mut slots = self.inner.slots.borrow_mut();
        if slots.set_file(segment, sealed_at.last_header_checksum) {
            if slots.index_of(segment) == Some(0) {
                // What the oldest segment in memory told until now.
                slots.set_start(starts.collect());
            }
            let newest = slots.first_in_memory() - 1;
            if slots.index_of(segment) == Some(0) {
                slots.set_start(first_offsets(index, &after));
            }
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

    /// Where queues stood at the start of the oldest segment, seen from the one behind it. If that has no bundle
    /// either, queues that had messages only in removed segments cannot be named.
    async fn directory_from_next(&self, segment: u64, index: &ActiveIndex) -> Directory {
        let next = {
            let slots = self.inner.slots.borrow();
            let next = slots.index_of(segment).and_then(|at| slots.at(at + 1));
            next.filter(|slot| slot.memory().is_none())
                .map(|slot| slot.segment)
        };
        let bundle = match next {
            Some(next) => self.bundle(next).await,
            None => Ok(None),
        };
        let Ok(Some(bundle)) = bundle else {
            return Rc::from([]);
        };
        let starts = bundle.first_offsets().await.unwrap_or_default();
        let before = starts.into_iter().map(|entry| DirectoryEntry {
            next_offset: index.first_offset(entry.queue).unwrap_or(entry.next_offset),
            ..entry
        });
        before.filter(|entry| entry.next_offset.0 > 0).collect()
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

/// For every queue of a directory, where its messages in the segment start; where none are, its next offset.
fn first_offsets(index: &ActiveIndex, directory: &[DirectoryEntry]) -> Vec<DirectoryEntry> {
    let first = |entry: &DirectoryEntry| DirectoryEntry {
        queue: entry.queue,
        next_offset: index.first_offset(entry.queue).unwrap_or(entry.next_offset),
    };
    directory.iter().map(first).collect()
}
