//! The questions a bundle answers. Results are bounded by the caller; rows are checked before they are used.

use super::BundleError;
use super::file::{Bundle, row};
use super::filter::Probe;
use super::format::SectionKind;
use super::rows::{BatchRow, DirectoryEntry, ExtentRow, KeyRow, QueueRow, Row};
use crate::disk::Disk;
use crate::index::{BatchRef, Extent};
use crate::position::{Position, QueueHandle, QueueOffset};
use std::ops::{Range, RangeInclusive};

impl<D: Disk> Bundle<D> {
    /// Offset behind the queue's last message when the segment was sealed; `None`: it had none.
    pub async fn next_offset(
        &self,
        queue: QueueHandle,
    ) -> Result<Option<QueueOffset>, BundleError> {
        let kind = SectionKind::Directory;
        let entry = self
            .find_row::<DirectoryEntry>(kind, |entry| entry.queue < queue)
            .await?;
        Ok(entry
            .filter(|entry| entry.queue == queue)
            .map(|entry| entry.next_offset))
    }

    /// Batches of a queue in order, from the one that holds `from` (or the first behind it) on. `wanted` is
    /// asked before each, and ends them.
    pub async fn batches_from(
        &self,
        queue: QueueHandle,
        from: QueueOffset,
        mut wanted: impl FnMut(&BatchRef) -> bool,
    ) -> Result<Vec<BatchRef>, BundleError> {
        let mut batches = Vec::new();
        let Some(rows) = self.rows_of(queue).await? else {
            return Ok(batches);
        };
        let start = self
            .partition_point::<BatchRow>(SectionKind::Batches, rows.clone(), |row| {
                row.next_offset() <= from.0
            })
            .await?;
        let mut at = start;
        while at < rows.end {
            let (page, first) = self.page_of::<BatchRow>(SectionKind::Batches, at).await?;
            let left = (rows.end - at).min((BatchRow::PER_PAGE - first) as u64) as usize;
            for number in first..first + left {
                let batch = self.batch(queue, row(&page, number))?;
                if !wanted(&batch) {
                    return Ok(batches);
                }
                batches.push(batch);
            }
            at += left as u64;
        }
        Ok(batches)
    }

    /// The first batch of a queue that was stored at `time_ms` or later.
    pub async fn batch_at_time(
        &self,
        queue: QueueHandle,
        time_ms: i64,
    ) -> Result<Option<BatchRef>, BundleError> {
        let Some(rows) = self.rows_of(queue).await? else {
            return Ok(None);
        };
        let at = self
            .partition_point::<BatchRow>(SectionKind::Batches, rows.clone(), |row| {
                row.store_time_ms < time_ms
            })
            .await?;
        if at == rows.end {
            return Ok(None);
        }
        let (page, number) = self.page_of::<BatchRow>(SectionKind::Batches, at).await?;
        self.batch(queue, row(&page, number)).map(Some)
    }

    /// The last batch that starts at or below `position`. It may be too short to reach it.
    pub async fn extent_at(&self, position: Position) -> Result<Option<Extent>, BundleError> {
        let base = self.header.identity.segment_base;
        let Some(offset) = position.0.checked_sub(base.0) else {
            return Ok(None);
        };
        let kind = SectionKind::Extents;
        let behind = self
            .partition_point::<ExtentRow>(kind, self.all_rows(kind), |row| {
                u64::from(row.offset_in_segment) <= offset
            })
            .await?;
        let Some(at) = behind.checked_sub(1) else {
            return Ok(None);
        };
        let (page, number) = self.page_of::<ExtentRow>(kind, at).await?;
        let row: ExtentRow = row(&page, number);
        Ok(Some(Extent {
            position: Position(base.0 + u64::from(row.offset_in_segment)),
            batch_bytes: row.batch_bytes,
        }))
    }

    /// Positions of messages of `queue` with this key hash, stored within the times (inclusive), newest first.
    pub async fn find_key(
        &self,
        queue: QueueHandle,
        key_hash: u32,
        times_ms: RangeInclusive<i64>,
        end: Position,
        max: usize,
    ) -> Result<Vec<Position>, BundleError> {
        let mut found = Vec::new();
        if !self.may_have_key(queue, key_hash).await? {
            return Ok(found);
        }
        let kind = SectionKind::Keys;
        let mut at = self
            .partition_point::<KeyRow>(kind, self.all_rows(kind), |row| {
                (row.hash, row.queue) <= (key_hash, queue.0)
            })
            .await?;
        let mut last = None;
        while at > 0 && found.len() < max {
            at -= 1;
            let (page, number) = self.page_of::<KeyRow>(kind, at).await?;
            let key: KeyRow = row(&page, number);
            if (key.hash, key.queue) != (key_hash, queue.0) {
                break;
            }
            let (page, number) = self
                .page_of::<BatchRow>(SectionKind::Batches, u64::from(key.batch_row))
                .await?;
            let batch = self.batch(queue, row(&page, number))?;
            let position = Position(batch.position.0 + u64::from(key.record));
            let wanted = times_ms.contains(&batch.store_time_ms) && batch.position < end;
            if wanted && last != Some(position) {
                found.push(position);
            }
            last = Some(position);
        }
        Ok(found)
    }

    /// The whole directory, sorted by queue.
    pub async fn directory(&self) -> Result<Vec<DirectoryEntry>, BundleError> {
        self.section_rows(SectionKind::Directory).await
    }

    /// For every queue in the directory, where its messages in this segment start; where none are, its next offset.
    pub async fn first_offsets(&self) -> Result<Vec<DirectoryEntry>, BundleError> {
        let mut offsets = self.directory().await?;
        let queues: Vec<QueueRow> = self.section_rows(SectionKind::Queues).await?;
        for row in queues {
            if let Ok(at) = offsets.binary_search_by_key(&row.queue, |entry| entry.queue.0) {
                offsets[at].next_offset = QueueOffset(row.first_offset);
            }
        }
        Ok(offsets)
    }

    async fn may_have_key(&self, queue: QueueHandle, key_hash: u32) -> Result<bool, BundleError> {
        let filter = self.header.section(SectionKind::Filter);
        if filter.pages == 0 {
            return Ok(false);
        }
        let probe = Probe::of(key_hash, queue.0);
        let page = self
            .page(filter.first_page + probe.page(filter.pages))
            .await?;
        Ok(probe.may_be_in(&page))
    }

    /// Rows of section 1 that belong to a queue.
    async fn rows_of(&self, queue: QueueHandle) -> Result<Option<Range<u64>>, BundleError> {
        let kind = SectionKind::Queues;
        let found = self
            .find_row::<QueueRow>(kind, |row| row.queue < queue.0)
            .await?;
        let Some(row) = found.filter(|row| row.queue == queue.0) else {
            return Ok(None);
        };
        let batches = self.header.section(SectionKind::Batches).rows;
        match row.first_row.checked_add(u64::from(row.batches)) {
            Some(end) if end <= batches => Ok(Some(row.first_row..end)),
            _ => Err(self.corrupt(
                self.header.section(kind).first_page,
                "a queue has more batches than there are",
            )),
        }
    }

    /// The first row of a section for which `before` does not hold.
    async fn find_row<R: Row>(
        &self,
        kind: SectionKind,
        before: impl Fn(&R) -> bool,
    ) -> Result<Option<R>, BundleError> {
        let all = self.all_rows(kind);
        let at = self.partition_point(kind, all.clone(), before).await?;
        if at == all.end {
            return Ok(None);
        }
        let (page, number) = self.page_of::<R>(kind, at).await?;
        Ok(Some(row(&page, number)))
    }

    async fn section_rows<R: Row>(&self, kind: SectionKind) -> Result<Vec<R>, BundleError> {
        let count = self.header.section(kind).rows;
        let mut rows = Vec::with_capacity(count as usize);
        while (rows.len() as u64) < count {
            let (page, _) = self.page_of::<R>(kind, rows.len() as u64).await?;
            let left = (count - rows.len() as u64).min(R::PER_PAGE as u64) as usize;
            rows.extend((0..left).map(|number| row::<R>(&page, number)));
        }
        Ok(rows)
    }

    fn all_rows(&self, kind: SectionKind) -> Range<u64> {
        0..self.header.section(kind).rows
    }

    fn batch(&self, queue: QueueHandle, row: BatchRow) -> Result<BatchRef, BundleError> {
        let batch = row.to_batch(queue, self.header.identity.segment_base);
        let end = batch
            .position
            .0
            .saturating_add(u64::from(batch.batch_bytes));
        if end > self.header.segment_end.0 {
            let section = self.header.section(SectionKind::Batches);
            return Err(self.corrupt(section.first_page, "a batch lies behind the segment's end"));
        }
        Ok(batch)
    }
}
