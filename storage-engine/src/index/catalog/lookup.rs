//! Questions to all segments.

use super::slots::Source;
use super::{BatchLimits, Catalog, IndexError};
use crate::disk::Disk;
use crate::index::bundle::{Bundle, BundleIdentity};
use crate::index::{BatchRef, Extent};
use crate::position::{Position, QueueHandle, QueueOffset};
use std::ops::RangeInclusive;
use std::rc::Rc;

impl<D: Disk> Catalog<D> {
    /// Batches of a queue in order, from the one that holds `from` (or the first behind it) on, below `end`.
    pub async fn batches(
        &self,
        queue: QueueHandle,
        from: QueueOffset,
        end: Position,
        limits: BatchLimits,
    ) -> Result<Vec<BatchRef>, IndexError> {
        let mut taker = Taker::new(end, limits);
        let mut from = from;
        let mut after = None;
        while !taker.done {
            if self.is_in_memory(queue, from) {
                self.take_from_memory(queue, from, &mut taker);
                break;
            }
            let newest = self.newest_file();
            let Some(segment) = self.file_with(queue, from, after).await? else {
                if self.newest_file() != newest {
                    // Sealed meanwhile: no longer in memory, and not among those that were asked.
                    continue;
                }
                self.take_from_memory(queue, from, &mut taker);
                break;
            };
            let Some(bundle) = self.bundle(segment).await? else {
                continue;
            };
            let batches = bundle
                .batches_from(queue, from, |batch| taker.wants(batch))
                .await
                .map_err(|cause| self.failed(segment, cause))?;
            if let Some(last) = batches.last() {
                from = last.next_offset;
            }
            taker.batches.extend(batches);
            after = Some(segment);
        }
        Ok(taker.batches)
    }

    /// As [`Self::batches`], if they are in memory: no IO, no waiting.
    pub fn batches_in_memory(
        &self,
        queue: QueueHandle,
        from: QueueOffset,
        end: Position,
        limits: BatchLimits,
    ) -> Option<Vec<BatchRef>> {
        if !self.is_in_memory(queue, from) {
            return None;
        }
        let mut taker = Taker::new(end, limits);
        self.take_from_memory(queue, from, &mut taker);
        Some(taker.batches)
    }

    /// Offset of the first message of a queue that was stored at `time_ms` or later; `None` if there is none below
    /// `end`. The queue may have been trimmed beyond it.
    pub async fn offset_at_time(
        &self,
        queue: QueueHandle,
        time_ms: i64,
        end: Position,
    ) -> Result<Option<QueueOffset>, IndexError> {
        loop {
            let newest = self.newest_file();
            if let Some(found) = self.offset_in_files(queue, time_ms, end).await? {
                return Ok(found);
            }
            if self.newest_file() == newest {
                break;
            }
            // Sealed meanwhile: no longer in memory, and not among those that were asked.
        }
        let slots = self.inner.slots.borrow();
        let found = slots
            .in_memory()
            .find_map(|(_, index)| index.batch_at_time(queue, time_ms));
        Ok(found
            .filter(|batch| batch.position < end)
            .map(|batch| batch.base_offset))
    }

    /// Positions of messages of `queue` with this key hash, stored within the times (inclusive), newest first. The
    /// caller compares the keys: hashes collide.
    pub async fn find_key(
        &self,
        queue: QueueHandle,
        key_hash: u32,
        times_ms: RangeInclusive<i64>,
        end: Position,
        max: usize,
    ) -> Result<Vec<Position>, IndexError> {
        let mut found = self.find_key_in_memory(queue, key_hash, &times_ms, end, max);
        let mut before = {
            let slots = self.inner.slots.borrow();
            slots
                .first_in_memory()
                .checked_sub(1)
                .and_then(|index| slots.at(index))
                .map(|slot| slot.segment)
        };
        while let Some(segment) = before
            && found.len() < max
        {
            if let Some(bundle) = self.bundle(segment).await? {
                let stored_ms = bundle.header().time_range_ms;
                if stored_ms.is_some_and(|(_, last_ms)| last_ms < *times_ms.start()) {
                    break;
                }
                if stored_ms.is_some_and(|(first_ms, _)| first_ms <= *times_ms.end()) {
                    let left = max - found.len();
                    let more = bundle
                        .find_key(queue, key_hash, times_ms.clone(), end, left)
                        .await;
                    found.extend(more.map_err(|cause| self.failed(segment, cause))?);
                }
            }
            before = self.file_before(segment);
        }
        Ok(found)
    }

    /// Where the batch lies that holds the message at `position`, if there is one below `end`. The caller reads it to
    /// see whether it is long enough to hold that message.
    pub async fn extent_at(
        &self,
        position: Position,
        end: Position,
    ) -> Result<Option<Extent>, IndexError> {
        let segment = position.0 / self.inner.options.segment_bytes;
        let in_memory = {
            let slots = self.inner.slots.borrow();
            match slots.find(segment) {
                None => return Ok(None),
                Some(slot) => slot.memory().map(|index| index.extent_at(position)),
            }
        };
        let found = match in_memory {
            Some(found) => found,
            None => match self.bundle(segment).await? {
                None => None,
                Some(bundle) => {
                    let found = bundle.extent_at(position).await;
                    found.map_err(|cause| self.failed(segment, cause))?
                }
            },
        };
        Ok(found.filter(|extent| extent.position < end))
    }

    /// The bundle of a segment, opened if need be; `None` if the segment is gone or in memory.
    pub(super) async fn bundle(&self, segment: u64) -> Result<Option<Rc<Bundle<D>>>, IndexError> {
        let expected = {
            let slots = self.inner.slots.borrow();
            match slots.find(segment).map(|slot| &slot.source) {
                Some(Source::File {
                    open: Some(bundle), ..
                }) => return Ok(Some(Rc::clone(bundle))),
                Some(Source::File {
                    last_header_checksum,
                    ..
                }) => *last_header_checksum,
                _ => return Ok(None),
            }
        };
        let identity = BundleIdentity {
            log_id: self.inner.options.log_id,
            segment_base: Position(segment * self.inner.options.segment_bytes),
        };
        let pages = Rc::clone(&self.inner.pages);
        let opened = Bundle::open(&self.inner.disk, segment, identity, expected, pages).await;
        let bundle = Rc::new(opened.map_err(|cause| self.failed(segment, cause))?);
        let mut slots = self.inner.slots.borrow_mut();
        slots.set_open(segment, Rc::clone(&bundle));
        Ok(Some(bundle))
    }

    /// Whether the batch that holds `from`, if there is one, is in memory for sure.
    fn is_in_memory(&self, queue: QueueHandle, from: QueueOffset) -> bool {
        let slots = self.inner.slots.borrow();
        let first = slots
            .in_memory()
            .find_map(|(_, index)| index.first_offset(queue));
        slots.first_in_memory() == 0 || first.is_some_and(|first| first <= from)
    }

    fn take_from_memory(&self, queue: QueueHandle, from: QueueOffset, taker: &mut Taker) {
        let slots = self.inner.slots.borrow();
        for (_, index) in slots.in_memory() {
            for batch in index.batches_from(queue, from) {
                if !taker.wants(&batch) {
                    return;
                }
                taker.batches.push(batch);
            }
        }
    }

    fn find_key_in_memory(
        &self,
        queue: QueueHandle,
        key_hash: u32,
        times_ms: &RangeInclusive<i64>,
        end: Position,
        max: usize,
    ) -> Vec<Position> {
        let slots = self.inner.slots.borrow();
        let mut found = Vec::new();
        for (_, index) in slots.in_memory().rev() {
            let left = max - found.len();
            found.extend(index.find_key(queue, key_hash, times_ms.clone(), end, left));
        }
        found
    }

    /// As [`Self::offset_at_time`], if a bundle holds messages that are late enough.
    async fn offset_in_files(
        &self,
        queue: QueueHandle,
        time_ms: i64,
        end: Position,
    ) -> Result<Option<Option<QueueOffset>>, IndexError> {
        let Some(segment) = self.file_at_time(time_ms).await? else {
            return Ok(None);
        };
        let Some(bundle) = self.bundle(segment).await? else {
            return Ok(None);
        };
        let found = bundle.batch_at_time(queue, time_ms).await;
        match found.map_err(|cause| self.failed(segment, cause))? {
            Some(batch) if batch.position >= end => return Ok(Some(None)),
            Some(batch) => return Ok(Some(Some(batch.base_offset))),
            None => {}
        }
        // Whatever the queue got after this segment is late enough.
        let next = bundle.next_offset(queue).await;
        let next = next.map_err(|cause| self.failed(segment, cause))?;
        let limits = BatchLimits {
            batches_max: 1,
            bytes_max: 0,
        };
        let from = next.unwrap_or_default();
        let batches = self.batches(queue, from, end, limits).await?;
        Ok(Some(batches.first().map(|batch| batch.base_offset)))
    }

    /// The newest segment that has a bundle; grows while segments are sealed.
    fn newest_file(&self) -> Option<u64> {
        let slots = self.inner.slots.borrow();
        let newest = slots.first_in_memory().checked_sub(1)?;
        Some(slots.at(newest)?.segment)
    }

    /// The oldest bundle (newer than `after`) at whose seal the queue was beyond `from`.
    async fn file_with(
        &self,
        queue: QueueHandle,
        from: QueueOffset,
        after: Option<u64>,
    ) -> Result<Option<u64>, IndexError> {
        self.first_file(after, async |bundle: &Bundle<D>| {
            let next = bundle.next_offset(queue).await?;
            Ok(next.is_some_and(|next| next > from))
        })
        .await
    }

    /// The oldest bundle with messages stored at `time_ms` or later. A bundle without batches has no time: the nearest
    /// older one that has some speaks for it.
    async fn file_at_time(&self, time_ms: i64) -> Result<Option<u64>, IndexError> {
        let segments: Vec<u64> = self.inner.slots.borrow().files_after(None);
        let (mut low, mut high) = (0, segments.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let mut speaker = middle;
            let mut last_ms = self.last_time(segments[speaker]).await?;
            while last_ms.is_none() && speaker > low {
                speaker -= 1;
                last_ms = self.last_time(segments[speaker]).await?;
            }
            if last_ms.is_some_and(|last_ms| last_ms >= time_ms) {
                high = speaker;
            } else {
                low = middle + 1;
            }
        }
        Ok(segments.get(low).copied())
    }

    /// Store time of the last batch of a segment; `None` without batches, or if the segment is gone.
    async fn last_time(&self, segment: u64) -> Result<Option<i64>, IndexError> {
        let bundle = self.bundle(segment).await?;
        let times = bundle.and_then(|bundle| bundle.header().time_range_ms);
        Ok(times.map(|(_, last_ms)| last_ms))
    }

    /// Binary search: `holds` holds for no bundle, then for all.
    async fn first_file(
        &self,
        after: Option<u64>,
        holds: impl AsyncFn(&Bundle<D>) -> Result<bool, super::BundleError>,
    ) -> Result<Option<u64>, IndexError> {
        let segments: Vec<u64> = self.inner.slots.borrow().files_after(after);
        let (mut low, mut high) = (0, segments.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let segment = segments[middle];
            // A segment that retention took away meanwhile was older than the others.
            let found = match self.bundle(segment).await? {
                None => false,
                Some(bundle) => holds(&bundle)
                    .await
                    .map_err(|cause| self.failed(segment, cause))?,
            };
            if found {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        Ok(segments.get(low).copied())
    }

    fn file_before(&self, segment: u64) -> Option<u64> {
        let slots = self.inner.slots.borrow();
        let index = slots.index_of(segment)?.checked_sub(1)?;
        Some(slots.at(index)?.segment)
    }
}

/// Takes batches until one is too many.
struct Taker {
    batches: Vec<BatchRef>,
    end: Position,
    limits: BatchLimits,
    count: usize,
    bytes: u64,
    done: bool,
}

impl Taker {
    fn new(end: Position, limits: BatchLimits) -> Self {
        Self {
            batches: Vec::new(),
            end,
            limits,
            count: 0,
            bytes: 0,
            done: false,
        }
    }

    fn wants(&mut self, batch: &BatchRef) -> bool {
        let bytes = self.bytes + u64::from(batch.batch_bytes);
        let fits = self.count == 0
            || (self.count < self.limits.batches_max && bytes <= self.limits.bytes_max);
        if batch.position >= self.end || !fits {
            self.done = true;
            return false;
        }
        self.count += 1;
        self.bytes = bytes;
        true
    }
}
