//! Rebuilding state and index from the log, frame by frame.

use super::OpenError;
use super::tail_copy::Unproven;
use crate::commitlog::frame::{FRAME_HEADER_BYTES, Link};
use crate::commitlog::placement::Geometry;
use crate::commitlog::record::{RawRecord, RawRecords, RecordKind};
use crate::commitlog::scan::{FrameScan, Miss, ScannedFrame};
use crate::disk::Disk;
use crate::index::Catalog;
use crate::index::bundle::SealedAt;
use crate::position::Position;
use crate::runtime::Runtime;
use crate::shard_meta::ShardMeta;
use crate::state_machine::{RecordRef, StateMachine};
use ringmq_wire::batch::BatchView;
use std::collections::BTreeMap;

/// Frames between two turns for other tasks.
const FRAMES_A_TURN: u64 = 64;

/// Where a replay ended.
pub(super) struct Replayed {
    /// The chain up to the last valid frame; `None` if there was not even a first one.
    pub(super) link: Option<Link>,
    /// Why there is no next frame.
    pub(super) miss: String,
    /// Segments that were left for the next one.
    pub(super) ended: BTreeMap<u64, SealedAt>,
    /// The segment of the last frame.
    pub(super) segment: Option<u64>,
    /// The newest frames: no other frame of the log says that they are durable.
    pub(super) unproven: Unproven,
}

impl Replayed {
    /// Everything below `durable` is on disk.
    pub(super) fn prove(&mut self, durable: Position) {
        while self
            .unproven
            .front()
            .is_some_and(|frame| frame.end <= durable)
        {
            self.unproven.pop_front();
        }
    }
}

/// Feeds frames to a state and a catalog.
pub(super) struct Replay<'a, D: Disk, S> {
    pub(super) geometry: Geometry,
    pub(super) catalog: &'a Catalog<D>,
    pub(super) state: &'a mut S,
    pub(super) replayed: Replayed,
}

impl<'a, D: Disk, S: StateMachine> Replay<'a, D, S> {
    pub(super) fn new(geometry: Geometry, catalog: &'a Catalog<D>, state: &'a mut S) -> Self {
        let replayed = Replayed {
            link: None,
            miss: String::new(),
            ended: BTreeMap::new(),
            segment: None,
            unproven: Unproven::new(),
        };
        Self {
            geometry,
            catalog,
            state,
            replayed,
        }
    }

    /// Replays from `start`, the base of a segment, to the first miss.
    pub(super) async fn run<R: Runtime>(
        mut self,
        runtime: &R,
        scan: &mut FrameScan<D>,
        meta: &ShardMeta,
        start: Position,
    ) -> Result<Replayed, OpenError> {
        let genesis = Link::GENESIS;
        let first_link = (start == Position(0)).then_some(&genesis);
        let mut found = scan.frame_at(start, first_link, meta).await;
        let mut count = 0u64;
        loop {
            let frame = match found {
                Ok(frame) => frame,
                Err(Miss::NotOpened(error)) => {
                    mark!("recovery: a segment to be replayed is not opened");
                    return Err(error.into());
                }
                Err(miss) => return Ok(self.ended_by(&miss)),
            };
            if let Err(what) = check_records(&frame) {
                mark!("recovery: a whole frame's records are not whole");
                self.replayed.miss = what;
                return Ok(self.replayed);
            }
            self.apply(&frame)?;
            count += 1;
            if count.is_multiple_of(FRAMES_A_TURN) {
                runtime.yield_now().await;
            }
            found = scan.next_frame(&frame.link, meta).await;
        }
    }

    fn ended_by(mut self, miss: &Miss) -> Replayed {
        self.replayed.miss = miss.to_string();
        self.replayed
    }

    fn apply(&mut self, frame: &ScannedFrame<D>) -> Result<(), OpenError> {
        self.enter_segment(frame.header.position);
        for record in RawRecords::new(frame.body()).flatten() {
            let offset = (FRAME_HEADER_BYTES + record.offset) as u64;
            let position = Position(frame.header.position.0 + offset);
            self.apply_record(position, &record)?;
        }
        self.replayed.link = Some(frame.link);
        let range = frame.header.position..frame.link.end;
        self.replayed.unproven.push_back(range);
        self.replayed.prove(frame.header.durable);
        Ok(())
    }

    fn enter_segment(&mut self, position: Position) {
        let segment = self.geometry.segment_of(position);
        if self.replayed.segment == Some(segment) {
            return;
        }
        if let (Some(left), Some(link)) = (self.replayed.segment, &self.replayed.link) {
            let sealed_at = SealedAt {
                segment_end: link.end,
                last_header_checksum: link.checksum,
            };
            self.replayed.ended.insert(left, sealed_at);
        }
        self.catalog.open_segment(self.geometry.base_of(segment));
        self.replayed.segment = Some(segment);
    }

    fn apply_record(
        &mut self,
        position: Position,
        record: &RawRecord<'_>,
    ) -> Result<(), OpenError> {
        let contradiction = |what: String| {
            mark!("recovery: a record contradicts the log");
            OpenError::StateUnavailable(format!(
                "the record at {position} contradicts the log: {what}"
            ))
        };
        let time = record.store_time_ms.unwrap_or(0);
        match record.kind {
            RecordKind::Batch => {
                let batch = BatchView::parse_unverified(record.payload)
                    .map_err(|error| contradiction(error.to_string()))?;
                self.catalog
                    .insert(position, &batch)
                    .map_err(|error| contradiction(error.to_string()))?;
                let header = batch.header();
                self.state
                    .apply(position, header.store_time_ms, RecordRef::Batch(header));
            }
            RecordKind::Control => {
                self.state
                    .apply(position, time, RecordRef::Control(record.payload));
            }
            // Where the log starts is in shard.meta, too.
            RecordKind::Engine => {}
        }
        Ok(())
    }
}

/// Whether every record of a frame can be read, before the first is applied.
fn check_records<D: Disk>(frame: &ScannedFrame<D>) -> Result<(), String> {
    let mut count = 0;
    for record in RawRecords::new(frame.body()) {
        let record = record.map_err(|error| error.to_string())?;
        if record.kind == RecordKind::Batch {
            BatchView::parse_unverified(record.payload).map_err(|error| error.to_string())?;
        }
        count += 1;
    }
    if count == frame.header.record_count {
        Ok(())
    } else {
        Err(format!(
            "{count} records where the header counts {}",
            frame.header.record_count
        ))
    }
}
