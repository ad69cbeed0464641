//! Reading what is visible: from memory at the tail, from the disk behind it.

use super::inner::Inner;
use super::rebuild::rebuild_index;
use super::{FoundBatch, ReadBatches, ReadError, ReadLimits, StoredBatch};
use crate::cache::SharedSlice;
use crate::commitlog::record::RECORD_HEADER_BYTES;
use crate::disk::{BLOCK_BYTES, Disk, DiskError, DiskFile};
use crate::format::round_up;
use crate::index::{BatchLimits, BatchRef, IndexError};
use crate::position::{Position, QueueHandle, QueueOffset};
use crate::runtime::Runtime;
use crate::state_machine::StateMachine;
use ringmq_wire::batch::BatchView;

/// Least bytes of a disk read while more of the same queue is wanted.
const READ_AHEAD_BYTES: usize = 256 << 10;
/// Rebuilt indexes of one question before it is given up.
const REBUILDS_MAX: u32 = 4;

/// The last piece read from the disk in one read.
struct Window<D: Disk> {
    start: Position,
    bytes: SharedSlice<D>,
}

impl<D: Disk, R: Runtime, S: StateMachine> Inner<D, R, S> {
    pub(super) fn visible_offset(&self, queue: QueueHandle) -> Option<QueueOffset> {
        let next = self.state.borrow().next_offset(queue)?;
        let unreleased = self.tail.borrow().first_unreleased(queue);
        Some(unreleased.unwrap_or(next))
    }

    pub(super) fn min_offset(&self, queue: QueueHandle) -> Option<QueueOffset> {
        let visible = self.visible_offset(queue)?;
        Some(
            self.catalog
                .min_offset(queue)
                .map_or(visible, |min| min.min(visible)),
        )
    }

    fn visible_end(&self) -> Position {
        self.tail.borrow().frontiers().visible
    }

    pub(super) async fn read(
        &self,
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
            return Err(ReadError::OffsetOutOfRange {
                offset: from,
                min,
                visible,
            });
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
        let found = self.find(queue, from, limits).await?;
        let mut window = None;
        for (n, batch) in found.iter().enumerate() {
            if batch.base_offset > answer.next_offset {
                // Offsets are dense: what an index made of a damaged segment leaves out was there once.
                if n == 0 {
                    return Err(ReadError::Corrupt {
                        position: batch.position,
                        next_readable: batch.base_offset,
                    });
                }
                break;
            }
            match self.load(batch, &found[n..], &mut window).await {
                Ok(stored) => {
                    answer.next_offset = batch.next_offset;
                    answer.batches.push(stored);
                }
                // What was read goes out first; the next read meets the damage at its start.
                Err(_) if n > 0 => break,
                Err(error) => return Err(error),
            }
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
        self.with_rebuild(async || self.catalog.batches(queue, from, end, limits).await)
            .await
    }

    /// Asks the index, and rebuilds what it cannot read.
    async fn with_rebuild<T>(
        &self,
        ask: impl AsyncFn() -> Result<T, IndexError>,
    ) -> Result<T, ReadError> {
        let mut rebuilt = 0;
        loop {
            let (segment, cause) = match ask().await {
                Ok(answer) => return Ok(answer),
                Err(IndexError::NeedsRebuild { segment, cause }) if rebuilt < REBUILDS_MAX => {
                    (segment, cause)
                }
                Err(error) => return Err(ReadError::Index(error)),
            };
            tracing::warn!(segment, %cause, "rebuilding an index");
            rebuilt += 1;
            let _turn = self.rebuilding.take().await;
            let keep = |queue| self.state.borrow().next_offset(queue).is_some();
            let log_id = self.meta.meta().log_id;
            rebuild_index(
                &self.segments,
                self.geometry,
                &self.catalog,
                log_id,
                segment,
                &keep,
            )
            .await
            .map_err(ReadError::Index)?;
            self.disk.sync_dir().await?;
        }
    }

    /// The bytes of a batch; `ahead` begins with it and says what will be asked for next.
    async fn load(
        &self,
        batch: &BatchRef,
        ahead: &[BatchRef],
        window: &mut Option<Window<D>>,
    ) -> Result<StoredBatch<D>, ReadError> {
        let start = Position(batch.position.0 + RECORD_HEADER_BYTES as u64);
        let len = batch.batch_bytes as usize;
        let cached = self.cache.borrow().find(start, len);
        if let Some(bytes) = cached {
            self.metrics.borrow_mut().cache_hits += 1;
            let view = BatchView::parse_unverified(&bytes).map_err(|_| corrupt(batch))?;
            let header = *view.header();
            return Ok(StoredBatch {
                position: batch.position,
                bytes,
                header,
            });
        }
        self.metrics.borrow_mut().cache_misses += 1;
        let slice = window.as_ref().and_then(|window| window.slice(start, len));
        let bytes = match slice {
            Some(bytes) => bytes,
            None => {
                let wanted = self.wanted_bytes(ahead);
                let read = match self.read_window(start, len, wanted).await {
                    Ok(read) => read,
                    Err(error) => {
                        tracing::error!(%error, position = batch.position.0, "a stored batch cannot be read");
                        return Err(corrupt(batch));
                    }
                };
                let bytes = read.slice(start, len).ok_or_else(|| corrupt(batch))?;
                *window = Some(read);
                bytes
            }
        };
        let view = BatchView::parse_placed(&bytes).map_err(|error| {
            tracing::error!(%error, position = batch.position.0, "a stored batch is damaged");
            corrupt(batch)
        })?;
        let header = *view.header();
        if (header.queue_handle, header.base_offset) != (batch.queue.0, batch.base_offset.0) {
            tracing::error!(
                position = batch.position.0,
                "another batch lies where this one was stored"
            );
            return Err(corrupt(batch));
        }
        Ok(StoredBatch {
            position: batch.position,
            bytes,
            header,
        })
    }

    /// How far one disk read should reach: over the batches that lie close together.
    fn wanted_bytes(&self, ahead: &[BatchRef]) -> usize {
        let Some(first) = ahead.first() else {
            return 0;
        };
        let mut end = first.position.0;
        for batch in ahead {
            if batch.position.0 > end + READ_AHEAD_BYTES as u64
                || end - first.position.0 > self.options.frame_bytes_max as u64
            {
                break;
            }
            end = batch.position.0 + RECORD_HEADER_BYTES as u64 + u64::from(batch.batch_bytes);
        }
        (end - first.position.0) as usize
    }

    /// Reads whole blocks around `start..start + len`, as many as `wanted` says if they can be read.
    async fn read_window(
        &self,
        start: Position,
        len: usize,
        wanted: usize,
    ) -> Result<Window<D>, DiskError> {
        let segment = self.segments.file(self.geometry.segment_of(start)).await?;
        let offset = self.geometry.offset_of(start);
        let first = offset & !(BLOCK_BYTES as u64 - 1);
        let lead = (offset - first) as usize;
        let most = segment.file.len().saturating_sub(first) as usize;
        let least = round_up(lead + len, BLOCK_BYTES);
        let more = round_up(lead + wanted, BLOCK_BYTES).clamp(least, most.max(least));
        let read = match segment.file.read_at(first, more).await {
            Err(_) if more > least => segment.file.read_at(first, least).await?,
            other => other?,
        };
        let len = read.len();
        Ok(Window {
            start: Position(start.0 - lead as u64),
            bytes: SharedSlice::of_read(read, 0..len),
        })
    }

    pub(super) async fn read_position(
        &self,
        position: Position,
    ) -> Result<FoundBatch<D>, ReadError> {
        let not_found = || ReadError::PositionNotFound(position);
        let end = self.visible_end();
        let found = self.with_rebuild(async || self.catalog.extent_at(position, end).await);
        let extent = found.await?.ok_or_else(not_found)?;
        let start = Position(extent.position.0 + RECORD_HEADER_BYTES as u64);
        let len = extent.batch_bytes as usize;
        let cached = self.cache.borrow().find(start, len);
        let bytes = match cached {
            Some(bytes) => bytes,
            None => {
                let window = self.read_window(start, len, len).await?;
                window.slice(start, len).ok_or_else(not_found)?
            }
        };
        let view = BatchView::parse_placed(&bytes).map_err(|error| {
            tracing::error!(%error, position = extent.position.0, "a stored batch is damaged");
            // Without a header that can be trusted there is no offset to name.
            let next_readable = QueueOffset(0);
            ReadError::Corrupt {
                position: extent.position,
                next_readable,
            }
        })?;
        let header = *view.header();
        let record_index = u32::try_from(position.0 - extent.position.0).unwrap_or(u32::MAX);
        if record_index >= header.record_count {
            return Err(not_found());
        }
        let batch = StoredBatch {
            position: extent.position,
            bytes,
            header,
        };
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
        self.with_rebuild(async || {
            let times_ms = times_ms.clone();
            self.catalog
                .find_key(queue, key_hash, times_ms, end, max)
                .await
        })
        .await
    }
}

impl<D: Disk> Window<D> {
    fn slice(&self, start: Position, len: usize) -> Option<SharedSlice<D>> {
        let from = usize::try_from(start.0.checked_sub(self.start.0)?).ok()?;
        let to = from.checked_add(len)?;
        (to <= self.bytes.len()).then(|| self.bytes.slice(from..to))
    }
}

fn corrupt(batch: &BatchRef) -> ReadError {
    ReadError::Corrupt {
        position: batch.position,
        next_readable: batch.next_offset,
    }
}
