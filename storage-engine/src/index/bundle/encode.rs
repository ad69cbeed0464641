//! The pages of a bundle, one after another, from an index in memory: pure, and in steps of a page.

use super::filter::Filter;
use super::format::{BundleHeader, BundleIdentity, SECTIONS, Section};
use super::page::{self, PAGE_BYTES, PAGE_HEADER_BYTES};
use super::rows::{BatchRow, DirectoryEntry, ExtentRow, KeyRow, QueueRow, Row};
use super::write::SealedAt;
use crate::index::ActiveIndex;
use crate::index::keys::KeyEntry;
use crate::position::{QueueHandle, QueueOffset};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Produces pages 1.. in order, then the header.
pub(super) struct Encoder<'a> {
    index: &'a ActiveIndex,
    identity: BundleIdentity,
    /// (queue, its first row in section 1), by queue.
    first_rows: Vec<(u32, u64)>,
    stage: Stage<'a>,
    keys: MergedKeys<'a>,
    filter: Filter,
    filter_page: usize,
    directory: Box<dyn Iterator<Item = DirectoryEntry> + 'a>,
    sections: [Section; SECTIONS],
    next_page: u32,
}

enum Stage<'a> {
    Queues(Box<dyn Iterator<Item = QueueRow> + 'a>),
    Batches(Box<dyn Iterator<Item = BatchRow> + 'a>),
    Extents(Box<dyn Iterator<Item = ExtentRow> + 'a>),
    Keys,
    Filter,
    Directory,
    Done,
}

impl<'a> Encoder<'a> {
    /// `before`: the directory of the segment before, sorted by queue. `keep`: whether a queue still exists.
    pub(super) fn new(
        log_id: u128,
        index: &'a ActiveIndex,
        before: &'a [DirectoryEntry],
        keep: &'a dyn Fn(QueueHandle) -> bool,
    ) -> Self {
        Self {
            index,
            identity: BundleIdentity {
                log_id,
                segment_base: index.base(),
            },
            first_rows: Vec::with_capacity(index.queue_count()),
            stage: Stage::Queues(Box::new(queue_rows(index))),
            keys: MergedKeys::new(index),
            filter: Filter::for_keys(index.key_count() as u64),
            filter_page: 0,
            directory: Box::new(merged_directory(index, before).filter(|e| keep(e.queue))),
            sections: [Section {
                first_page: 1,
                ..Section::default()
            }; SECTIONS],
            next_page: 1,
        }
    }

    /// Fills `out` (one page) with the next page; false when there is none.
    pub(super) fn next_page(&mut self, out: &mut [u8]) -> bool {
        debug_assert_eq!(out.len(), PAGE_BYTES);
        loop {
            out.fill(0);
            let room = &mut out[PAGE_HEADER_BYTES..];
            let section = self.stage.section();
            let rows = match &mut self.stage {
                Stage::Queues(rows) => {
                    let first_rows = &mut self.first_rows;
                    fill(
                        room,
                        rows.inspect(|row| first_rows.push((row.queue, row.first_row))),
                    )
                }
                Stage::Batches(rows) => fill(room, rows),
                Stage::Extents(rows) => fill(room, rows),
                Stage::Keys => self.fill_keys(room),
                Stage::Filter => self.fill_filter(room),
                Stage::Directory => fill(room, &mut self.directory),
                Stage::Done => return false,
            };
            if rows > 0 {
                page::seal(out, self.next_page, Some(&self.identity));
                self.next_page += 1;
                self.sections[section].pages += 1;
                self.sections[section].rows += rows;
                return true;
            }
            self.advance();
        }
    }

    /// Page 0, once all others are made.
    pub(super) fn header(&self, sealed_at: SealedAt) -> BundleHeader {
        BundleHeader {
            identity: self.identity,
            segment_end: sealed_at.segment_end,
            last_header_checksum: sealed_at.last_header_checksum,
            time_range_ms: self.index.time_range_ms(),
            sections: self.sections,
            pages: self.next_page,
        }
    }

    fn advance(&mut self) {
        let index = self.index;
        self.stage = match &self.stage {
            Stage::Queues(_) => Stage::Batches(Box::new(batch_rows(index))),
            Stage::Batches(_) => {
                let base = index.base();
                Stage::Extents(Box::new(
                    index.extents().map(move |e| ExtentRow::of(&e, base)),
                ))
            }
            Stage::Extents(_) => Stage::Keys,
            Stage::Keys => Stage::Filter,
            Stage::Filter => Stage::Directory,
            Stage::Directory | Stage::Done => Stage::Done,
        };
        let section = self.stage.section();
        if section < SECTIONS {
            self.sections[section].first_page = self.next_page;
        }
    }

    fn fill_keys(&mut self, room: &mut [u8]) -> u64 {
        let (filter, first_rows, index) = (&mut self.filter, &self.first_rows, self.index);
        fill(
            room,
            self.keys.by_ref().map(|key| {
                filter.insert(key.hash, key.queue);
                let at = first_rows
                    .binary_search_by_key(&key.queue, |(queue, _)| *queue)
                    .expect("a key's batch is in the index, so its queue is");
                KeyRow {
                    hash: key.hash,
                    queue: key.queue,
                    // Section 1 has a row per batch, and batches are counted in 32 bits.
                    batch_row: first_rows[at].1 as u32 + index.depth(key.entry),
                    record: key.record,
                }
            }),
        )
    }

    fn fill_filter(&mut self, room: &mut [u8]) -> u64 {
        let Some(bits) = self.filter.rooms().nth(self.filter_page) else {
            return 0;
        };
        room.copy_from_slice(bits);
        self.filter_page += 1;
        1
    }
}

impl Stage<'_> {
    fn section(&self) -> usize {
        match self {
            Self::Queues(_) => 0,
            Self::Batches(_) => 1,
            Self::Extents(_) => 2,
            Self::Keys => 3,
            Self::Filter => 4,
            Self::Directory => 5,
            Self::Done => SECTIONS,
        }
    }
}

/// Puts as many rows as fit; says how many.
fn fill<R: Row>(room: &mut [u8], rows: impl Iterator<Item = R>) -> u64 {
    let mut count = 0;
    for (slot, row) in room.chunks_exact_mut(R::BYTES).zip(rows) {
        row.encode(slot);
        count += 1;
    }
    count
}

fn queue_rows(index: &ActiveIndex) -> impl Iterator<Item = QueueRow> + '_ {
    let mut first_row = 0;
    index.queues().map(move |(queue, batches)| {
        let row = QueueRow {
            queue: queue.0,
            batches,
            first_row,
            first_offset: index.first_offset(queue).map_or(0, |offset| offset.0),
            next_offset: index.next_offset(queue).map_or(0, |offset| offset.0),
        };
        first_row += u64::from(batches);
        row
    })
}

fn batch_rows(index: &ActiveIndex) -> impl Iterator<Item = BatchRow> + '_ {
    let base = index.base();
    index
        .queues()
        .flat_map(|(queue, _)| index.batches_from(queue, QueueOffset(0)))
        .map(move |batch| BatchRow::of(&batch, base))
}

/// The directory before, with what the segment changed.
pub(in crate::index) fn merged_directory<'a>(
    index: &'a ActiveIndex,
    before: &'a [DirectoryEntry],
) -> impl Iterator<Item = DirectoryEntry> + 'a {
    let mut old = before.iter().copied().peekable();
    let mut new = index
        .queues()
        .map(|(queue, _)| DirectoryEntry {
            queue,
            next_offset: index.next_offset(queue).unwrap_or_default(),
        })
        .peekable();
    std::iter::from_fn(move || match (old.peek(), new.peek()) {
        (Some(o), Some(n)) if o.queue < n.queue => old.next(),
        (Some(o), Some(n)) => {
            if o.queue == n.queue {
                old.next();
            }
            new.next()
        }
        (Some(_), None) => old.next(),
        (None, _) => new.next(),
    })
}

/// All keys in order: the sorted runs, merged.
struct MergedKeys<'a> {
    runs: Vec<&'a [KeyEntry]>,
    tail: Vec<KeyEntry>,
    /// The next key of each run; run number `runs.len()` is the tail.
    heads: BinaryHeap<Reverse<(KeyEntry, usize, usize)>>,
}

impl<'a> MergedKeys<'a> {
    fn new(index: &'a ActiveIndex) -> Self {
        let (runs, mut tail) = index.keys().runs_and_tail();
        tail.sort_unstable();
        let mut merged = Self {
            runs,
            tail,
            heads: BinaryHeap::new(),
        };
        for run in 0..=merged.runs.len() {
            merged.push_head(run, 0);
        }
        merged
    }

    fn push_head(&mut self, run: usize, at: usize) {
        let keys: &[KeyEntry] = self.runs.get(run).copied().unwrap_or(&self.tail);
        if let Some(key) = keys.get(at) {
            self.heads.push(Reverse((*key, run, at)));
        }
    }
}

impl Iterator for MergedKeys<'_> {
    type Item = KeyEntry;

    fn next(&mut self) -> Option<KeyEntry> {
        let Reverse((key, run, at)) = self.heads.pop()?;
        self.push_head(run, at + 1);
        Some(key)
    }
}
