//! The segments a catalog knows, without any IO.

use super::Directory;
use crate::disk::Disk;
use crate::index::ActiveIndex;
use crate::index::bundle::{Bundle, DirectoryEntry};
use crate::position::{Position, QueueHandle, QueueOffset};
use std::collections::VecDeque;
use std::rc::Rc;

/// Bundles open at a time: each costs a descriptor.
const OPEN_BUNDLES_MAX: usize = 64;

pub(super) struct Slot<D: Disk> {
    pub(super) segment: u64,
    pub(super) source: Source<D>,
}

pub(super) enum Source<D: Disk> {
    File {
        last_header_checksum: Option<u32>,
        open: Option<Rc<Bundle<D>>>,
    },
    /// Complete, not yet sealed.
    Frozen(Rc<ActiveIndex>),
    Active(ActiveIndex),
}

impl<D: Disk> Slot<D> {
    pub(super) fn memory(&self) -> Option<&ActiveIndex> {
        match &self.source {
            Source::File { .. } => None,
            Source::Frozen(index) => Some(index),
            Source::Active(index) => Some(index),
        }
    }
}

/// Oldest first; files, then memory; only the last may be active.
pub(super) struct Slots<D: Disk> {
    slots: VecDeque<Slot<D>>,
    /// Segments whose bundle is open, oldest opening first.
    opened: VecDeque<u64>,
    /// First offset in the log of the queues that had messages before or in the oldest bundle.
    start: Option<Directory>,
    /// Directory of the newest bundle, once it was needed.
    newest: Option<(u64, Directory)>,
    /// Directory of the last bundle that was removed: what comes before the oldest segment.
    removed: Option<Directory>,
}

impl<D: Disk> Default for Slots<D> {
    fn default() -> Self {
        Self {
            slots: VecDeque::new(),
            opened: VecDeque::new(),
            start: None,
            newest: None,
            removed: None,
        }
    }
}

impl<D: Disk> Slots<D> {
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn push(&mut self, slot: Slot<D>) {
        if let Some(last) = self.slots.back() {
            assert!(slot.segment > last.segment, "segments come in order");
        }
        self.slots.push_back(slot);
    }

    pub(super) fn at(&self, index: usize) -> Option<&Slot<D>> {
        self.slots.get(index)
    }

    pub(super) fn find(&self, segment: u64) -> Option<&Slot<D>> {
        self.slots.get(self.index_of(segment)?)
    }

    pub(super) fn index_of(&self, segment: u64) -> Option<usize> {
        let index = self.slots.partition_point(|slot| slot.segment < segment);
        (self.slots.get(index)?.segment == segment).then_some(index)
    }

    /// Index of the first segment newer than `segment`.
    pub(super) fn index_after(&self, segment: u64) -> usize {
        self.slots.partition_point(|slot| slot.segment <= segment)
    }

    /// Index of the first segment whose index is in memory.
    pub(super) fn first_in_memory(&self) -> usize {
        self.slots.partition_point(|slot| slot.memory().is_none())
    }

    /// Segments in memory, oldest first.
    pub(super) fn in_memory(&self) -> impl DoubleEndedIterator<Item = (u64, &ActiveIndex)> {
        self.slots
            .range(self.first_in_memory()..)
            .filter_map(|slot| Some((slot.segment, slot.memory()?)))
    }

    pub(super) fn oldest_file(&self) -> Option<u64> {
        let oldest = self.slots.front()?;
        oldest.memory().is_none().then_some(oldest.segment)
    }

    /// Segments with a bundle that are newer than `after`, oldest first.
    pub(super) fn files_after(&self, after: Option<u64>) -> Vec<u64> {
        let from = after.map_or(0, |after| self.index_after(after));
        let to = self.first_in_memory().max(from);
        self.slots
            .range(from..to)
            .map(|slot| slot.segment)
            .collect()
    }

    pub(super) fn frozen(&self) -> Vec<u64> {
        self.slots
            .iter()
            .filter(|slot| matches!(slot.source, Source::Frozen(_)))
            .map(|slot| slot.segment)
            .collect()
    }

    pub(super) fn active_mut(&mut self) -> Option<&mut ActiveIndex> {
        match &mut self.slots.back_mut()?.source {
            Source::Active(index) => Some(index),
            _ => None,
        }
    }

    pub(super) fn freeze(&mut self) {
        if let Some(slot) = self.slots.back_mut()
            && let Source::Active(index) = &mut slot.source
        {
            let base = index.base();
            let index = std::mem::replace(index, ActiveIndex::new(base));
            slot.source = Source::Frozen(Rc::new(index));
        }
    }

    /// Puts a bundle in the place of what the slot had; false if the segment is gone.
    pub(super) fn set_file(&mut self, segment: u64, last_header_checksum: u32) -> bool {
        let Some(index) = self.index_of(segment) else {
            return false;
        };
        self.close(segment);
        self.slots[index].source = Source::File {
            last_header_checksum: Some(last_header_checksum),
            open: None,
        };
        true
    }

    pub(super) fn set_open(&mut self, segment: u64, bundle: Rc<Bundle<D>>) {
        let Some(index) = self.index_of(segment) else {
            return;
        };
        let Source::File { open, .. } = &mut self.slots[index].source else {
            return;
        };
        if open.replace(bundle).is_none() {
            self.opened.push_back(segment);
        }
        if self.opened.len() > OPEN_BUNDLES_MAX
            && let Some(oldest) = self.opened.front().copied()
        {
            self.close(oldest);
        }
    }

    /// Lets go of an open bundle; lookups that hold it go on with it.
    pub(super) fn close(&mut self, segment: u64) {
        self.opened.retain(|opened| *opened != segment);
        if let Some(index) = self.index_of(segment)
            && let Source::File { open, .. } = &mut self.slots[index].source
        {
            *open = None;
        }
    }

    pub(super) fn remove_oldest(&mut self, segment: u64) {
        self.close(segment);
        if self.index_of(segment) == Some(0) {
            self.slots.pop_front();
        }
    }

    pub(super) fn truncate(&mut self, cut: Position) {
        while let Some(slot) = self.slots.back_mut() {
            let base = match &mut slot.source {
                Source::File { .. } => return,
                Source::Active(index) => index.base(),
                Source::Frozen(index) => {
                    let base = index.base();
                    let index = Rc::make_mut(index);
                    slot.source = Source::Active(std::mem::replace(index, ActiveIndex::new(base)));
                    base
                }
            };
            // A segment that starts at the cut stays: the next batch goes there.
            if base <= cut {
                break;
            }
            self.slots.pop_back();
        }
        if let Some(active) = self.active_mut() {
            active.truncate(cut);
        }
    }

    /// The queues up to the end of the oldest bundle.
    pub(super) fn set_start(&mut self, starts: Vec<DirectoryEntry>) {
        self.removed = None;
        self.start = Some(starts.into());
    }

    /// The log now starts behind the bundle that had this directory.
    pub(super) fn set_removed(&mut self, directory: Directory) {
        self.start = Some(Rc::clone(&directory));
        self.removed = Some(directory);
    }

    pub(super) fn removed_directory(&self) -> Option<Directory> {
        self.removed.clone()
    }

    pub(super) fn newest(&self) -> Option<(u64, Directory)> {
        self.newest.clone()
    }

    pub(super) fn set_newest(&mut self, segment: u64, directory: Directory) {
        self.newest = Some((segment, directory));
    }

    pub(super) fn min_offset(&self, queue: QueueHandle) -> Option<QueueOffset> {
        let start = self.start.as_deref().unwrap_or_default();
        if let Ok(at) = start.binary_search_by_key(&queue, |entry| entry.queue) {
            return Some(start[at].next_offset);
        }
        // The start tells of everything before the oldest bundle, or up to its end. Who is not in it had no messages
        // then and starts at 0, unless that bundle was rebuilt together with the one behind it: then a read from 0
        // finds the true start.
        let told_of = usize::from(self.removed.is_none());
        if self.first_in_memory() > told_of {
            return Some(QueueOffset(0));
        }
        self.in_memory()
            .find_map(|(_, index)| index.first_offset(queue))
    }
}
