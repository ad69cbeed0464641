//! Chunks and large records in memory, and chunks asked for lately.

use super::plan::{ChunkId, Place};
use crate::disk::{Disk, DiskFile};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

type ReadOf<D> = <<D as Disk>::File as DiskFile>::Read;

/// Chunks remembered that were wanted but not read whole.
const TOUCHED_MAX: usize = 256;

/// Bytes of the log by where they begin.
pub(super) struct Chunks<D: Disk> {
    cached: BTreeMap<Place, Cached<D>>,
    /// Oldest first; a used one gets a second round.
    order: VecDeque<Place>,
    bytes: usize,
    bytes_max: usize,
    touched: BTreeSet<ChunkId>,
    touched_order: VecDeque<ChunkId>,
}

struct Cached<D: Disk> {
    bytes: ReadOf<D>,
    used: bool,
    /// A large record, kept for one reader to come.
    is_large: bool,
}

impl<D: Disk> Chunks<D> {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            cached: BTreeMap::new(),
            order: VecDeque::new(),
            bytes: 0,
            bytes_max,
            touched: BTreeSet::new(),
            touched_order: VecDeque::new(),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// `len` bytes or more from `place` on.
    pub(super) fn find(&mut self, place: Place, len: usize) -> Option<ReadOf<D>> {
        let cached = self.cached.get_mut(&place)?;
        if cached.bytes.len() < len {
            return None;
        }
        cached.used = true;
        Some(cached.bytes.clone())
    }

    /// A large record that was read ahead. It is not kept: it would push out what others will ask for.
    pub(super) fn take_large(&mut self, place: Place, len: usize) -> Option<ReadOf<D>> {
        let bytes = self.find(place, len)?;
        if self
            .cached
            .get(&place)
            .is_some_and(|cached| cached.is_large)
        {
            self.forget(place);
        }
        Some(bytes)
    }

    /// Whether at least `len` bytes from `place` on are in memory.
    pub(super) fn contains(&self, place: Place, len: usize) -> bool {
        let cached = self.cached.get(&place);
        cached.is_some_and(|cached| cached.bytes.len() >= len)
    }

    pub(super) fn insert(&mut self, place: Place, bytes: ReadOf<D>, is_large: bool) {
        self.forget(place);
        self.bytes += bytes.len();
        let cached = Cached {
            bytes,
            used: false,
            is_large,
        };
        self.cached.insert(place, cached);
        self.order.push_back(place);
        while self.bytes > self.bytes_max && self.cached.len() > 1 {
            self.evict_one();
        }
    }

    /// Whether `len` bytes of large records may be read ahead, in half of the memory at most. If not, those that wait
    /// longest for their reader go: it may be gone itself.
    pub(super) fn make_room_ahead(&mut self, len: usize) -> bool {
        let large = |place: &&Place| self.cached.get(place).is_some_and(|c| c.is_large);
        let oldest = self.order.iter().find(large).copied();
        let waiting = self.cached.values().filter(|cached| cached.is_large);
        let waiting_bytes: usize = waiting.map(|cached| cached.bytes.len()).sum();
        let has_room = waiting_bytes + len <= self.bytes_max / 2;
        if let Some(oldest) = oldest.filter(|_| !has_room) {
            self.forget(oldest);
        }
        has_room
    }

    fn forget(&mut self, place: Place) {
        if let Some(cached) = self.cached.remove(&place) {
            self.bytes -= cached.bytes.len();
            self.order.retain(|other| *other != place);
        }
    }

    fn evict_one(&mut self) {
        while let Some(place) = self.order.pop_front() {
            match self.cached.get_mut(&place) {
                Some(cached) if cached.used => {
                    cached.used = false;
                    self.order.push_back(place);
                }
                _ => {
                    if let Some(cached) = self.cached.remove(&place) {
                        self.bytes -= cached.bytes.len();
                    }
                    return;
                }
            }
        }
    }

    /// Notes that something in a chunk was wanted; true if that was so before.
    pub(super) fn touch(&mut self, chunk: ChunkId) -> bool {
        if !self.touched.insert(chunk) {
            return true;
        }
        self.touched_order.push_back(chunk);
        if self.touched_order.len() > TOUCHED_MAX
            && let Some(oldest) = self.touched_order.pop_front()
        {
            self.touched.remove(&oldest);
        }
        false
    }
}
