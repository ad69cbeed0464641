//! What a store does on the side: preparing segments, sealing them, snapshots, recording the durable frontier.

use super::inner::Inner;
use crate::disk::{Disk, DiskError};
use crate::index::IndexError;
use crate::position::Position;
use crate::runtime::Runtime;
use crate::shard_meta::ShardMeta;
use crate::state_machine::StateMachine;
use std::rc::Rc;
use std::time::Duration;

/// Longest wait before another try to prepare or to seal a segment.
const RETRY_MS: u64 = 1000;

impl<D: Disk, R: Runtime, S: StateMachine> Inner<D, R, S> {
    /// Starts the background tasks; they end when the store is over. A read-only store has nothing to write.
    pub(super) fn start_tasks(self: &Rc<Self>, read_only: bool) {
        if read_only {
            return;
        }
        self.runtime.spawn(Rc::clone(self).run_writer());
        self.runtime.spawn(Rc::clone(self).run_prepare());
        self.runtime.spawn(Rc::clone(self).run_upkeep());
        self.runtime.spawn(Rc::clone(self).run_idle_meta());
        self.runtime.spawn(Rc::clone(self).run_retention());
        self.runtime.spawn(Rc::clone(self).run_zeroing());
    }

    /// Keeps one segment ahead of the active one prepared.
    async fn run_prepare(self: Rc<Self>) {
        loop {
            let wanted = self.signals.prepare.until(|| {
                if self.is_over() {
                    return Some(None);
                }
                self.segment_to_prepare().map(Some)
            });
            let Some(number) = wanted.await else {
                return;
            };
            match self.segments.prepare(number).await {
                Ok(_) => {
                    if self.condition.no_space.replace(false) {
                        mark!("verdict: there is space again");
                    }
                    self.condition.wanted_segment.set(None);
                    self.signals.room.notify();
                }
                Err(error) if error.kind.is_retryable() => {
                    mark!("verdict: no space");
                    if !self.condition.no_space.replace(true) {
                        tracing::warn!(%error, segment = number, "the next segment has to wait");
                    }
                    self.signals.room.notify();
                    self.runtime.sleep(self.retry_pause()).await;
                }
                Err(error) => return self.fail(error),
            }
        }
    }

    fn segment_to_prepare(&self) -> Option<u64> {
        let end = self.tail.borrow().end();
        let here = self.geometry.segment_of(end);
        [here, here + 1]
            .into_iter()
            .find(|number| self.segments.opened(*number).is_none())
    }

    /// Seals segments and takes snapshots.
    async fn run_upkeep(self: Rc<Self>) {
        loop {
            let due = self.signals.upkeep.until(|| {
                let due =
                    self.is_over() || self.segment_to_seal().is_some() || self.is_snapshot_due();
                due.then_some(())
            });
            due.await;
            if self.is_over() {
                return;
            }
            let all_sealed = match self.seal_all().await {
                Ok(all_sealed) => all_sealed,
                Err(error) => return self.fail(error),
            };
            if self.is_snapshot_due()
                && let Err(error) = self.snapshot().await
            {
                tracing::warn!(%error, "no snapshot was taken");
            }
            if !all_sealed {
                self.runtime.sleep(self.retry_pause()).await;
            }
        }
    }

    /// Records the durable frontier after a moment of idleness.
    async fn run_idle_meta(self: Rc<Self>) {
        let idle = Duration::from_millis(self.options.idle_meta_ms);
        loop {
            let due = self.signals.durable.until(|| {
                let due = self.is_over() || self.is_unrecorded();
                due.then_some(())
            });
            due.await;
            if self.is_over() {
                return;
            }
            let durable = self.durable();
            self.runtime.sleep(idle).await;
            let is_idle = self.tail.borrow().is_idle() && self.durable() == durable;
            if is_idle
                && self.is_unrecorded()
                && !self.is_over()
                && let Err(error) = self.write_meta(|_| ()).await
            {
                return self.fail(error);
            }
        }
    }

    /// Seals what can be sealed; false if the rest has to wait for the disk.
    pub(super) async fn seal_all(&self) -> Result<bool, DiskError> {
        let _turn = self.sealing.take().await;
        while let Some(number) = self.segment_to_seal() {
            if !self.seal(number).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Until something that the disk refused is tried again.
    fn retry_pause(&self) -> Duration {
        Duration::from_millis(RETRY_MS.min(self.options.retention_check_ms))
    }

    fn is_unrecorded(&self) -> bool {
        !self.condition.stopping.get() && self.durable() > self.meta.durable()
    }

    /// Writes `shard.meta` with the durable frontier as it is.
    pub(super) async fn write_meta(
        &self,
        change: impl FnOnce(&mut ShardMeta),
    ) -> Result<(), DiskError> {
        let written = self.meta.update(|meta| {
            meta.durable = self.durable();
            change(meta);
        });
        written.await?;
        self.metrics.borrow_mut().meta_writes += 1;
        Ok(())
    }

    /// The oldest segment that gets no more frames and whose frames are all durable.
    fn segment_to_seal(&self) -> Option<u64> {
        let (number, sealed_at) = self
            .ended
            .borrow()
            .first_key_value()
            .map(|(n, at)| (*n, *at))?;
        (sealed_at.segment_end <= self.durable()).then_some(number)
    }

    /// Whether the segment is sealed now. If not, its index stays in memory, and a restart makes the bundle.
    async fn seal(&self, number: u64) -> Result<bool, DiskError> {
        let sealed_at = self.ended.borrow().get(&number).copied();
        let Some(sealed_at) = sealed_at else {
            return Ok(true);
        };
        let keep = |queue| self.state.borrow().next_offset(queue).is_some();
        // It goes on from the bundle before it, which may be lost: a crash can come between a snapshot and a seal.
        let sealed = self.with_rebuild(async || self.catalog.seal(number, sealed_at, &keep).await);
        match sealed.await {
            Ok(()) => self.disk.sync_dir().await?,
            Err(IndexError::Write { cause, .. }) if !cause.kind.is_retryable() => {
                return Err(cause);
            }
            Err(error) => {
                mark!("verdict: an index has to wait");
                tracing::warn!(%error, segment = number, "an index has to wait");
                return Ok(false);
            }
        }
        self.ended.borrow_mut().remove(&number);
        self.metrics.borrow_mut().segments_sealed += 1;
        self.write_meta(|_| ()).await?;
        Ok(true)
    }

    /// Looks at the file system.
    pub(super) async fn refresh_space(&self) {
        match self.disk.space().await {
            Ok(space) => {
                let mut metrics = self.metrics.borrow_mut();
                metrics.disk_total_bytes = space.total_bytes;
                metrics.disk_free_bytes = space.free_bytes;
            }
            Err(error) => tracing::warn!(%error, "the file system does not tell its size"),
        }
    }

    /// Bytes from the start of the log to its end.
    pub(super) fn log_bytes(&self) -> u64 {
        let Position(end) = self.tail.borrow().end();
        end.saturating_sub(self.meta.log_start().0)
    }
}
