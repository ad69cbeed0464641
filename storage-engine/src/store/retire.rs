//! Letting go of old segments, and watching the disk. What goes is `retention`'s decision.

use super::inner::Inner;
use super::{AppendError, LogStopped};
use crate::commitlog::record::EngineRecord;
use crate::commitlog::scan::FrameScan;
use crate::disk::{Disk, DiskError, DiskSpace};
use crate::index::IndexError;
use crate::retention::{
    RemovalReason, RetentionInput, RetentionLimits, RetentionPlan, SealedSegment, decide,
};
use crate::runtime::Runtime;
use crate::state_machine::StateMachine;
use futures_lite::future::or;
use std::rc::Rc;
use std::time::Duration;

/// Between two looks at a segment that is still being read.
const PIN_POLL_MS: u64 = 5;

/// A log that waits longer for its disk is worth a warning.
const DISK_PATIENCE: Duration = Duration::from_secs(5);

/// Why segments stay.
#[derive(Debug, thiserror::Error)]
enum RetireFailed {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error("the log start was not recorded: {0}")]
    Append(#[from] AppendError),
    #[error(transparent)]
    Log(#[from] LogStopped),
}

impl<D: Disk, R: Runtime, S: StateMachine> Inner<D, R, S> {
    /// Looks at age, size and disk use from time to time, and whenever a segment is entered: then one that goes is
    /// used again for the next, whatever the rate. Many that go at once would be unlinked, and as many allocated.
    pub(super) async fn run_retention(self: Rc<Self>) {
        let pause = Duration::from_millis(self.options.retention_check_ms);
        loop {
            let looked_at = self.indexed_segment.get();
            let entered = self.signals.entered.until(|| {
                let entered = self.is_over() || self.indexed_segment.get() != looked_at;
                entered.then_some(())
            });
            or(self.runtime.sleep(pause), entered).await;
            if self.is_over() || self.condition.stopping.get() {
                return;
            }
            if let Err(error) = self.retain().await {
                tracing::warn!(%error, "old segments stay for now");
            }
        }
    }

    async fn retain(&self) -> Result<(), RetireFailed> {
        self.refresh_space().await;
        // What a failure left there the last time.
        self.remove_below_start(false).await?;
        let sealed = self.sealed_segments().await;
        let plan = self.plan(&sealed);
        if self.condition.above_watermark.replace(plan.refuse_appends) && !plan.refuse_appends {
            self.signals.room.notify();
        }
        if plan.wants_snapshot {
            let appended = self.tail.borrow().frontiers().appended;
            if appended == self.last_snapshot.get().0 {
                // Two snapshots are needed, at two places.
                self.append_engine(EngineRecord::LogStart(self.meta.log_start()))?;
            }
            self.condition.wants_snapshot.set(true);
            self.signals.upkeep.notify();
        }
        if plan.unlink {
            self.segments.drop_spares().await?;
        }
        match plan.remove.last() {
            Some((last, _)) => self.begin_behind(&plan, *last).await?,
            None => return Ok(()),
        }
        self.remove_below_start(plan.unlink).await
    }

    fn plan(&self, sealed: &[SealedSegment]) -> RetentionPlan {
        let (total_bytes, free_bytes) = {
            let metrics = self.metrics.borrow();
            (metrics.disk_total_bytes, metrics.disk_free_bytes)
        };
        let snapshots = self.snapshots.borrow();
        let needed_from = snapshots.as_ref().map(|snapshots| snapshots.needed_from());
        let others = self.segments.numbers().len() + self.segments.spare_count() - sealed.len();
        let options = &self.options;
        decide(&RetentionInput {
            sealed,
            other_bytes: others as u64 * options.segment_bytes,
            needed_from: needed_from.unwrap_or_default(),
            kept_from: self.kept_from.get(),
            now_ms: self.store_time_ms(),
            space: DiskSpace {
                total_bytes,
                free_bytes,
            },
            limits: RetentionLimits {
                keep_ms: options.retention_ms,
                bytes_max: options.retention_bytes,
                early_permille: u16::from(options.disk_early_percent) * 10,
                forced_permille: u16::from(options.disk_forced_percent) * 10,
                refuse_permille: u16::from(options.disk_refuse_percent) * 10,
            },
        })
    }

    /// Segments with a bundle, oldest first.
    async fn sealed_segments(&self) -> Vec<SealedSegment> {
        let log_start = self.geometry.segment_of(self.meta.log_start());
        // A bundle counts once its name is durable; until then its segment is on the list of ended ones.
        let first_unsealed = match self.ended.borrow().first_key_value() {
            Some((ended, _)) => *ended,
            None => self.indexed_segment.get().unwrap_or(0),
        };
        let mut sealed = Vec::new();
        for number in self.segments.numbers() {
            if number < log_start || number >= first_unsealed {
                continue;
            }
            let Some(last_store_time_ms) = self.last_time_of(number).await else {
                break;
            };
            sealed.push(SealedSegment {
                number,
                end: self.geometry.base_of(number + 1),
                bytes: self.options.segment_bytes,
                last_store_time_ms,
                pinned: self.segments.is_pinned(number),
            });
        }
        // The newest one stays: its bundle then is the oldest, and alone knows where queues start that have no message
        // left in the log. Were it not durable yet, a crash would lose that.
        sealed.pop();
        sealed
    }

    /// Store time of a sealed segment's last record, or rather of the first one behind it.
    async fn last_time_of(&self, number: u64) -> Option<i64> {
        let known = self.segment_times.borrow().get(&number).copied();
        if known.is_some() {
            return known;
        }
        let mut scan = FrameScan::new(Rc::clone(&self.segments), self.geometry);
        let next_base = self.geometry.base_of(number + 1);
        let (header, _) = scan.header_at(next_base).await.ok()?;
        let is_ours =
            header.position == next_base && header.log_id == self.tail.borrow().identity().log_id;
        if !is_ours {
            return None;
        }
        self.segment_times
            .borrow_mut()
            .insert(number, header.first_store_time_ms);
        Some(header.first_store_time_ms)
    }

    /// Records that the log starts behind the segment `last`.
    async fn begin_behind(&self, plan: &RetentionPlan, last: u64) -> Result<(), RetireFailed> {
        let log_start = self.geometry.base_of(last + 1);
        let recorded = self.append_engine(EngineRecord::LogStart(log_start))?;
        self.wait_durable(recorded.end).await?;
        self.write_meta(|meta| meta.set_log_start(log_start))
            .await?;
        for (number, reason) in &plan.remove {
            if matches!(reason, RemovalReason::DiskEarly | RemovalReason::DiskForced) {
                tracing::warn!(
                    segment = number,
                    ?reason,
                    "the disk is too full: messages go before their retention ended"
                );
            } else {
                tracing::info!(segment = number, ?reason, "a segment is retired");
            }
        }
        Ok(())
    }

    /// Takes what lies below the recorded log start out of index and disk.
    async fn remove_below_start(&self, unlink: bool) -> Result<(), RetireFailed> {
        let start = self.geometry.segment_of(self.meta.log_start());
        let numbers = self.segments.numbers().into_iter();
        for number in numbers.take_while(|number| *number < start) {
            self.with_rebuild(async || self.catalog.remove_oldest(number).await)
                .await?;
            // No new reader finds it; those that are in it are short.
            while self.segments.is_pinned(number) {
                let pause = Duration::from_millis(PIN_POLL_MS);
                self.runtime.sleep(pause).await;
            }
            self.segments.retire(number, unlink).await?;
            self.segment_times.borrow_mut().remove(&number);
            self.metrics.borrow_mut().segments_retired += 1;
            self.signals.prepare.notify();
        }
        Ok(())
    }

    /// What an operator should know although the log goes on.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let behind_ms = self
            .last_store_time_ms
            .get()
            .saturating_sub(self.runtime.wall_ms());
        if self.last_store_time_ms.get() > 0 && behind_ms > 60_000 {
            warnings.push(format!(
                "the wall clock is {behind_ms} ms behind the last store time; records keep that time"
            ));
        }
        let waits = self.waits_for_disk_since.get().map(|since| {
            let waits = self.runtime.now().saturating_sub(since);
            (waits > DISK_PATIENCE).then_some(waits)
        });
        if let Some(waits) = waits.flatten()
            && self.stopped().is_none()
        {
            warnings.push(format!(
                "the log waits for the disk, which has finished no write for {} s",
                waits.as_secs()
            ));
        }
        warnings
    }
}
