//! From frame to frame, over damage to what still stands behind it.

use super::segment::Segment;
use super::{ShardReport, Sizes, StateRecords};
use crate::commitlog::frame::Link;
use crate::commitlog::placement::Geometry;
use crate::commitlog::recovery::{collect_claims, reach_bytes};
use crate::commitlog::scan::{FrameScan, Miss, ScannedFrame};
use crate::commitlog::segments::{Segments, segment_name};
use crate::disk::{BLOCK_BYTES, Disk, DiskError};
use crate::position::{Position, QueueHandle};
use crate::shard_meta::ShardMeta;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Goes through the log from its start.
pub(super) async fn walk<D: Disk>(
    disk: &D,
    segments: &Rc<Segments<D>>,
    geometry: Geometry,
    meta: &ShardMeta,
    sizes: Sizes,
    report: &mut ShardReport,
    records: &mut impl StateRecords,
) -> Result<(), DiskError> {
    let newest = report.snapshots.iter().find_map(|known| known.info);
    let last_byte = newest.map_or(0, |info| info.replay_from.0.saturating_sub(1));
    report.replay_from = geometry.base_of(geometry.segment_of(Position(last_byte)));
    report.end = meta.log_start;
    if segments.numbers().is_empty() {
        return Ok(());
    }
    let mut walk = Walk {
        disk,
        segments,
        geometry,
        meta,
        scan: FrameScan::new(Rc::clone(segments), geometry),
        proven: newest.map_or(Position(0), |info| info.last_stamp),
        reach: reach_bytes(sizes.in_flight_bytes_max, sizes.frame_bytes_max),
        link: None,
        next_offsets: BTreeMap::new(),
        segment: None,
        report,
    };
    walk.run(records).await
}

struct Walk<'a, D: Disk> {
    disk: &'a D,
    segments: &'a Rc<Segments<D>>,
    geometry: Geometry,
    meta: &'a ShardMeta,
    scan: FrameScan<D>,
    /// A snapshot says that the log was durable up to here.
    proven: Position,
    reach: u64,
    /// The chain, unless damage interrupts it.
    link: Option<Link>,
    next_offsets: BTreeMap<QueueHandle, u64>,
    segment: Option<Segment>,
    report: &'a mut ShardReport,
}

impl<D: Disk> Walk<'_, D> {
    async fn run(&mut self, records: &mut impl StateRecords) -> Result<(), DiskError> {
        let base = self.geometry.segment_of(self.meta.log_start);
        let start = self.geometry.base_of(base);
        let genesis = Link::GENESIS;
        let first_link = (start == Position(0)).then_some(&genesis);
        let mut found = self.scan.frame_at(start, first_link, self.meta).await;
        let mut from = start;
        loop {
            let frame = match found {
                Ok(frame) => frame,
                Err(Miss::NotOpened(error)) => return Err(error),
                Err(miss) => match self.behind(from, &miss).await? {
                    Some(frame) => frame,
                    None => break,
                },
            };
            self.take(&frame, records).await;
            from = frame.link.end;
            self.report.end = from;
            self.link = Some(frame.link);
            found = self.scan.next_frame(&frame.link, self.meta).await;
        }
        self.finish_segment(true).await;
        Ok(())
    }

    async fn take(&mut self, frame: &ScannedFrame<D>, records: &mut impl StateRecords) {
        let number = self.geometry.segment_of(frame.header.position);
        if self.segment.as_ref().is_none_or(|s| s.number != number) {
            self.finish_segment(false).await;
            let base = self.geometry.base_of(number);
            self.segment = Some(Segment::new(number, base));
        }
        let segment = self.segment.as_mut().expect("just made");
        segment.take(frame, &mut self.next_offsets, self.report, records);
    }

    async fn finish_segment(&mut self, is_last: bool) {
        let Some(segment) = self.segment.take() else {
            return;
        };
        let replayed = self.geometry.base_of(segment.number) >= self.report.replay_from;
        let optional = is_last || replayed;
        let finished = segment.finish(self.disk, self.meta.log_id, optional, self.report);
        let finished = finished.await;
        self.report.segments.push(finished);
    }

    /// What stands behind a miss at `from`: the next frame behind damage, or nothing, if this is where the log ends.
    async fn behind(
        &mut self,
        from: Position,
        miss: &Miss,
    ) -> Result<Option<ScannedFrame<D>>, DiskError> {
        let claims = collect_claims(&mut self.scan, &self.geometry, from, self.reach, self.meta);
        let durable = claims.await?.durable.max(self.proven);
        let next = self.seek(from).await;
        if durable <= from {
            if let Some(next) = next {
                self.torn(from, next.header.position);
            }
            return Ok(None);
        }
        let end = next.as_ref().map_or(durable, |next| next.header.position);
        self.damaged(from, end, miss);
        Ok(next)
    }

    fn torn(&mut self, from: Position, next: Position) {
        let name = segment_name(self.geometry.segment_of(from));
        let what = format!(
            "the log ends here; the frame at {next} was in flight at a crash and was never acknowledged: the next start drops it"
        );
        let offset = self.geometry.offset_of(from);
        self.report.note(&name, offset, 0, &what);
        self.report.at(from);
    }

    fn damaged(&mut self, from: Position, end: Position, miss: &Miss) {
        let name = segment_name(self.geometry.segment_of(from));
        let offset = self.geometry.offset_of(from);
        let verdict = if from >= self.report.replay_from {
            self.report.read_only_below.get_or_insert(from);
            "a start meets it: the shard opens read-only, and serves what lies below"
        } else {
            "a read of it answers Corrupt; the shard stays writable"
        };
        let what = format!("{miss}; whole again at {end}; {verdict}");
        self.report.lost(&name, offset, end.0 - from.0, &what);
        self.report.at(from);
        self.report.cuts.push(from);
        if let Some(segment) = &mut self.segment {
            segment.is_damaged = true;
        }
        self.link = None;
    }

    /// The first frame above `from` that may belong to the log.
    async fn seek(&mut self, from: Position) -> Option<ScannedFrame<D>> {
        let last = self.segments.numbers().last().copied()?;
        let mut at = Position(from.0 + BLOCK_BYTES as u64);
        let (next_index, epoch) = self
            .link
            .map_or((0, 0), |link| (link.next_index, link.epoch));
        while self.geometry.segment_of(at) <= last {
            match self.scan.frame_at(at, None, self.meta).await {
                Ok(frame) if frame.header.index >= next_index && frame.header.epoch >= epoch => {
                    return Some(frame);
                }
                Err(Miss::NoSegment(_) | Miss::NotOpened(_)) => at = self.scan.next_segment(at)?,
                _ => at.0 += BLOCK_BYTES as u64,
            }
        }
        None
    }
}
