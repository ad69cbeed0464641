//! Chunks in memory, and chunks asked for lately.

use super::plan::ChunkId;
use crate::disk::{Disk, DiskFile};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

type ReadOf<D> = <<D as Disk>::File as DiskFile>::Read;

/// Chunks remembered that were wanted but not read whole.
const TOUCHED_MAX: usize = 256;

pub(super) struct Chunks<D: Disk> {
    cached: BTreeMap<ChunkId, Cached<D>>,
    /// Oldest first; a used one gets a second round.
    order: VecDeque<ChunkId>,
    bytes: usize,
    bytes_max: usize,
    touched: BTreeSet<ChunkId>,
    touched_order: VecDeque<ChunkId>,
}

struct Cached<D: Disk> {
    bytes: ReadOf<D>,
    used: bool,
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

    /// The first `len` bytes or more of a chunk.
    pub(super) fn find(&mut self, chunk: ChunkId, len: usize) -> Option<ReadOf<D>> {
        let cached = self.cached.get_mut(&chunk)?;
        if cached.bytes.len() < len {
            return None;
        }
        cached.used = true;
        Some(cached.bytes.clone())
    }

    /// Whether at least `len` bytes of a chunk are in memory.
    pub(super) fn contains(&self, chunk: ChunkId, len: usize) -> bool {
        let cached = self.cached.get(&chunk);
        cached.is_some_and(|cached| cached.bytes.len() >= len)
    }

    pub(super) fn insert(&mut self, chunk: ChunkId, bytes: ReadOf<D>) {
        self.forget(chunk);
        self.bytes += bytes.len();
        self.cached.insert(chunk, Cached { bytes, used: false });
        self.order.push_back(chunk);
        while self.bytes > self.bytes_max && self.cached.len() > 1 {
            self.evict_one();
        }
    }

    pub(super) fn forget(&mut self, chunk: ChunkId) {
        if let Some(cached) = self.cached.remove(&chunk) {
            self.bytes -= cached.bytes.len();
            self.order.retain(|other| *other != chunk);
        }
    }

    fn evict_one(&mut self) {
        while let Some(chunk) = self.order.pop_front() {
            match self.cached.get_mut(&chunk) {
                Some(cached) if cached.used => {
                    cached.used = false;
                    self.order.push_back(chunk);
                }
                _ => {
                    if let Some(cached) = self.cached.remove(&chunk) {
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
