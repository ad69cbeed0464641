//! Making the index of a sealed segment again, from its frames.

use super::inner::Inner;
use crate::commitlog::frame::{FRAME_HEADER_BYTES, FrameHeader, Link};
use crate::commitlog::placement::Geometry;
use crate::commitlog::record::{RawRecords, RecordKind};
use crate::commitlog::scan::{FrameScan, Miss, ScannedFrame, insist};
use crate::commitlog::segments::Segments;
use crate::disk::{BLOCK_BYTES, Disk, DiskFile};
use crate::index::bundle::SealedAt;
use crate::index::{ActiveIndex, Catalog, IndexError};
use crate::position::{Position, QueueHandle};
use crate::runtime::Runtime;
use crate::shard_meta::ShardMeta;
use crate::state_machine::StateMachine;
use futures_lite::future::yield_now;
use ringmq_wire::batch::BatchView;
use std::rc::Rc;

impl<D: Disk, R: Runtime, S: StateMachine> Inner<D, R, S> {
    /// Asks the index, and rebuilds what it cannot read.
    pub(super) async fn with_rebuild<T>(
        &self,
        ask: impl AsyncFn() -> Result<T, IndexError>,
    ) -> Result<T, IndexError> {
        // One question may concern every segment; a segment that is lost again and again ends it.
        let rebuilds_max = self.segments.numbers().len();
        let mut rebuilt = 0;
        loop {
            let (segment, cause) = match ask().await {
                Err(IndexError::NeedsRebuild { segment, cause }) if rebuilt < rebuilds_max => {
                    (segment, cause)
                }
                answer => return answer,
            };
            mark!("verdict: an index is made again when it is asked");
            tracing::warn!(segment, %cause, "rebuilding an index");
            rebuilt += 1;
            let _turn = self.rebuilding.take().await;
            let keep = |queue| self.state.borrow().next_offset(queue).is_some();
            let meta = self.meta.meta();
            let made = rebuild_index(
                &self.segments,
                self.geometry,
                &self.catalog,
                &meta,
                segment,
                &keep,
            );
            match made.await {
                // Retention was faster: what is left answers.
                Err(IndexError::NotRead { segment, .. }) if !self.segments.contains(segment) => {}
                made => made?,
            }
            let synced = self.disk.sync_dir().await;
            synced.map_err(|cause| IndexError::Write { segment, cause })?;
        }
    }
}

/// Makes the bundle of segment `number` again, after those before it that it goes on from and that are lost, too.
pub(super) async fn rebuild_index<D: Disk>(
    segments: &Rc<Segments<D>>,
    geometry: Geometry,
    catalog: &Catalog<D>,
    meta: &ShardMeta,
    number: u64,
    keep: &dyn Fn(QueueHandle) -> bool,
) -> Result<(), IndexError> {
    // Numbers fall, so this ends at the oldest segment at the latest.
    let mut wanted = vec![number];
    while let Some(number) = wanted.last().copied() {
        match rebuild_one(segments, geometry, catalog, meta, number, keep).await {
            Ok(()) => {
                wanted.pop();
            }
            Err(IndexError::NeedsRebuild { segment, .. }) if segment < number => {
                mark!("index: an older one is made again first");
                wanted.push(segment);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Scans a segment and writes its bundle.
async fn rebuild_one<D: Disk>(
    segments: &Rc<Segments<D>>,
    geometry: Geometry,
    catalog: &Catalog<D>,
    meta: &ShardMeta,
    number: u64,
    keep: &dyn Fn(QueueHandle) -> bool,
) -> Result<(), IndexError> {
    let Scanned {
        index,
        sealed_at,
        is_whole,
    } = scan(segments, geometry, meta, number).await?;
    let behind = if catalog.is_told_of_before(number) || !is_whole {
        Vec::new()
    } else {
        let scan = async |number| {
            let scanned = scan(segments, geometry, meta, number).await.ok();
            scanned
                .filter(|scanned| scanned.is_whole)
                .map(|scanned| scanned.index)
        };
        catalog.starts_behind(number, scan).await
    };
    catalog
        .install_rebuilt(&index, sealed_at, &behind, keep)
        .await
}

/// What the frames of a sealed segment say.
struct Scanned {
    index: ActiveIndex,
    sealed_at: SealedAt,
    /// No frame is missing.
    is_whole: bool,
}

/// Scans a segment. A damaged frame is left out; what lies behind it is found again by its header, which names its own
/// position.
async fn scan<D: Disk>(
    segments: &Rc<Segments<D>>,
    geometry: Geometry,
    meta: &ShardMeta,
    number: u64,
) -> Result<Scanned, IndexError> {
    // Held open, so that nothing below passes for damage because there is no descriptor for it.
    let opened = insist(async || segments.file(number).await).await;
    let opened = opened.map_err(|cause| {
        mark!("index: its segment is not opened");
        IndexError::NotRead {
            segment: number,
            cause,
        }
    })?;
    let base = geometry.base_of(number);
    let mut index = ActiveIndex::new(base);
    let mut sealed_at = SealedAt {
        segment_end: base,
        last_header_checksum: 0,
    };
    let mut scan = FrameScan::new(Rc::clone(segments), geometry);
    let end_index = first_index_of(&mut scan, geometry, meta, number + 1).await;
    let mut last: Option<Link> = None;
    let mut is_whole = true;
    let mut at = base;
    while at < geometry.base_of(number + 1) {
        match scan.frame_at(at, None, meta).await {
            Ok(frame) if belongs(&frame.header, last.as_ref(), end_index) => {
                is_whole &= match &last {
                    Some(last) => frame.header.index == last.next_index,
                    None => at == base,
                };
                add_frame(&mut index, &frame);
                last = Some(frame.link);
                sealed_at = SealedAt {
                    segment_end: frame.link.end,
                    last_header_checksum: frame.link.checksum,
                };
                at = frame.link.end;
                yield_now().await;
            }
            Err(Miss::Unreadable(cause)) if refuses_reads(&opened.file).await => {
                mark!("index: its segment is not read");
                let segment = number;
                return Err(IndexError::NotRead { segment, cause });
            }
            _ => at.0 += BLOCK_BYTES as u64,
        }
    }
    is_whole &= last.is_some_and(|last| end_index == Some(last.next_index));
    if !is_whole {
        mark!("index: not all of a segment is found");
    }
    Ok(Scanned {
        index,
        sealed_at,
        is_whole,
    })
}

/// Whether neither end of a segment can be read: then the disk says nothing about what lies between. One bad block has
/// readable ones around it.
async fn refuses_reads(file: &impl DiskFile) -> bool {
    let last = file.len().saturating_sub(BLOCK_BYTES as u64);
    file.read_at(0, BLOCK_BYTES).await.is_err() && file.read_at(last, BLOCK_BYTES).await.is_err()
}

/// Index of a segment's first frame: the one before ends below it.
async fn first_index_of<D: Disk>(
    scan: &mut FrameScan<D>,
    geometry: Geometry,
    meta: &ShardMeta,
    number: u64,
) -> Option<u64> {
    let base = geometry.base_of(number);
    let (header, _) = scan.header_at(base).await.ok()?;
    let ours = header.log_id == meta.log_id && header.position == base;
    (ours && base < meta.valid_below(header.epoch)).then_some(header.index)
}

/// Whether a frame goes on from `last`, perhaps behind damaged ones. Frames that a recovery dropped may still stand
/// behind the end of a segment; they belong to an older epoch, repeat an index, or break the chain.
fn belongs(header: &FrameHeader, last: Option<&Link>, end_index: Option<u64>) -> bool {
    let below_end = end_index.is_none_or(|end| header.index < end);
    below_end && last.is_none_or(|last| goes_on(header, last))
}

/// Whether a frame lies behind `last` in the same chain, at once or over a gap.
pub(super) fn goes_on(header: &FrameHeader, last: &Link) -> bool {
    let next = header.index == last.next_index;
    header.index >= last.next_index
        && header.epoch >= last.epoch
        && (!next || header.previous_checksum == last.checksum)
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
