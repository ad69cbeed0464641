//! Writing the state aside, in slices, while records go on being applied.

use super::LogStopped;
use super::inner::Inner;
use crate::disk::Disk;
use crate::position::Position;
use crate::runtime::Runtime;
use crate::snapshot::{SnapshotError, SnapshotWriter};
use crate::state_machine::{SnapshotChunk, StateMachine};

/// Why there is no new snapshot.
#[derive(Debug, thiserror::Error)]
pub(super) enum SnapshotFailed {
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error(transparent)]
    Log(#[from] LogStopped),
}

impl<D: Disk, R: Runtime, S: StateMachine> Inner<D, R, S> {
    /// Whether enough log was written since the last snapshot, or retention waits for one.
    pub(super) fn is_snapshot_due(&self) -> bool {
        if self.condition.stopping.get() || self.snapshotting.get() {
            return false;
        }
        let appended = self.tail.borrow().frontiers().appended;
        let (from, last_bytes) = self.last_snapshot.get();
        let new_bytes = appended.0.saturating_sub(from.0);
        let enough = self.options.snapshot_every_bytes.max(2 * last_bytes);
        new_bytes >= enough || (self.condition.wants_snapshot.get() && new_bytes > 0)
    }

    /// Takes a snapshot. A failure concerns the log only insofar as less of it can be removed.
    pub(super) async fn snapshot(&self) -> Result<(), SnapshotFailed> {
        let _turn = self.snapshot_turn.take().await;
        self.snapshotting.set(true);
        let taken = self.take_snapshot().await;
        self.snapshotting.set(false);
        if taken.is_err() {
            // Not again before as much log as for a good one.
            let appended = self.tail.borrow().frontiers().appended;
            self.last_snapshot
                .set((appended, self.last_snapshot.get().1));
        }
        self.condition.wants_snapshot.set(false);
        taken
    }

    async fn take_snapshot(&self) -> Result<(), SnapshotFailed> {
        let log_id = self.tail.borrow().identity().log_id;
        // Records are applied while a chunk is written: each has the stamp of the moment it was made.
        let (mut stamp, mut chunk) = self.snapshot_slice(None);
        let mut writer = SnapshotWriter::create(&self.disk, log_id, stamp).await?;
        loop {
            writer.push(stamp, &chunk.bytes).await?;
            let Some(after) = chunk.next else {
                break;
            };
            self.runtime.yield_now().await;
            (stamp, chunk) = self.snapshot_slice(Some(&after));
        }
        let staged = writer.finish().await?;
        self.wait_durable(staged.info.last_stamp).await?;
        let durable = self.durable();
        let taken = self.snapshots.borrow_mut().take();
        let mut snapshots = taken.expect("one snapshot is taken at a time");
        let published = snapshots.publish(&staged, durable).await;
        *self.snapshots.borrow_mut() = Some(snapshots);
        published?;
        self.last_snapshot
            .set((staged.info.replay_from, staged.info.bytes));
        self.metrics.borrow_mut().snapshots_written += 1;
        self.write_meta(|_| ()).await.map_err(SnapshotError::from)?;
        Ok(())
    }

    fn snapshot_slice(&self, after: Option<&[u8]>) -> (Position, SnapshotChunk) {
        let stamp = self.tail.borrow().frontiers().appended;
        let bytes_max = self.options.snapshot_chunk_bytes;
        (stamp, self.state.borrow().snapshot_chunk(after, bytes_max))
    }
}
