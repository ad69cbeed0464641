//! Room, health, and a clean end.

use super::inner::Inner;
use super::{Health, LogStopped, StopError, StoreMetrics};
use crate::commitlog::record::record_bytes;
use crate::disk::Disk;
use crate::runtime::Runtime;
use crate::state_machine::StateMachine;

impl<D: Disk, R: Runtime, S: StateMachine> Inner<D, R, S> {
    /// Waits until `bytes` more fit, and until a segment that an append missed is there (or cannot be had).
    pub(super) async fn wait_room(&self, bytes: usize) -> Result<(), LogStopped> {
        let bytes = record_bytes(bytes).min(self.options.in_flight_bytes_max);
        self.signals
            .room
            .until(|| {
                if let Some(stopped) = self.stopped() {
                    return Some(Err(stopped));
                }
                let segment_comes =
                    self.condition.wanted_segment.get().is_some() && !self.condition.no_space.get();
                let fits = self.tail.borrow().room() >= bytes;
                (fits && !segment_comes).then_some(Ok(()))
            })
            .await
    }

    pub(super) fn health(&self) -> Health {
        let condition = &self.condition;
        let reason = match self.stopped() {
            Some(stopped) => Some(stopped.to_string()),
            None if condition.stopping.get() => Some("the log is being stopped".to_owned()),
            None if condition.no_space.get() => {
                Some("there is no space or no descriptor for another segment".to_owned())
            }
            None if condition.above_watermark.get() => Some(format!(
                "the disk is more than {} % full",
                self.options.disk_refuse_percent
            )),
            None => None,
        };
        Health {
            mode: self.mode(),
            reason,
            warnings: self.warnings(),
        }
    }

    pub(super) fn metrics(&self) -> StoreMetrics {
        let mut metrics = self.metrics.borrow().clone();
        metrics.in_flight_bytes = self.tail.borrow().in_flight_bytes() as u64;
        metrics.log_bytes = self.log_bytes();
        let reader = self.reader.metrics();
        metrics.cache_hits = reader.tail_hits + reader.chunk_hits;
        metrics.cache_misses = reader.misses;
        metrics.cache_bytes = self.cache.borrow().bytes() as u64;
        metrics
    }

    /// See `Store::stop`. A second call waits for nothing more than the first.
    pub(super) async fn stop(&self) -> Result<(), StopError> {
        if self.condition.damage.borrow().is_some() || self.condition.stopped.get() {
            self.end_tasks();
            return Ok(());
        }
        self.condition.stopping.set(true);
        self.signals.notify_all();
        let drained = self.signals.room.until(|| match self.stopped() {
            Some(stopped) => Some(Err(stopped)),
            None => self.tail.borrow().is_idle().then_some(Ok(())),
        });
        drained.await?;
        self.seal_all().await?;
        let end = self.tail.borrow().frontiers().appended;
        if end != self.last_snapshot.get().0
            && let Err(error) = self.snapshot().await
        {
            tracing::warn!(%error, "no snapshot was taken at the stop");
        }
        self.write_meta(|meta| meta.clean = true).await?;
        self.end_tasks();
        self.segments.close_all().await?;
        Ok(())
    }

    fn end_tasks(&self) {
        self.condition.stopped.set(true);
        let waiting = self.waiters.borrow_mut().all();
        waiting.into_iter().for_each(std::task::Waker::wake);
        self.signals.notify_all();
    }
}
