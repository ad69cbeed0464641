//! Reading what is visible: from memory at the tail, from the disk behind it.

use super::inner::Inner;
use super::{FoundBatch, ReadBatches, ReadError, ReadLimits};
use crate::commitlog::segments::{SegmentFile, Segments};
use crate::disk::{Disk, DiskError};
use crate::index::{BatchLimits, BatchRef};
use crate::position::{Position, QueueHandle, QueueOffset};
use crate::reader::{BatchReadError, SegmentSource};
use crate::runtime::Runtime;
use crate::state_machine::StateMachine;
use std::rc::Rc;

impl<D: Disk, R: Runtime, S: StateMachine> Inner<D, R, S> {
    pub(super) fn visible_offset(&self, queue: QueueHandle) -> Option<QueueOffset> {
        let next = self.state.borrow().next_offset(queue)?;
        if let Some(behind) = self.behind.next(queue) {
            return Some(next.max(behind));
        }
        let unreleased = self.tail.borrow().first_unreleased(queue);
        Some(unreleased.unwrap_or(next))
    }

    pub(super) fn min_offset(&self, queue: QueueHandle) -> Option<QueueOffset> {
        let visible = self.visible_offset(queue)?;
        let stored = self.catalog.min_offset(queue).unwrap_or(visible);
        // Of a damaged log the index may not know messages that the state does: they are damaged, not gone.
        let is_damaged = self.condition.damage.borrow().is_some();
        let stored = match self.behind.min(queue) {
            Some(min) => min,
            None if is_damaged && stored >= visible => QueueOffset(0),
            None => stored,
        };
        // A topic may keep messages for a shorter time than the log does.
        let kept = self.state.borrow().trim_offset(queue);
        Some(stored.max(kept).min(visible))
    }

    /// Whether the visible message with this offset is still in memory.
    pub(super) fn is_cached(&self, queue: QueueHandle, offset: QueueOffset) -> bool {
        let limits = BatchLimits {
            batches_max: 1,
            bytes_max: 1,
        };
        let end = self.visible_end();
        let found = self.catalog.batches_in_memory(queue, offset, end, limits);
        let batch = found.and_then(|found| found.first().copied());
        batch.is_some_and(|batch| self.cache.borrow().find(batch.position, 1).is_some())
    }

    fn visible_end(&self) -> Position {
        let visible = self.tail.borrow().frontiers().visible;
        visible.max(self.behind.end())
    }

    pub(super) async fn read(
        self: &Rc<Self>,
        queue: QueueHandle,
        from: QueueOffset,
        limits: ReadLimits,
    ) -> Result<ReadBatches<D>, ReadError> {
        let not_found = ReadError::QueueNotFound(queue);
        let (Some(visible), Some(min)) = (self.visible_offset(queue), self.min_offset(queue))
        else {
            return Err(not_found);
        };
        if from < min || from > visible {
            return Err(self.out_of_range(queue, from));
        }
        let mut answer = ReadBatches {
            batches: Vec::new(),
            next_offset: from,
            visible_offset: visible,
            min_offset: min,
        };
        if from == visible {
            return Ok(answer);
        }
        let found = self.find(queue, from, limits).await;
        // Retention may have been faster than the look-up: what is gone then is not damaged.
        if self.min_offset(queue).is_none_or(|min| from < min) {
            return Err(self.out_of_range(queue, from));
        }
        let found = found?;
        let dense = dense_prefix(&found, from).map_err(|error| self.at_damage(error))?;
        if dense.is_empty() {
            mark!("verdict: messages that the state knows of are missing");
            // A snapshot knows of more than the damaged log can show.
            let damage = self.condition.damage.borrow();
            let position = damage
                .as_ref()
                .map_or(self.visible_end(), |damage| damage.position);
            return Err(ReadError::Corrupt {
                position,
                next_readable: visible,
            });
        }
        let tail = |at, len| self.cache.borrow().find(at, len);
        let read = self.reader.read(dense, self.visible_end(), tail).await;
        let ahead_bytes;
        answer.batches = match read {
            Ok(served) => {
                ahead_bytes = served.ahead_bytes;
                served.batches
            }
            Err(error) => return Err(self.read_failed(error, queue, from)),
        };
        if let Some(last) = answer.batches.len().checked_sub(1) {
            answer.next_offset = dense[last].next_offset;
        }
        if ahead_bytes > 0 {
            self.read_ahead(queue, answer.next_offset, ahead_bytes);
        }
        let mut metrics = self.metrics.borrow_mut();
        metrics.batches_read += answer.batches.len() as u64;
        metrics.bytes_read += answer
            .batches
            .iter()
            .map(|b| b.bytes.len() as u64)
            .sum::<u64>();
        Ok(answer)
    }

    /// Reads what the reader of a queue will ask for next.
    fn read_ahead(self: &Rc<Self>, queue: QueueHandle, from: QueueOffset, bytes: u64) {
        let inner = Rc::clone(self);
        self.runtime.spawn(async move {
            let limits = ReadLimits {
                max_bytes: usize::try_from(bytes).unwrap_or(usize::MAX),
                ..ReadLimits::default()
            };
            // Whoever asks for them meets the error again, and reports it.
            if let Ok(found) = inner.find(queue, from, limits).await {
                inner.reader.read_large_ahead(&found).await;
            }
        });
    }

    /// What is missing before a batch behind the damage lies where the damage is.
    fn at_damage(&self, error: ReadError) -> ReadError {
        match (error, &*self.condition.damage.borrow()) {
            (
                ReadError::Corrupt {
                    position,
                    next_readable,
                },
                Some(damage),
            ) if position > damage.position => ReadError::Corrupt {
                position: damage.position,
                next_readable,
            },
            (error, _) => error,
        }
    }

    /// What a queue holds now, for who asked for something else.
    fn out_of_range(&self, queue: QueueHandle, offset: QueueOffset) -> ReadError {
        let visible = self.visible_offset(queue).unwrap_or(offset);
        ReadError::OffsetOutOfRange {
            offset,
            min: self.min_offset(queue).unwrap_or(visible),
            visible,
        }
    }

    fn read_failed(
        &self,
        error: BatchReadError,
        queue: QueueHandle,
        offset: QueueOffset,
    ) -> ReadError {
        match error {
            BatchReadError::Corrupt {
                position,
                next_readable,
                cause,
            } => {
                mark!("verdict: a stored batch is damaged");
                tracing::error!(%cause, position = position.0, queue = queue.0, "a stored batch is damaged");
                ReadError::Corrupt {
                    position,
                    next_readable: next_readable.unwrap_or_default(),
                }
            }
            // Retention was faster.
            BatchReadError::Gone(_) => self.out_of_range(queue, offset),
        }
    }

    async fn find(
        &self,
        queue: QueueHandle,
        from: QueueOffset,
        limits: ReadLimits,
    ) -> Result<Vec<BatchRef>, ReadError> {
        let end = self.visible_end();
        let limits = BatchLimits {
            batches_max: limits.max_batches,
            bytes_max: limits.max_bytes as u64,
        };
        if let Some(found) = self.catalog.batches_in_memory(queue, from, end, limits) {
            return Ok(found);
        }
        let found =
            self.with_rebuild(async || self.catalog.batches(queue, from, end, limits).await);
        Ok(found.await?)
    }

    pub(super) async fn read_position(
        &self,
        position: Position,
    ) -> Result<FoundBatch<D>, ReadError> {
        let not_found = || ReadError::PositionNotFound(position);
        let end = self.visible_end();
        let found = self.with_rebuild(async || self.catalog.extent_at(position, end).await);
        let extent = found.await?.ok_or_else(not_found)?;
        let tail = |at, len| self.cache.borrow().find(at, len);
        let batch = match self.reader.read_extent(extent, end, tail).await {
            Ok(batch) => batch,
            Err(BatchReadError::Gone(_)) => return Err(not_found()),
            Err(BatchReadError::Corrupt {
                position, cause, ..
            }) => {
                tracing::error!(%cause, position = position.0, "a stored batch is damaged");
                // Without a header that can be trusted there is no offset to name.
                let next_readable = QueueOffset(0);
                return Err(ReadError::Corrupt {
                    position,
                    next_readable,
                });
            }
        };
        let record_index = u32::try_from(position.0 - extent.position.0).unwrap_or(u32::MAX);
        if record_index >= batch.header.record_count {
            return Err(not_found());
        }
        Ok(FoundBatch {
            batch,
            record_index,
        })
    }

    pub(super) async fn offset_at_time(
        &self,
        queue: QueueHandle,
        time_ms: i64,
    ) -> Result<QueueOffset, ReadError> {
        let visible = self
            .visible_offset(queue)
            .ok_or(ReadError::QueueNotFound(queue))?;
        let end = self.visible_end();
        let found = self
            .with_rebuild(async || self.catalog.offset_at_time(queue, time_ms, end).await)
            .await?;
        let min = self.min_offset(queue).unwrap_or(visible);
        Ok(found.unwrap_or(visible).clamp(min, visible.max(min)))
    }

    pub(super) async fn find_key(
        &self,
        queue: QueueHandle,
        key_hash: u32,
        times_ms: std::ops::RangeInclusive<i64>,
        max: usize,
    ) -> Result<Vec<Position>, ReadError> {
        self.visible_offset(queue)
            .ok_or(ReadError::QueueNotFound(queue))?;
        let end = self.visible_end();
        let found = self.with_rebuild(async || {
            let times_ms = times_ms.clone();
            self.catalog
                .find_key(queue, key_hash, times_ms, end, max)
                .await
        });
        Ok(found.await?)
    }
}

/// The batches up to the first gap. Offsets are dense: what is missing was there once, and an index made of a damaged
/// segment leaves it out.
fn dense_prefix(found: &[BatchRef], from: QueueOffset) -> Result<&[BatchRef], ReadError> {
    let mut next = from;
    for (n, batch) in found.iter().enumerate() {
        if batch.base_offset > next && n > 0 {
            return Ok(&found[..n]);
        }
        if batch.base_offset > next {
            mark!("verdict: messages before a batch are damaged");
            return Err(ReadError::Corrupt {
                position: batch.position,
                next_readable: batch.base_offset,
            });
        }
        next = batch.next_offset;
    }
    Ok(found)
}

/// The segments of a log, for its reader.
pub(super) struct SegmentFiles<D: Disk>(pub(super) Rc<Segments<D>>);

impl<D: Disk> SegmentSource<D> for SegmentFiles<D> {
    type Segment = Rc<SegmentFile<D>>;

    fn file(segment: &Self::Segment) -> &D::File {
        &segment.file
    }

    async fn segment(&self, number: u64) -> Result<Option<Self::Segment>, DiskError> {
        if !self.0.contains(number) {
            return Ok(None);
        }
        self.0.file(number).await.map(Some)
    }
}
