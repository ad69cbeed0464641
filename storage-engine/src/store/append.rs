//! Taking records into the open frame. Nothing here waits.

use super::inner::Inner;
use super::{AppendError, Appended};
use crate::commitlog::open_frame::QueueSpan;
use crate::commitlog::placement::Writer;
use crate::commitlog::record::{EngineRecord, RecordKind, STORE_TIME_BYTES};
use crate::commitlog::tail::{LogTail, Refusal, Surroundings};
use crate::disk::Disk;
use crate::index::bundle::SealedAt;
use crate::position::{QueueHandle, QueueOffset};
use crate::runtime::Runtime;
use crate::state_machine::{RecordRef, StateMachine};
use ringmq_wire::batch::BatchView;

impl<D: Disk, R: Runtime, S: StateMachine> Inner<D, R, S> {
    /// The time that the next record gets.
    pub(super) fn store_time_ms(&self) -> i64 {
        self.runtime.wall_ms().max(self.last_store_time_ms.get())
    }

    pub(super) fn append_batch(
        &self,
        queue: QueueHandle,
        base_offset: QueueOffset,
        batch: &[u8],
    ) -> Result<Appended, AppendError> {
        self.check_appendable()?;
        if self.condition.above_watermark.get() {
            self.metrics.borrow_mut().append_refused_no_space += 1;
            return Err(AppendError::NoSpace);
        }
        let sent = BatchView::parse_unverified(batch).expect("the caller checked the batch");
        let expected = self.state.borrow().next_offset(queue);
        assert_eq!(
            expected,
            Some(base_offset),
            "the caller appends where the queue ends"
        );
        let span = QueueSpan {
            queue,
            base: base_offset,
            next: QueueOffset(base_offset.0 + u64::from(sent.header().last_offset_delta) + 1),
        };
        let store_time_ms = self.store_time_ms();
        let mut tail = self.tail.borrow_mut();
        self.reserve(&mut tail, batch.len(), Writer::Ordinary)?;
        let placed = tail.open_mut().push_batch(batch, span, store_time_ms);
        tail.pushed(batch.len(), Some(span));
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
        {
            let mut metrics = self.metrics.borrow_mut();
            metrics.batches_appended += 1;
            metrics.messages_appended += u64::from(header.record_count);
            metrics.bytes_appended += batch.len() as u64;
        }
        if self.catalog.active_index_bytes() >= self.options.index_bytes_max as u64 {
            tail.roll_next();
        }
        self.appended(&tail, store_time_ms);
        Ok(Appended {
            position: placed.position,
            end: placed.end,
            store_time_ms,
        })
    }

    pub(super) fn append_control(&self, record: &[u8]) -> Result<Appended, AppendError> {
        self.check_appendable()?;
        let appended = self.append_timed(RecordKind::Control, Writer::Control, record)?;
        let mut metrics = self.metrics.borrow_mut();
        metrics.controls_appended += 1;
        metrics.bytes_appended += record.len() as u64;
        Ok(appended)
    }

    pub(super) fn append_engine(&self, record: EngineRecord) -> Result<Appended, AppendError> {
        self.check_appendable()?;
        self.append_timed(RecordKind::Engine, Writer::Engine, &record.encode())
    }

    fn append_timed(
        &self,
        kind: RecordKind,
        writer: Writer,
        record: &[u8],
    ) -> Result<Appended, AppendError> {
        let store_time_ms = self.store_time_ms();
        let payload_bytes = STORE_TIME_BYTES + record.len();
        let mut tail = self.tail.borrow_mut();
        self.reserve(&mut tail, payload_bytes, writer)?;
        let placed = tail.open_mut().push_timed(kind, record, store_time_ms);
        tail.pushed(payload_bytes, None);
        if kind == RecordKind::Control {
            let record = RecordRef::Control(tail.open_frame().bytes(placed.payload.clone()));
            self.state
                .borrow_mut()
                .apply(placed.position, store_time_ms, record);
        }
        self.appended(&tail, store_time_ms);
        Ok(Appended {
            position: placed.position,
            end: placed.end,
            store_time_ms,
        })
    }

    /// Makes room in the open frame; notices when that starts a segment.
    fn reserve(
        &self,
        tail: &mut LogTail<D::Buf>,
        payload_bytes: usize,
        writer: Writer,
    ) -> Result<(), AppendError> {
        let around = Surroundings {
            is_prepared: &|segment| self.segments.opened(segment).is_some(),
            alloc: &|bytes| self.disk.alloc(bytes),
        };
        tail.reserve(payload_bytes, writer, &around)
            .map_err(|refusal| self.refused(refusal, payload_bytes))?;
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

    fn appended(&self, tail: &LogTail<D::Buf>, store_time_ms: i64) {
        self.last_store_time_ms.set(store_time_ms);
        if tail.wants_dispatch() {
            self.signals.work.notify();
        }
    }
}
