//! Tools for a data directory that nobody serves: `check` looks at all of it and changes nothing, `repair` makes
//! derived files again and cuts a tail when it is told so by name.

mod names;
mod repair;
mod text;
mod view;

pub use repair::{CutTail, RepairError, repair};
pub use text::{describe, describe_repair};
pub use view::{DirectoryView, FindingView, GapView, SegmentView, ShardView, SnapshotView};

use names::Names;
use ringmq_storage_engine::data_dir::{CopyState, DataDirError, StoppedDir};
use ringmq_storage_engine::disk::DiskError;
use ringmq_storage_engine::disk::plain::PlainDisk;
use ringmq_storage_engine::examine::{Severity, ShardReport, Sizes, examine};
use std::path::Path;

/// The largest value of `storage.in_flight_bytes_max`: so far apart may a torn frame and the next whole one be.
const IN_FLIGHT_BYTES_MAX: usize = 1 << 30;

/// Why a directory cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    #[error(transparent)]
    Directory(#[from] DataDirError),
    #[error("{shard}: {source}")]
    Disk { shard: String, source: DiskError },
}

/// A shard as it was examined.
struct Examined {
    name: String,
    report: ShardReport,
    names: Names,
}

/// Looks at every byte of a stopped directory.
pub fn check(path: &Path) -> Result<DirectoryView, OfflineError> {
    let directory = StoppedDir::open(path)?;
    let shards = examine_all(&directory)?;
    Ok(view(path, &directory, &shards))
}

fn sizes(directory: &StoppedDir) -> Sizes {
    let format = directory.superblock().format;
    Sizes {
        segment_bytes: format.segment_bytes,
        frame_bytes_max: format.frame_bytes_max as usize,
        in_flight_bytes_max: IN_FLIGHT_BYTES_MAX,
    }
}

fn shard_name(shard: u32) -> String {
    format!("shard-{shard:02}")
}

fn examine_all(directory: &StoppedDir) -> Result<Vec<Examined>, OfflineError> {
    (0..directory.superblock().shards)
        .map(|shard| {
            let name = shard_name(shard);
            let disk = PlainDisk::read_only(&directory.shard_path(shard));
            let mut names = Names::default();
            let examined = examine(&disk, sizes(directory), &mut names);
            match futures_lite::future::block_on(examined) {
                Ok(report) => Ok(Examined {
                    name,
                    report,
                    names,
                }),
                Err(source) => Err(OfflineError::Disk {
                    shard: name,
                    source,
                }),
            }
        })
        .collect()
}

fn view(path: &Path, directory: &StoppedDir, shards: &[Examined]) -> DirectoryView {
    let superblock = directory.superblock();
    let damaged_copies = directory.copies().iter().filter_map(|(name, state)| {
        let what = match state {
            CopyState::Good => return None,
            CopyState::Differs => "it says something else than the other".to_owned(),
            CopyState::Missing => "it is missing".to_owned(),
            CopyState::Damaged(why) => why.clone(),
        };
        Some(FindingView::of_superblock(name, what))
    });
    let shards: Vec<ShardView> = shards
        .iter()
        .map(|shard| ShardView::of(&shard.name, &shard.report, &shard.names))
        .collect();
    let mut view = DirectoryView {
        path: path.display().to_string(),
        node: superblock.node.clone(),
        cluster: superblock.cluster.clone(),
        findings: damaged_copies.collect(),
        shards,
        verdict: "whole",
    };
    view.verdict = match view.severity() {
        Some(Severity::Lost) => "damaged",
        Some(Severity::Derived) => "repairable",
        Some(Severity::Note) | None => "whole",
    };
    view
}
