//! Making derived files again, and giving up a tail that an operator named.

use super::{Examined, OfflineError, examine_all, shard_name, sizes};
use ringmq_storage_engine::data_dir::{CopyState, StoppedDir};
use ringmq_storage_engine::disk::plain::PlainDisk;
use ringmq_storage_engine::disk::{Disk, DiskError};
use ringmq_storage_engine::examine::IndexState;
use ringmq_storage_engine::position::Position;
use ringmq_storage_engine::store::mend::{MendError, cut_tail, rebuild_indexes};
use std::path::Path;
use std::str::FromStr;

/// A tail to be given up: everything at and above a position of a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutTail {
    pub shard: String,
    pub position: Position,
}

impl FromStr for CutTail {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not SHARD@POSITION, such as shard-00@8192");
        let (shard, position) = text.split_once('@').ok_or_else(wrong)?;
        Ok(Self {
            shard: shard.to_owned(),
            position: Position(position.parse().map_err(|_| wrong())?),
        })
    }
}

/// Why a directory is not repaired.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    #[error(transparent)]
    Offline(#[from] OfflineError),
    #[error("{shard}: {source}")]
    Mend { shard: String, source: MendError },
    #[error("{0}")]
    Refused(String),
}

/// Something to do in one shard, or in the directory.
enum Action {
    RewriteSuperblocks,
    RemoveSnapshot { shard: u32, file: String },
    RebuildIndexes { shard: u32, segments: Vec<u64> },
    Cut { shard: u32, position: Position },
}

/// Repairs, or says what it would do; gives one line for each action. Nothing is done if any part of what was asked for
/// is refused.
pub fn repair(path: &Path, cuts: &[CutTail], apply: bool) -> Result<Vec<String>, RepairError> {
    let directory = StoppedDir::open(path).map_err(OfflineError::from)?;
    let shards = examine_all(&directory)?;
    let actions = plan(&directory, &shards, cuts)?;
    let lines = actions.iter().map(Action::describe).collect();
    if apply {
        for action in &actions {
            action.perform(&directory)?;
        }
    }
    Ok(lines)
}

fn plan(
    directory: &StoppedDir,
    shards: &[Examined],
    cuts: &[CutTail],
) -> Result<Vec<Action>, RepairError> {
    let mut actions = Vec::new();
    let is_good = |state: &CopyState| *state == CopyState::Good;
    if !directory.copies().iter().all(|(_, state)| is_good(state)) {
        actions.push(Action::RewriteSuperblocks);
    }
    for cut in cuts {
        let known = shards.iter().any(|examined| examined.name == cut.shard);
        if !known {
            return Err(RepairError::Refused(format!("there is no {}", cut.shard)));
        }
    }
    for (shard, examined) in (0u32..).zip(shards) {
        let cut = cuts.iter().find(|cut| cut.shard == examined.name);
        if let Some(cut) = cut {
            check_cut(examined, cut.position)?;
        }
        let below = cut.map_or(Position(u64::MAX), |cut| cut.position);
        actions.extend(unusable_snapshots(shard, examined));
        let segments = bad_indexes(examined, below);
        if let Some(cut) = cut {
            let position = cut.position;
            actions.push(Action::Cut { shard, position });
        }
        if !segments.is_empty() {
            actions.push(Action::RebuildIndexes { shard, segments });
        }
    }
    Ok(actions)
}

/// Those that nobody needs: a good one is there, or the log goes back to its beginning.
fn unusable_snapshots(shard: u32, examined: &Examined) -> Vec<Action> {
    let report = &examined.report;
    let has_good = report.snapshots.iter().any(|known| known.info.is_some());
    if !has_good && report.log_start > Position(0) {
        return Vec::new();
    }
    let unusable = report.snapshots.iter().filter(|known| known.info.is_none());
    unusable
        .map(|known| Action::RemoveSnapshot {
            shard,
            file: known.name.clone(),
        })
        .collect()
}

fn bad_indexes(examined: &Examined, below: Position) -> Vec<u64> {
    let bad = examined.report.segments.iter().filter(|segment| {
        matches!(segment.index, IndexState::Bad | IndexState::Missing) && segment.end <= below
    });
    bad.map(|segment| segment.number).collect()
}

fn check_cut(examined: &Examined, position: Position) -> Result<(), RepairError> {
    let report = &examined.report;
    let refuse = |why: String| Err(RepairError::Refused(format!("{}: {why}", examined.name)));
    if !report.cuts.contains(&position) {
        let places: Vec<String> = report.cuts.iter().map(|cut| cut.0.to_string()).collect();
        return refuse(if places.is_empty() {
            "no damage interrupts its log, so there is no tail to give up".to_owned()
        } else {
            let places = places.join(", ");
            format!("{position} is not where damage begins; that is at: {places}")
        });
    }
    let state_from = report.snapshots.iter().filter_map(|known| known.info);
    let has_snapshot = state_from
        .into_iter()
        .any(|info| info.last_stamp <= position);
    if !has_snapshot && report.log_start > Position(0) {
        return refuse(format!(
            "no snapshot lies below {position}, so the state could not be made again"
        ));
    }
    Ok(())
}

impl Action {
    fn describe(&self) -> String {
        match self {
            Self::RewriteSuperblocks => "write both superblocks again".to_owned(),
            Self::RemoveSnapshot { shard, file } => {
                format!("remove the unusable {}/{file}", shard_name(*shard))
            }
            Self::RebuildIndexes { shard, segments } => format!(
                "make the indexes of {} segments {segments:?} again",
                shard_name(*shard)
            ),
            Self::Cut { shard, position } => format!(
                "drop everything at and above {position} from the log of {}, acknowledged messages included",
                shard_name(*shard)
            ),
        }
    }

    fn perform(&self, directory: &StoppedDir) -> Result<(), RepairError> {
        let on = |shard: u32| PlainDisk::read_write(&directory.shard_path(shard));
        let failed = |shard: u32| {
            move |source| RepairError::Mend {
                shard: shard_name(shard),
                source,
            }
        };
        let sizes = sizes(directory);
        match self {
            Self::RewriteSuperblocks => directory
                .rewrite_superblocks()
                .map_err(|error| OfflineError::from(error).into()),
            Self::RemoveSnapshot { shard, file } => {
                let disk = on(*shard);
                futures_lite::future::block_on(remove(&disk, file))
                    .map_err(MendError::from)
                    .map_err(failed(*shard))
            }
            Self::RebuildIndexes { shard, segments } => {
                let disk = on(*shard);
                futures_lite::future::block_on(rebuild_indexes(&disk, sizes, segments))
                    .map_err(failed(*shard))
            }
            Self::Cut { shard, position } => {
                let disk = on(*shard);
                futures_lite::future::block_on(cut_tail(&disk, sizes, *position))
                    .map_err(failed(*shard))
            }
        }
    }
}

async fn remove(disk: &PlainDisk, file: &str) -> Result<(), DiskError> {
    disk.remove(file).await?;
    disk.sync_dir().await
}
