//! Making the index of a sealed segment again, from its frames.

use crate::commitlog::frame::FRAME_HEADER_BYTES;
use crate::commitlog::placement::Geometry;
use crate::commitlog::record::{RawRecords, RecordKind};
use crate::commitlog::scan::{FrameScan, ScannedFrame};
use crate::commitlog::segments::Segments;
use crate::disk::{BLOCK_BYTES, Disk};
use crate::index::bundle::SealedAt;
use crate::index::{ActiveIndex, Catalog, IndexError};
use crate::position::{Position, QueueHandle};
use crate::shard_meta::ShardMeta;
use futures_lite::future::yield_now;
use ringmq_wire::batch::BatchView;
use std::rc::Rc;

/// Scans segment `number` and writes its bundle. A damaged frame is left out; what lies behind it is found again by
/// its header, which names its own position.
pub(super) async fn rebuild_index<D: Disk>(
    segments: &Rc<Segments<D>>,
    geometry: Geometry,
    catalog: &Catalog<D>,
    log_id: u128,
    number: u64,
    keep: &dyn Fn(QueueHandle) -> bool,
) -> Result<(), IndexError> {
    let base = geometry.base_of(number);
    let mut index = ActiveIndex::new(base);
    let mut sealed_at = SealedAt {
        segment_end: base,
        last_header_checksum: 0,
    };
    // Cuts lie above what is sealed, so none concerns this segment.
    let no_cuts = ShardMeta::new(log_id);
    let mut scan = FrameScan::new(Rc::clone(segments), geometry);
    let mut last_index = None;
    let mut at = base;
    while at < geometry.base_of(number + 1) {
        match scan.frame_at(at, None, &no_cuts).await {
            Ok(frame) if last_index.is_none_or(|last| frame.header.index > last) => {
                add_frame(&mut index, &frame);
                last_index = Some(frame.header.index);
                sealed_at = SealedAt {
                    segment_end: frame.link.end,
                    last_header_checksum: frame.link.checksum,
                };
                at = frame.link.end;
                yield_now().await;
            }
            _ => at.0 += BLOCK_BYTES as u64,
        }
    }
    catalog.install_rebuilt(&index, sealed_at, keep).await
}

fn add_frame<D: Disk>(index: &mut ActiveIndex, frame: &ScannedFrame<D>) {
    for record in RawRecords::new(frame.body()).flatten() {
        if record.kind != RecordKind::Batch {
            continue;
        }
        let offset = (FRAME_HEADER_BYTES + record.offset) as u64;
        let position = Position(frame.header.position.0 + offset);
        let inserted = match BatchView::parse_unverified(record.payload) {
            Ok(batch) => index.insert(position, &batch).map_err(|e| e.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = inserted {
            tracing::error!(
                error,
                position = position.0,
                "a stored batch is not indexed"
            );
        }
    }
}
