//! Looking at everything that one shard has on its disk, without changing any of it.
//!
//! ```text
//! shard.meta ─▶ snapshots ─▶ log, frame by frame, segment by segment ─▶ index of each sealed segment
//! ```
//! A start reads only what it needs; this reads all: every frame with its records, every batch down to its last record,
//! every page of every index against the segment that it was made from, every chunk of every snapshot. What is
//! found is a list for an operator, not an error: an examination goes on behind damage as far as anything can be told.

mod bundles;
mod log;
mod report;
mod segment;

pub use report::{
    Finding, IndexState, QueueGap, SegmentReport, Severity, ShardReport, SnapshotReport,
};

use crate::commitlog::placement::Geometry;
use crate::commitlog::segments::Segments;
use crate::disk::{BLOCK_BYTES, Disk, DiskError, DiskErrorKind, DiskFile};
use crate::position::Position;
use crate::shard_meta::{Loaded, META_FILE, SLOT_BYTES, ShardMeta, Slot, choose};
use crate::snapshot;
use std::rc::Rc;

/// Constants of the data directory, and how much may have been in flight.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    pub segment_bytes: u64,
    pub frame_bytes_max: usize,
    pub in_flight_bytes_max: usize,
}

/// Looks at what the engine keeps for its state and does not understand itself.
pub trait StateRecords {
    /// A control record of the log.
    fn control(&mut self, record: &[u8]) -> Result<(), String>;
    /// A chunk of the newest whole snapshot.
    fn chunk(&mut self, stamp: Position, chunk: &[u8]) -> Result<(), String>;
}

/// Examines a shard's directory. An error means that not even its files could be listed.
pub async fn examine<D: Disk>(
    disk: &D,
    sizes: Sizes,
    records: &mut impl StateRecords,
) -> Result<ShardReport, DiskError> {
    let geometry = Geometry {
        segment_bytes: sizes.segment_bytes,
        reserve_bytes: BLOCK_BYTES as u64,
        frame_bytes_max: sizes.frame_bytes_max,
    };
    let segments = Rc::new(Segments::look(disk, geometry).await?);
    let mut report = ShardReport::default();
    let Some(meta) = meta(disk, &segments, &mut report).await? else {
        return Ok(report);
    };
    report.log_start = meta.log_start;
    report.epoch = meta.epoch;
    report.is_clean = meta.clean;
    report.durable = meta.durable;
    snapshots(disk, &meta, &mut report, records).await?;
    lengths(disk, geometry, &mut report).await?;
    log::walk(
        disk,
        &segments,
        geometry,
        &meta,
        sizes,
        &mut report,
        records,
    )
    .await?;
    report.sort();
    Ok(report)
}

/// What the slots of `shard.meta` say; `None`: nothing that can be used.
async fn meta<D: Disk>(
    disk: &D,
    segments: &Segments<D>,
    report: &mut ShardReport,
) -> Result<Option<ShardMeta>, DiskError> {
    let is_new = segments.numbers().is_empty();
    let file = match disk.open(META_FILE).await {
        Ok(file) => file,
        Err(error) if error.kind == DiskErrorKind::NotFound => {
            if !is_new {
                report.lost(META_FILE, 0, 0, "it is missing, and there are segments");
            }
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let mut slots = Vec::new();
    for slot in 0..2 {
        let at = slot * SLOT_BYTES as u64;
        let parsed = match file.read_at(at, SLOT_BYTES).await {
            Ok(bytes) => Slot::parse(&bytes),
            Err(error) => Slot::Unreadable(error.to_string()),
        };
        if let Slot::Unreadable(why) = &parsed {
            let what = format!("slot {slot}: {why}");
            report.derived(META_FILE, at, SLOT_BYTES as u64, &what);
        }
        slots.push(parsed);
    }
    let slots: [Slot; 2] = slots.try_into().expect("two were read");
    Ok(match choose(slots) {
        Loaded::Present { meta, .. } => Some(meta),
        Loaded::Empty if is_new => None,
        Loaded::Empty => {
            report.lost(META_FILE, 0, 0, "it is empty, and there are segments");
            None
        }
        Loaded::Unreadable(why) => {
            report.lost(META_FILE, 0, 0, &format!("neither slot can be used: {why}"));
            None
        }
        Loaded::Newer(version) => {
            let what = format!("version {version} is newer than this program");
            report.lost(META_FILE, 0, 0, &what);
            None
        }
    })
}

/// Every snapshot, newest first; the chunks of the newest whole one go to `records`.
async fn snapshots<D: Disk>(
    disk: &D,
    meta: &ShardMeta,
    report: &mut ShardReport,
    records: &mut impl StateRecords,
) -> Result<(), DiskError> {
    for name in snapshot::names(disk).await?.into_iter().rev() {
        let is_newest = report.snapshots.iter().all(|known| known.info.is_none());
        let mut refused = None;
        let checked = snapshot::check(disk, &name, meta.log_id, |stamp, chunk| {
            if is_newest && refused.is_none() {
                refused = records.chunk(stamp, chunk).err();
            }
        });
        let info = match (checked.await, refused) {
            (Ok(info), None) => Some(info),
            (Ok(_), Some(why)) => {
                report.derived(
                    &name,
                    0,
                    0,
                    &format!("a chunk does not fit the state: {why}"),
                );
                None
            }
            (Err(error), _) => {
                report.derived(&name, 0, 0, &error.to_string());
                None
            }
        };
        let name = name.clone();
        report.snapshots.push(SnapshotReport { name, info });
    }
    Ok(())
}

/// Files that are not as long as they are made.
async fn lengths<D: Disk>(
    disk: &D,
    geometry: Geometry,
    report: &mut ShardReport,
) -> Result<(), DiskError> {
    for entry in disk.list().await? {
        if entry.name.ends_with(".seg") && entry.len != geometry.segment_bytes {
            let what = format!("{} bytes long, not {}", entry.len, geometry.segment_bytes);
            report.lost(&entry.name, entry.len, 0, &what);
        }
        if entry.name.ends_with(".copy") {
            let what = "a start was cut short while it wrote the newest frames again; the next one goes on with it";
            report.note(&entry.name, 0, entry.len, what);
        }
    }
    Ok(())
}
