//! Taking records into the open frame. Nothing here waits.

use super::inner::Inner;
use super::{Append, AppendError, Appended, Urgency};
use crate::commitlog::open_frame::QueueSpan;
use crate::commitlog::placement::Writer;
use crate::commitlog::record::{EngineRecord, RecordKind, STORE_TIME_BYTES, record_bytes};
use crate::commitlog::tail::{LogTail, Refusal, Surroundings};
use crate::disk::Disk;
use crate::index::bundle::SealedAt;
use crate::position::{QueueHandle, QueueOffset};
use crate::runtime::Runtime;
use crate::state_machine::{RecordRef, StateMachine};
use ringmq_wire::batch::{BatchHeader, BatchView};

impl<D: Disk, R: Runtime, S: StateMachine> Inner<D, R, S> {
    /// The time that the next record gets.
    pub(super) fn store_time_ms(&self) -> i64 {
        self.runtime.wall_ms().max(self.last_store_time_ms.get())
    }

    pub(super) fn append_batch(
        &self,
        queue: QueueHandle,
        base_offset: QueueOffset,
        pieces: &[&[u8]],
    ) -> Result<Appended, AppendError> {
        self.check_batches_appendable()?;
        let store_time_ms = self.store_time_ms();
        let mut tail = self.tail.borrow_mut();
        let batch_bytes = pieces.iter().map(|piece| piece.len()).sum();
        self.reserve(&mut tail, record_bytes(batch_bytes), Writer::Ordinary)?;
        let appended = self.push_batch(&mut tail, queue, base_offset, pieces, store_time_ms);
        self.appended(&mut tail, store_time_ms);
        Ok(appended)
    }

    pub(super) fn append_control(&self, record: &[u8]) -> Result<Appended, AppendError> {
        self.check_appendable()?;
        self.append_timed(RecordKind::Control, Writer::Control, record)
    }

    pub(super) fn append_engine(&self, record: EngineRecord) -> Result<Appended, AppendError> {
        self.check_appendable()?;
        self.append_timed(RecordKind::Engine, Writer::Engine, &record.encode())
    }

    pub(super) fn append_atomic(
        &self,
        records: &[Append<'_>],
        urgency: Urgency,
    ) -> Result<Vec<Appended>, AppendError> {
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let has_batch = records.iter().any(|r| matches!(r, Append::Batch { .. }));
        match urgency {
            Urgency::Ordinary if has_batch => self.check_batches_appendable()?,
            _ => self.check_appendable()?,
        }
        let writer = if has_batch {
            Writer::Ordinary
        } else {
            Writer::Control
        };
        let store_time_ms = self.store_time_ms();
        let mut tail = self.tail.borrow_mut();
        let records_bytes = records.iter().map(Append::record_bytes).sum();
        self.reserve(&mut tail, records_bytes, writer)?;
        let appended = records
            .iter()
            .map(|record| match *record {
                Append::Batch {
                    queue,
                    base_offset,
                    batch,
                } => self.push_batch(&mut tail, queue, base_offset, &[batch], store_time_ms),
                Append::Control(record) => {
                    self.push_timed(&mut tail, RecordKind::Control, record, store_time_ms)
                }
            })
            .collect();
        self.appended(&mut tail, store_time_ms);
        Ok(appended)
    }

    /// Messages are refused while the disk is above its last watermark; what else is appended helps to get below.
    fn check_batches_appendable(&self) -> Result<(), AppendError> {
        self.check_appendable()?;
        if self.condition.above_watermark.get() {
            self.metrics.borrow_mut().append_refused_no_space += 1;
            return Err(AppendError::NoSpace);
        }
        Ok(())
    }

    fn append_timed(
        &self,
        kind: RecordKind,
        writer: Writer,
        record: &[u8],
    ) -> Result<Appended, AppendError> {
        let store_time_ms = self.store_time_ms();
        let mut tail = self.tail.borrow_mut();
        let records_bytes = record_bytes(STORE_TIME_BYTES + record.len());
        self.reserve(&mut tail, records_bytes, writer)?;
        let appended = self.push_timed(&mut tail, kind, record, store_time_ms);
        self.appended(&mut tail, store_time_ms);
        Ok(appended)
    }

    /// Puts a batch, whose first piece holds its header, into the open frame, which has room for it, and applies it.
    fn push_batch(
        &self,
        tail: &mut LogTail<D::Buf>,
        queue: QueueHandle,
        base_offset: QueueOffset,
        pieces: &[&[u8]],
        store_time_ms: i64,
    ) -> Appended {
        let front = pieces.first().expect("a batch is not empty");
        let sent = BatchHeader::parse(front).expect("the caller checked the batch");
        let expected = self.state.borrow().next_offset(queue);
        assert_eq!(
            expected,
            Some(base_offset),
            "the caller appends where the queue ends"
        );
        let span = QueueSpan {
            queue,
            base: base_offset,
            next: QueueOffset(base_offset.0 + u64::from(sent.last_offset_delta) + 1),
        };
        let placed = tail.open_mut().push_batch(pieces, span, store_time_ms);
        let batch_bytes = placed.payload.len();
        tail.pushed(batch_bytes, Some(span));
        let bytes = tail.open_frame().bytes(placed.payload.clone());
        let view = BatchView::parse_unverified(bytes).expect("placing keeps a batch whole");
        self.catalog
            .insert(placed.position, &view)
            .expect("positions, times and offsets of a queue rise");
        let header = view.header();
        let record = RecordRef::Batch(header);
        self.state
            .borrow_mut()
            .apply(placed.position, store_time_ms, record);
        let mut metrics = self.metrics.borrow_mut();
        metrics.batches_appended += 1;
        metrics.messages_appended += u64::from(header.record_count);
        metrics.bytes_appended += batch_bytes as u64;
        Appended {
            position: placed.position,
            end: placed.end,
            store_time_ms,
        }
    }

    /// Puts a control or engine record into the open frame, which has room for it, and applies the former.
    fn push_timed(
        &self,
        tail: &mut LogTail<D::Buf>,
        kind: RecordKind,
        record: &[u8],
        store_time_ms: i64,
    ) -> Appended {
        let placed = tail.open_mut().push_timed(kind, record, store_time_ms);
        tail.pushed(STORE_TIME_BYTES + record.len(), None);
        if kind == RecordKind::Control {
            let applied = RecordRef::Control(tail.open_frame().bytes(placed.payload.clone()));
            self.state
                .borrow_mut()
                .apply(placed.position, store_time_ms, applied);
            let mut metrics = self.metrics.borrow_mut();
            metrics.controls_appended += 1;
            metrics.bytes_appended += record.len() as u64;
        }
        Appended {
            position: placed.position,
            end: placed.end,
            store_time_ms,
        }
    }

    /// Makes room in the open frame for records of so many bytes; notices when that starts a segment.
    fn reserve(
        &self,
        tail: &mut LogTail<D::Buf>,
        records_bytes: usize,
        writer: Writer,
    ) -> Result<(), AppendError> {
        let around = Surroundings {
            is_prepared: &|segment| self.segments.opened(segment).is_some(),
            alloc: &|bytes| self.disk.alloc(bytes),
        };
        tail.reserve_records(records_bytes, writer, &around)
            .map_err(|refusal| self.refused(refusal, records_bytes))?;
        let segment = self.geometry.segment_of(tail.open_frame().position());
        if self.indexed_segment.get() != Some(segment) {
            self.enter_segment(tail, segment);
        }
        Ok(())
    }

    fn enter_segment(&self, tail: &LogTail<D::Buf>, segment: u64) {
        if let Some(left) = self.indexed_segment.replace(Some(segment)) {
            // Nothing is open in the segment that is left, so the chain ends with its last frame.
            let sealed_at = SealedAt {
                segment_end: tail.link().end,
                last_header_checksum: tail.link().checksum,
            };
            self.ended.borrow_mut().insert(left, sealed_at);
            let last_time_ms = tail.link().store_time_ms;
            self.segment_times.borrow_mut().insert(left, last_time_ms);
        }
        self.catalog.open_segment(self.geometry.base_of(segment));
        self.signals.prepare.notify();
        self.signals.upkeep.notify();
        self.signals.entered.notify();
    }

    fn refused(&self, refusal: Refusal, bytes: usize) -> AppendError {
        let mut metrics = self.metrics.borrow_mut();
        match refusal {
            Refusal::TooLarge { limit } => AppendError::TooLarge { bytes, limit },
            Refusal::SegmentMissing(segment) => {
                self.condition.wanted_segment.set(Some(segment));
                self.signals.prepare.notify();
                if self.condition.no_space.get() {
                    metrics.append_refused_no_space += 1;
                    AppendError::NoSpace
                } else {
                    metrics.append_refused_busy += 1;
                    AppendError::Busy
                }
            }
            Refusal::Busy => {
                metrics.append_refused_busy += 1;
                AppendError::Busy
            }
        }
    }

    fn appended(&self, tail: &mut LogTail<D::Buf>, store_time_ms: i64) {
        self.last_store_time_ms.set(store_time_ms);
        if self.catalog.active_index_bytes() >= self.options.index_bytes_max as u64 {
            tail.roll_next();
        }
        if tail.wants_dispatch() {
            self.signals.work.notify();
        }
    }
}
