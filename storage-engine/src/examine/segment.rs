//! One segment: its records, and an index made of them to compare with the one on disk.

use super::bundles::{self, Expected};
use super::report::{IndexState, QueueGap, SegmentReport};
use super::{ShardReport, StateRecords};
use crate::commitlog::frame::FRAME_HEADER_BYTES;
use crate::commitlog::record::{RawRecord, RawRecords, RecordKind};
use crate::commitlog::scan::ScannedFrame;
use crate::commitlog::segments::segment_name;
use crate::disk::Disk;
use crate::index::ActiveIndex;
use crate::index::bundle::SealedAt;
use crate::position::{Position, QueueHandle, QueueOffset};
use ringmq_wire::batch::BatchView;
use std::collections::{BTreeMap, BTreeSet};

/// A segment that is being gone through.
pub(super) struct Segment {
    pub(super) number: u64,
    /// Frames are missing, so its index may know more.
    pub(super) is_damaged: bool,
    base: Position,
    index: ActiveIndex,
    queues: BTreeSet<QueueHandle>,
    sealed_at: SealedAt,
    frames: u64,
    batches: u64,
    messages: u64,
}

impl Segment {
    pub(super) fn new(number: u64, base: Position) -> Self {
        Self {
            number,
            is_damaged: false,
            base,
            index: ActiveIndex::new(base),
            queues: BTreeSet::new(),
            sealed_at: SealedAt {
                segment_end: base,
                last_header_checksum: 0,
            },
            frames: 0,
            batches: 0,
            messages: 0,
        }
    }

    /// Looks at every record of a frame whose checksums hold.
    pub(super) fn take<D: Disk>(
        &mut self,
        frame: &ScannedFrame<D>,
        next_offsets: &mut BTreeMap<QueueHandle, u64>,
        report: &mut ShardReport,
        records: &mut impl StateRecords,
    ) {
        let start = frame.header.position;
        let mut count = 0;
        for record in RawRecords::new(frame.body()) {
            let Ok(record) = record else {
                self.lost(
                    start,
                    "its records make no sense under a right checksum",
                    report,
                );
                break;
            };
            count += 1;
            let at = Position(start.0 + (FRAME_HEADER_BYTES + record.offset) as u64);
            if let Err(what) = self.record(at, &record, next_offsets, report, records) {
                self.lost(at, &what, report);
            }
        }
        if count != frame.header.record_count {
            let what = format!("{count} records of {}", frame.header.record_count);
            self.lost(start, &what, report);
        }
        let body_end = FRAME_HEADER_BYTES + frame.header.body_bytes as usize;
        if frame.bytes[body_end..].iter().any(|byte| *byte != 0) {
            let offset = start.0 - self.base.0 + body_end as u64;
            let what = "the padding of a frame is not zero; nobody reads it";
            report.note(&segment_name(self.number), offset, 0, what);
        }
        self.frames += 1;
        self.sealed_at = SealedAt {
            segment_end: frame.link.end,
            last_header_checksum: frame.link.checksum,
        };
    }

    fn lost(&self, at: Position, what: &str, report: &mut ShardReport) {
        report.lost(&segment_name(self.number), at.0 - self.base.0, 0, what);
        report.at(at);
    }

    fn record(
        &mut self,
        at: Position,
        record: &RawRecord<'_>,
        next_offsets: &mut BTreeMap<QueueHandle, u64>,
        report: &mut ShardReport,
        records: &mut impl StateRecords,
    ) -> Result<(), String> {
        match record.kind {
            RecordKind::Control => records.control(record.payload),
            RecordKind::Engine => Ok(()),
            RecordKind::Batch => {
                let view = BatchView::parse_placed(record.payload).map_err(|e| e.to_string())?;
                let header = view.header();
                let queue = QueueHandle(header.queue_handle);
                let next = next_offsets.insert(queue, header.next_offset());
                if next.is_some_and(|next| next < header.base_offset) {
                    report.gaps.push(QueueGap {
                        queue,
                        from: QueueOffset(next.unwrap_or_default()),
                        to: QueueOffset(header.base_offset),
                        position: at,
                    });
                }
                self.queues.insert(queue);
                self.batches += 1;
                self.messages += u64::from(header.record_count);
                let inserted = self.index.insert(at, &view);
                inserted.map_err(|error| error.to_string())?;
                whole(&view)
            }
        }
    }

    /// Compares with the index on disk. `optional`: it need not be written yet.
    pub(super) async fn finish<D: Disk>(
        self,
        disk: &D,
        log_id: u128,
        optional: bool,
        report: &mut ShardReport,
    ) -> SegmentReport {
        let expected = Expected {
            number: self.number,
            base: self.base,
            log_id,
            index: &self.index,
            queues: &self.queues,
            sealed_at: self.sealed_at,
            is_damaged: self.is_damaged,
        };
        let index = match bundles::compare(disk, &expected).await {
            Ok(true) => IndexState::Good,
            Ok(false) if optional => IndexState::NotSealed,
            Ok(false) => {
                report.derived(&bundles::name(self.number), 0, 0, "it is missing");
                IndexState::Missing
            }
            Err(what) => {
                report.derived(&bundles::name(self.number), 0, 0, &what);
                IndexState::Bad
            }
        };
        SegmentReport {
            number: self.number,
            end: self.sealed_at.segment_end,
            frames: self.frames,
            batches: self.batches,
            messages: self.messages,
            index,
        }
    }
}

/// Whether every record of a batch can be read.
fn whole(view: &BatchView<'_>) -> Result<(), String> {
    let section = view.section().map_err(|error| error.to_string())?;
    for record in view.records(&section) {
        record.map_err(|error| error.to_string())?;
    }
    Ok(())
}
