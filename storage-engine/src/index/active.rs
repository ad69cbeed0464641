//! The index of one segment in memory.
//!
//! One arena holds an entry for each batch in log order. The entries of a queue are chained: `next` for reading
//! on, `prev` and `jump` for searching back. The jump pointers follow the skew-binary rule, so that a search among
//! n batches of a queue takes O(log n) steps with no memory of its own per queue but first and last. The arena grows
//! by pages, and keys are sorted in short runs as they come: no insert ever moves or sorts more than one page.

use super::keys::{KeyEntry, KeyRuns};
use super::limits::{BATCH_INDEX_BYTES, KEY_INDEX_BYTES, QUEUE_INDEX_BYTES, SEGMENT_BYTES_MAX};
use super::{BatchRef, Extent, TagsSummary};
use crate::position::{Position, QueueHandle, QueueOffset};
use ringmq_wire::batch::BatchView;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

const PAGE_ENTRIES: usize = 1024;
const NONE: u32 = u32::MAX;

/// Why a batch cannot be indexed: the caller and the index disagree about the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InsertError {
    #[error("batch at {position} lies outside the segment at {base}")]
    OutsideSegment { position: Position, base: Position },
    #[error("batch at {position} does not follow the one at {last}")]
    PositionOrder { position: Position, last: Position },
    #[error("batch at {position} has base offset {base_offset}, its queue is at {next_offset}")]
    OffsetOrder {
        position: Position,
        base_offset: QueueOffset,
        next_offset: QueueOffset,
    },
    #[error("batch at {position} is stored at {time_ms} ms, before the one before it at {last_ms}")]
    TimeOrder {
        position: Position,
        time_ms: i64,
        last_ms: i64,
    },
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    base_offset: u64,
    store_time_ms: i64,
    offset_in_segment: u32,
    batch_bytes: u32,
    last_offset_delta: u16,
    record_count_minus_1: u16,
    tags: TagsSummary,
    prev: u32,
    jump: u32,
    next: u32,
    /// Batches of the same queue before this one.
    depth: u32,
}

const _: () = assert!(size_of::<Entry>() as u64 == BATCH_INDEX_BYTES);

impl Entry {
    fn next_offset(&self) -> u64 {
        self.base_offset + u64::from(self.last_offset_delta) + 1
    }
}

#[derive(Debug, Clone, Copy)]
struct Chain {
    first: u32,
    last: u32,
}

/// Batches, queues and keys of one segment.
#[derive(Debug, Clone)]
pub struct ActiveIndex {
    base: Position,
    pages: Vec<Vec<Entry>>,
    len: u32,
    queues: BTreeMap<QueueHandle, Chain>,
    keys: KeyRuns,
}

impl ActiveIndex {
    /// An empty index of the segment whose first byte is `base`.
    pub fn new(base: Position) -> Self {
        Self {
            base,
            pages: Vec::new(),
            len: 0,
            queues: BTreeMap::new(),
            keys: KeyRuns::default(),
        }
    }

    /// First byte of the segment.
    pub fn base(&self) -> Position {
        self.base
    }

    /// Batches in the index.
    pub fn batch_count(&self) -> u32 {
        self.len
    }

    /// Queues with batches in the segment.
    pub fn queue_count(&self) -> usize {
        self.queues.len()
    }

    /// Keys in the index.
    pub fn key_count(&self) -> usize {
        self.keys.len()
    }

    /// Size by which a segment is rolled early (at `limits::INDEX_BYTES_ROLL`); depends on the log alone.
    pub fn index_bytes(&self) -> u64 {
        u64::from(self.len) * BATCH_INDEX_BYTES
            + self.queues.len() as u64 * QUEUE_INDEX_BYTES
            + self.keys.len() as u64 * KEY_INDEX_BYTES
    }

    /// Store times of the first and the last batch.
    pub fn time_range_ms(&self) -> Option<(i64, i64)> {
        let last = self.len.checked_sub(1)?;
        Some((self.entry(0).store_time_ms, self.entry(last).store_time_ms))
    }

    /// Adds the placed batch whose record header is at `position`. On an error nothing was added.
    pub fn insert(&mut self, position: Position, batch: &BatchView<'_>) -> Result<(), InsertError> {
        let header = batch.header();
        let queue = QueueHandle(header.queue_handle);
        let offset_in_segment = self.check_position(position)?;
        self.check_time(position, header.store_time_ms)?;
        let chain = self.queues.get(&queue).copied();
        self.check_offset(position, header.base_offset, chain)?;

        let index = self.len;
        let (prev, jump, depth) = match chain {
            None => (NONE, index, 0),
            Some(chain) => {
                let parent = self.entry(chain.last);
                (chain.last, self.jump_over(chain.last), parent.depth + 1)
            }
        };
        self.push(Entry {
            base_offset: header.base_offset,
            store_time_ms: header.store_time_ms,
            offset_in_segment,
            batch_bytes: header.batch_bytes,
            // Both are checked against BATCH_RECORDS_MAX = 65,536 when a header is parsed.
            last_offset_delta: header.last_offset_delta as u16,
            record_count_minus_1: (header.record_count - 1) as u16,
            tags: TagsSummary::of(batch.tags_codes()),
            prev,
            jump,
            next: NONE,
            depth,
        });
        if prev != NONE {
            self.entry_mut(prev).next = index;
        }
        let first = chain.map_or(index, |chain| chain.first);
        self.queues.insert(queue, Chain { first, last: index });
        for (record, hash) in batch.key_hashes() {
            // A producer may claim any record index; one that the batch does not have finds nothing.
            if record < header.record_count {
                self.keys
                    .insert(KeyEntry::new(hash, queue.0, index, record));
            }
        }
        Ok(())
    }

    /// Drops every batch at or above `cut`.
    pub fn truncate(&mut self, cut: Position) {
        let len = self.count_below(cut);
        let mut gone = Vec::new();
        for (queue, chain) in &self.queues {
            if chain.first >= len {
                gone.push(*queue);
            }
        }
        for queue in gone {
            self.queues.remove(&queue);
        }
        let mut queues = std::mem::take(&mut self.queues);
        for chain in queues.values_mut() {
            while chain.last >= len {
                chain.last = self.entry(chain.last).prev;
            }
            self.entry_mut(chain.last).next = NONE;
        }
        self.queues = queues;
        self.len = len;
        self.pages.truncate((len as usize).div_ceil(PAGE_ENTRIES));
        if let Some(page) = self.pages.last_mut() {
            page.truncate((len as usize - 1) % PAGE_ENTRIES + 1);
        }
        self.keys.retain_below(len);
    }

    /// Offset behind the last record of a queue; `None` if it has no batches here.
    pub fn next_offset(&self, queue: QueueHandle) -> Option<QueueOffset> {
        let chain = self.queues.get(&queue)?;
        Some(QueueOffset(self.entry(chain.last).next_offset()))
    }

    /// Offset of the first record of a queue; `None` if it has no batches here.
    pub fn first_offset(&self, queue: QueueHandle) -> Option<QueueOffset> {
        let chain = self.queues.get(&queue)?;
        Some(QueueOffset(self.entry(chain.first).base_offset))
    }

    /// Batches of a queue in order, from the one that holds `from` (or the first behind it) on.
    pub fn batches_from(&self, queue: QueueHandle, from: QueueOffset) -> Batches<'_> {
        let first = self.first_where(queue, |entry| entry.next_offset() > from.0);
        Batches {
            index: self,
            queue,
            at: first.unwrap_or(NONE),
        }
    }

    /// The first batch of a queue that was stored at `time_ms` or later.
    pub fn batch_at_time(&self, queue: QueueHandle, time_ms: i64) -> Option<BatchRef> {
        let at = self.first_where(queue, |entry| entry.store_time_ms >= time_ms)?;
        Some(self.batch(queue, at))
    }

    /// The last batch that starts at or below `position`. It may be too short to reach it.
    pub fn extent_at(&self, position: Position) -> Option<Extent> {
        let at = self
            .count_below(Position(position.0.checked_add(1)?))
            .checked_sub(1)?;
        let entry = self.entry(at);
        let start = self.base.0 + u64::from(entry.offset_in_segment);
        Some(Extent {
            position: Position(start),
            batch_bytes: entry.batch_bytes,
        })
    }

    /// Positions of messages of `queue` with this key hash, stored within the times (inclusive), newest first.
    pub fn find_key(
        &self,
        queue: QueueHandle,
        key_hash: u32,
        times_ms: RangeInclusive<i64>,
        end: Position,
        max: usize,
    ) -> Vec<Position> {
        let mut found = self.keys.find(key_hash, queue.0);
        found.sort_unstable_by(|a, b| b.cmp(a));
        found.dedup();
        found
            .into_iter()
            .map(|key| (self.entry(key.entry), key.record))
            .filter(|(entry, _)| times_ms.contains(&entry.store_time_ms))
            .map(|(entry, record)| {
                let start = self.base.0 + u64::from(entry.offset_in_segment);
                (Position(start), Position(start + u64::from(record)))
            })
            .filter(|(start, _)| *start < end)
            .map(|(_, position)| position)
            .take(max)
            .collect()
    }

    /// Every queue with batches here, by handle, with the number of its batches.
    pub(super) fn queues(&self) -> impl Iterator<Item = (QueueHandle, u32)> + '_ {
        self.queues
            .iter()
            .map(|(queue, chain)| (*queue, self.entry(chain.last).depth + 1))
    }

    /// Every batch in log order.
    pub(super) fn extents(&self) -> impl Iterator<Item = Extent> + '_ {
        self.pages.iter().flatten().map(|entry| Extent {
            position: Position(self.base.0 + u64::from(entry.offset_in_segment)),
            batch_bytes: entry.batch_bytes,
        })
    }

    pub(super) fn keys(&self) -> &KeyRuns {
        &self.keys
    }

    /// Batches of the same queue before the one with this number.
    pub(super) fn depth(&self, entry: u32) -> u32 {
        self.entry(entry).depth
    }

    fn check_position(&self, position: Position) -> Result<u32, InsertError> {
        let outside = InsertError::OutsideSegment {
            position,
            base: self.base,
        };
        let offset = position.0.checked_sub(self.base.0).ok_or(outside)?;
        if offset >= SEGMENT_BYTES_MAX {
            return Err(outside);
        }
        if let Some(last) = self.len.checked_sub(1) {
            let last = u64::from(self.entry(last).offset_in_segment);
            if offset <= last {
                return Err(InsertError::PositionOrder {
                    position,
                    last: Position(self.base.0 + last),
                });
            }
        }
        Ok(offset as u32)
    }

    fn check_time(&self, position: Position, time_ms: i64) -> Result<(), InsertError> {
        match self.time_range_ms() {
            Some((_, last_ms)) if time_ms < last_ms => Err(InsertError::TimeOrder {
                position,
                time_ms,
                last_ms,
            }),
            _ => Ok(()),
        }
    }

    fn check_offset(
        &self,
        position: Position,
        base_offset: u64,
        chain: Option<Chain>,
    ) -> Result<(), InsertError> {
        let next_offset = chain.map_or(0, |chain| self.entry(chain.last).next_offset());
        if base_offset < next_offset {
            return Err(InsertError::OffsetOrder {
                position,
                base_offset: QueueOffset(base_offset),
                next_offset: QueueOffset(next_offset),
            });
        }
        Ok(())
    }

    /// The jump pointer of a new entry behind `parent`.
    fn jump_over(&self, parent: u32) -> u32 {
        let p = self.entry(parent);
        let j = self.entry(p.jump);
        let jj = self.entry(j.jump);
        if p.depth - j.depth == j.depth - jj.depth {
            j.jump
        } else {
            parent
        }
    }

    /// The first entry of a queue for which `holds`, where it holds for all later ones.
    fn first_where(&self, queue: QueueHandle, holds: impl Fn(&Entry) -> bool) -> Option<u32> {
        let mut at = self.queues.get(&queue)?.last;
        if !holds(self.entry(at)) {
            return None;
        }
        loop {
            let entry = self.entry(at);
            if entry.jump != at && holds(self.entry(entry.jump)) {
                at = entry.jump;
            } else if entry.prev != NONE && holds(self.entry(entry.prev)) {
                at = entry.prev;
            } else {
                return Some(at);
            }
        }
    }

    /// Number of batches that start below `position`.
    fn count_below(&self, position: Position) -> u32 {
        let (mut low, mut high) = (0, self.len);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.base.0 + u64::from(self.entry(middle).offset_in_segment) < position.0 {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    fn batch(&self, queue: QueueHandle, at: u32) -> BatchRef {
        let entry = self.entry(at);
        BatchRef {
            queue,
            base_offset: QueueOffset(entry.base_offset),
            next_offset: QueueOffset(entry.next_offset()),
            position: Position(self.base.0 + u64::from(entry.offset_in_segment)),
            batch_bytes: entry.batch_bytes,
            record_count: u32::from(entry.record_count_minus_1) + 1,
            store_time_ms: entry.store_time_ms,
            tags: entry.tags,
        }
    }

    fn entry(&self, at: u32) -> &Entry {
        &self.pages[at as usize / PAGE_ENTRIES][at as usize % PAGE_ENTRIES]
    }

    fn entry_mut(&mut self, at: u32) -> &mut Entry {
        &mut self.pages[at as usize / PAGE_ENTRIES][at as usize % PAGE_ENTRIES]
    }

    fn push(&mut self, entry: Entry) {
        if (self.len as usize).is_multiple_of(PAGE_ENTRIES) {
            self.pages.push(Vec::with_capacity(PAGE_ENTRIES));
        }
        let page = self.pages.last_mut().expect("a page was just ensured");
        page.push(entry);
        self.len += 1;
    }
}

/// Batches of one queue, in order.
#[derive(Debug)]
pub struct Batches<'a> {
    index: &'a ActiveIndex,
    queue: QueueHandle,
    at: u32,
}

impl Iterator for Batches<'_> {
    type Item = BatchRef;

    fn next(&mut self) -> Option<BatchRef> {
        if self.at == NONE {
            return None;
        }
        let batch = self.index.batch(self.queue, self.at);
        self.at = self.index.entry(self.at).next;
        Some(batch)
    }
}
