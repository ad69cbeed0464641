//! What stands behind damage in the part of the log that a start replays. The state there cannot be known, so nothing is
//! applied and nothing is appended; messages prove themselves and can be read.
//!
//! ```text
//!  frames ──── P ▒▒▒ damage ▒▒▒ ──── frames that stand ──── D ┄┄ claimed by nobody
//!  replayed    │                     indexed, served        │    never served: a crash could undo it
//! ```
//! A frame stands if its header names its place, its bytes have their checksum, no cut voids it and it goes on from the
//! frames before it, perhaps over a gap. One that ends at or below the durable frontier D was acknowledged.

use super::rebuild::goes_on;
use crate::commitlog::frame::{FRAME_HEADER_BYTES, Link};
use crate::commitlog::placement::Geometry;
use crate::commitlog::record::{RawRecords, RecordKind};
use crate::commitlog::scan::{FrameScan, Miss, ScannedFrame};
use crate::disk::{BLOCK_BYTES, Disk, DiskError};
use crate::index::Catalog;
use crate::position::{Position, QueueHandle, QueueOffset};
use crate::runtime::Runtime;
use crate::shard_meta::ShardMeta;
use crate::state_machine::StateMachine;
use ringmq_wire::batch::BatchView;
use std::collections::BTreeMap;

/// The messages behind the damage, by queue. Empty of a log that is whole.
#[derive(Debug, Default)]
pub(super) struct Behind {
    queues: BTreeMap<QueueHandle, Island>,
    /// End of the last frame that stands.
    end: Position,
}

#[derive(Debug, Clone, Copy)]
struct Island {
    /// Where the queue begins as far as the log below the damage tells: what is missing behind that is damaged, not gone.
    min: QueueOffset,
    /// Behind its last message.
    next: QueueOffset,
}

impl Behind {
    /// Where a queue with messages behind the damage begins.
    pub(super) fn min(&self, queue: QueueHandle) -> Option<QueueOffset> {
        Some(self.queues.get(&queue)?.min)
    }

    /// The offset behind its last message.
    pub(super) fn next(&self, queue: QueueHandle) -> Option<QueueOffset> {
        Some(self.queues.get(&queue)?.next)
    }

    /// Everything that is served lies below.
    pub(super) fn end(&self) -> Position {
        self.end
    }
}

/// Finds and indexes what stands between the end of the replayed log and the durable frontier.
pub(super) struct Search<'a, D: Disk, S> {
    pub(super) geometry: Geometry,
    pub(super) catalog: &'a Catalog<D>,
    pub(super) meta: &'a ShardMeta,
    pub(super) state: &'a S,
    /// The segment that the replay ended in.
    pub(super) segment: Option<u64>,
    pub(super) durable: Position,
}

impl<D: Disk, S: StateMachine> Search<'_, D, S> {
    /// Fails if a segment cannot be opened: that says nothing about what is in it.
    pub(super) async fn run<R: Runtime>(
        mut self,
        runtime: &R,
        scan: &mut FrameScan<D>,
        link: &Link,
    ) -> Result<Behind, DiskError> {
        let mut behind = Behind::default();
        let (mut last, mut at) = (*link, link.end);
        while at < self.durable {
            match scan.frame_at(at, None, self.meta).await {
                Ok(frame) if goes_on(&frame.header, &last) && frame.link.end <= self.durable => {
                    mark!("recovery: a frame behind the damage is served");
                    self.add(&frame, &mut behind);
                    (last, at) = (frame.link, frame.link.end);
                    behind.end = at;
                    runtime.yield_now().await;
                }
                Err(Miss::NoSegment(_)) => {
                    mark!("recovery: a segment is missing behind the damage");
                    match scan.next_segment(at) {
                        Some(base) => at = base,
                        None => break,
                    }
                }
                Err(Miss::NotOpened(error)) => {
                    mark!("recovery: a segment behind the damage is not opened");
                    return Err(error);
                }
                _ => at.0 += BLOCK_BYTES as u64,
            }
        }
        Ok(behind)
    }

    fn add(&mut self, frame: &ScannedFrame<D>, behind: &mut Behind) {
        let segment = self.geometry.segment_of(frame.header.position);
        if self.segment != Some(segment) {
            self.catalog.open_segment(self.geometry.base_of(segment));
            self.segment = Some(segment);
        }
        for record in RawRecords::new(frame.body()).flatten() {
            if record.kind != RecordKind::Batch {
                continue;
            }
            let offset = (FRAME_HEADER_BYTES + record.offset) as u64;
            let position = Position(frame.header.position.0 + offset);
            if let Err(error) = self.add_batch(position, record.payload, behind) {
                let position = position.0;
                tracing::error!(error, position, "a batch behind the damage is not served");
            }
        }
    }

    fn add_batch(
        &self,
        position: Position,
        payload: &[u8],
        behind: &mut Behind,
    ) -> Result<(), String> {
        let batch = BatchView::parse_unverified(payload).map_err(|error| error.to_string())?;
        let queue = QueueHandle(batch.header().queue_handle);
        // Made behind the damage, or removed before it: nobody can ask for it.
        let Some(known_next) = self.state.next_offset(queue) else {
            mark!("recovery: a queue behind the damage is unknown");
            return Ok(());
        };
        let island = behind.queues.get(&queue).copied().unwrap_or_else(|| {
            let min = self.catalog.min_offset(queue);
            Island {
                min: min.filter(|min| *min < known_next).unwrap_or_default(),
                next: known_next,
            }
        });
        self.catalog
            .insert(position, &batch)
            .map_err(|error| error.to_string())?;
        let next = island.next.max(QueueOffset(batch.header().next_offset()));
        behind.queues.insert(queue, Island { next, ..island });
        Ok(())
    }
}
