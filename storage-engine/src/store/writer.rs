//! Sending frames to the disk and telling everybody when they are durable.

use super::inner::Inner;
use super::{LogStopped, WriteMode};
use crate::disk::{Disk, DiskError, DiskFile, Durability};
use crate::position::{Position, QueueHandle};
use crate::runtime::Runtime;
use crate::state_machine::StateMachine;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

impl<D: Disk, R: Runtime, S: StateMachine> Inner<D, R, S> {
    /// Dispatches frames until the store is over. Runs as a task, behind those that append in the same turn, so that
    /// what arrives together goes out together.
    pub(super) async fn run_writer(self: Rc<Self>) {
        loop {
            let frame = self.signals.work.until(|| {
                if self.is_over() {
                    return Some(None);
                }
                self.tail.borrow_mut().dispatch().map(Some)
            });
            let Some((start, buffer)) = frame.await else {
                return;
            };
            self.cache.borrow_mut().push(start, Rc::clone(&buffer));
            let inner = Rc::clone(&self);
            self.runtime
                .spawn(async move { inner.write_frame(start, buffer).await });
        }
    }

    async fn write_frame(self: Rc<Self>, start: Position, buffer: Rc<D::Buf>) {
        let started = self.runtime.now();
        let bytes = buffer.len() as u64;
        if self.waits_for_disk_since.get().is_none() {
            self.waits_for_disk_since.set(Some(started));
        }
        match self.write_durably(start, buffer).await {
            Ok(()) => {
                let now = self.runtime.now();
                let took = now.saturating_sub(started);
                let mut metrics = self.metrics.borrow_mut();
                metrics.durable_write_us.record(took.as_micros() as u64);
                metrics.frames_written += 1;
                metrics.frame_bytes_written += bytes;
                metrics.frame_bytes.record(bytes);
                drop(metrics);
                self.frame_durable(start);
                let is_idle = self.tail.borrow().is_idle();
                self.waits_for_disk_since.set((!is_idle).then_some(now));
            }
            Err(error) => self.fail(error),
        }
    }

    async fn write_durably(&self, start: Position, buffer: Rc<D::Buf>) -> Result<(), DiskError> {
        let number = self.geometry.segment_of(start);
        let segment = self.segments.file(number).await?;
        let offset = self.geometry.offset_of(start);
        let end = offset + buffer.len() as u64;
        self.wait_zeroed(number, &(offset..end)).await;
        segment.fresh_from.set(segment.fresh_from.get().max(end));
        match self.options.write_mode {
            WriteMode::DurableWrite => {
                let mode = Durability::Durable;
                segment.file.write_at(buffer, offset, mode).await
            }
            WriteMode::WriteThenSync => {
                let mode = Durability::Volatile;
                segment.file.write_at(buffer, offset, mode).await?;
                if self.condition.failed.borrow().is_none() {
                    self.tail.borrow_mut().written(start);
                }
                segment.file.sync_data().await
            }
        }
    }

    fn frame_durable(&self, start: Position) {
        if self.condition.failed.borrow().is_some() {
            return;
        }
        let released = self.tail.borrow_mut().durable(start);
        if !released.is_empty() {
            let mut queues: Vec<QueueHandle> = Vec::new();
            let mut metrics = self.metrics.borrow_mut();
            for frame in &released {
                queues.extend(frame.spans.iter().map(|span| span.queue));
                metrics.group_records.record(u64::from(frame.record_count));
            }
            drop(metrics);
            queues.sort_unstable();
            queues.dedup();
            self.released(&queues);
        }
        self.signals.work.notify();
    }

    /// The durable frontier moved.
    fn released(&self, queues: &[QueueHandle]) {
        let waiting = self.waiters.borrow_mut().released(self.durable());
        waiting.into_iter().for_each(Waker::wake);
        self.signals.room.notify();
        self.signals.upkeep.notify();
        self.signals.durable.notify();
        let listener = self.listener.borrow().clone();
        if let Some(listener) = listener
            && !queues.is_empty()
        {
            listener(queues);
        }
    }

    /// Waits until `durable >= end`.
    pub(super) async fn wait_durable(&self, end: Position) -> Result<(), LogStopped> {
        if self.durable() >= end {
            return Ok(());
        }
        let ticket = self.waiters.borrow_mut().ticket(end);
        let _leave = OnDrop(|| self.waiters.borrow_mut().leave(ticket));
        poll_fn(|context| {
            if self.durable() >= end {
                return Poll::Ready(Ok(()));
            }
            if let Some(stopped) = self.stopped() {
                return Poll::Ready(Err(stopped));
            }
            self.waiters.borrow_mut().wait(ticket, context.waker());
            Poll::Pending
        })
        .await
    }
}

/// Runs when dropped: a waiter that goes away leaves the list.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
