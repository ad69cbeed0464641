//! Naming a snapshot, and removing what it replaces.

use super::{SnapshotError, SnapshotInfo, StagedSnapshot, TEMPORARY, file_name, stamp_in};
use crate::disk::Disk;
use crate::position::Position;

/// Snapshots to keep.
const KEPT: usize = 2;

/// The whole snapshots of a directory, oldest first, at most two.
#[derive(Debug)]
pub struct Snapshots<D: Disk> {
    disk: D,
    log_id: u128,
    kept: Vec<SnapshotInfo>,
}

impl<D: Disk> Snapshots<D> {
    pub(super) fn new(disk: D, log_id: u128, kept: Vec<SnapshotInfo>) -> Self {
        Self { disk, log_id, kept }
    }

    /// Log that the snapshots belong to.
    pub fn log_id(&self) -> u128 {
        self.log_id
    }

    /// The newest.
    pub fn newest(&self) -> Option<SnapshotInfo> {
        self.kept.last().copied()
    }

    /// What lies at or above in the log must stay: the older snapshot is replayed from here. With fewer than two, a
    /// damaged snapshot leaves nothing but the whole log.
    pub fn needed_from(&self) -> Position {
        if self.kept.len() < KEPT {
            return Position(0);
        }
        let froms = self.kept.iter().map(|info| info.replay_from);
        froms.min().unwrap_or_default()
    }

    /// Names the staged snapshot and removes all but the two newest. `durable`: end of what survives a power cut.
    pub async fn publish(
        &mut self,
        staged: &StagedSnapshot,
        durable: Position,
    ) -> Result<(), SnapshotError> {
        let info = staged.info;
        if info.last_stamp > durable {
            return Err(SnapshotError::NotDurable {
                last_stamp: info.last_stamp,
                durable,
            });
        }
        let name = file_name(info.last_stamp);
        self.disk.rename(TEMPORARY, &name).await?;
        self.disk.sync_dir().await?;
        self.kept.retain(|kept| kept.last_stamp != info.last_stamp);
        self.kept.push(info);
        self.kept.sort_by_key(|kept| kept.last_stamp);
        let surplus = self.kept.len().saturating_sub(KEPT);
        self.kept.drain(..surplus);
        self.remove_others().await
    }

    /// Older ones, and damaged ones that were passed over.
    async fn remove_others(&self) -> Result<(), SnapshotError> {
        for entry in self.disk.list().await? {
            let Some(stamp) = stamp_in(&entry.name) else {
                continue;
            };
            if self.kept.iter().all(|kept| kept.last_stamp != stamp) {
                self.disk.remove(&entry.name).await?;
            }
        }
        Ok(())
    }
}
