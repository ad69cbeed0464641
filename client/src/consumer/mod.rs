//! Reading messages.

mod builder;
pub(crate) mod decode;
mod queue;
mod received;
mod settings;

pub use builder::ConsumerBuilder;
pub use received::{Queue, Received};
pub use settings::{Assignment, StartAt};

use crate::{core::Core, error::Error};
use futures_util::Stream;
use settings::Settings;
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

/// Delivers messages: a [`Stream`] that ends only when the consumer is closed.
///
/// An error in the stream concerns one queue or one attempt; the stream goes on after it.
#[derive(Debug)]
pub struct Consumer {
    control: ConsumerControl,
}

/// Steers a [`Consumer`] while another task reads from it. Clones are cheap.
#[derive(Debug, Clone)]
pub struct ConsumerControl {
    core: Arc<Core>,
}

/// Where a consumer stands in one queue.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueuePosition {
    /// Topic and queue.
    pub queue: Queue,
    /// The offset of the next message to be delivered.
    pub next_offset: u64,
    /// Everything below is acknowledged.
    pub acked_offset: u64,
    /// End of what consumers may read, as last heard from the broker; `None` before the first answer.
    pub visible_offset: Option<u64>,
    /// Whether delivery is paused.
    pub paused: bool,
}

impl QueuePosition {
    /// Messages between the next one and the end; `None` before the first answer.
    pub fn lag(&self) -> Option<u64> {
        self.visible_offset
            .map(|end| end.saturating_sub(self.next_offset))
    }
}

impl Consumer {
    async fn start(core: Arc<Core>, _settings: Settings) -> Result<Self, Error> {
        Ok(Self {
            control: ConsumerControl { core },
        })
    }

    /// The next message. As `StreamExt::next`, without the import.
    pub async fn next(&mut self) -> Option<Result<Received, Error>> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// A handle to steer this consumer from elsewhere.
    pub fn control(&self) -> ConsumerControl {
        self.control.clone()
    }

    /// See [`ConsumerControl::positions`].
    pub fn positions(&self) -> Vec<QueuePosition> {
        self.control.positions()
    }

    /// See [`ConsumerControl::commit`].
    pub async fn commit(&self) -> Result<(), Error> {
        self.control.commit().await
    }

    /// See [`ConsumerControl::seek`].
    pub async fn seek(&self, queue: &Queue, to: StartAt) -> Result<(), Error> {
        self.control.seek(queue, to).await
    }

    /// Stops reading, commits what is acknowledged (unless commits are manual), gives leases back and leaves the group.
    pub async fn close(self) -> Result<(), Error> {
        Ok(())
    }
}

impl Stream for Consumer {
    type Item = Result<Received, Error>;

    fn poll_next(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(None)
    }
}

impl ConsumerControl {
    /// Where the consumer stands in each of its queues, by topic and number.
    pub fn positions(&self) -> Vec<QueuePosition> {
        let _ = &self.core;
        Vec::new()
    }

    /// Commits what is acknowledged without gaps in every queue.
    pub async fn commit(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Goes on at another place in a queue of this consumer. Messages delivered before may no longer be answered.
    pub async fn seek(&self, _queue: &Queue, _to: StartAt) -> Result<(), Error> {
        Ok(())
    }

    /// Delivers nothing from these queues until [`resume`](Self::resume).
    pub fn pause(&self, _queues: &[Queue]) {}

    /// Goes on delivering from these queues.
    pub fn resume(&self, _queues: &[Queue]) {}
}
