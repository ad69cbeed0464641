//! Reading messages.
//!
//! ```text
//! coordinator ── which queues ──▶ fetchers, one a shard ── batches ──▶ queue states ── messages ──▶ reader
//!      ▲  routes, members, leases                                            │
//!      └──────────────── frontiers to commit ◀── acknowledgements ───────────┘
//! ```

mod acks;
mod assignment;
mod budget;
mod builder;
mod commits;
mod coordinator;
pub(crate) mod decode;
mod fetcher;
mod inbox;
mod leases;
mod local_offsets;
mod membership;
mod queue;
mod received;
mod settings;
mod shared;
mod take_on;

pub use builder::ConsumerBuilder;
pub use received::{Queue, Received};
pub use settings::{Assignment, StartAt};

use crate::{core::Core, error::Error};
use coordinator::{Command, Coordinator};
use futures_util::Stream;
use settings::Settings;
use shared::Shared;
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::sync::{mpsc, oneshot};

/// Delivers messages: a [`Stream`] that ends only when the consumer is closed.
///
/// An error in the stream concerns one queue or one attempt; the stream goes on after it. Dropping the consumer closes
/// it in the background; [`close`](Self::close) waits for that.
///
/// ```no_run
/// # async fn example(client: ringmq::Client) -> Result<(), ringmq::Error> {
/// use ringmq::StartAt;
///
/// let mut consumer = client
///     .consumer()
///     .topic("orders")
///     .group("audit")
///     .start_at(StartAt::Earliest)
///     .build()
///     .await?;
/// while let Some(message) = consumer.next().await {
///     let message = message?;
///     println!("{}: {:?}", message.queue(), message.body());
///     message.ack();
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Consumer {
    control: ConsumerControl,
    /// Dropped with the consumer, which ends its tasks.
    commands: Option<mpsc::Sender<Command>>,
}

/// Steers a [`Consumer`] while another task reads from it. Clones are cheap; they do not keep the consumer open.
#[derive(Debug, Clone)]
pub struct ConsumerControl {
    shared: Arc<Shared>,
    commands: mpsc::WeakSender<Command>,
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
    async fn start(core: Arc<Core>, settings: Settings) -> Result<Self, Error> {
        let deadline = core.deadline();
        for topic in &settings.topics {
            core.route(topic, deadline)
                .await
                .map_err(|e| e.during("read from topic", topic))?;
        }
        let shared = Shared::new(core, settings);
        let mut coordinator = Coordinator::new(Arc::clone(&shared))?;
        // Here, so that what is sent after this call is not before the start.
        coordinator.look().await;
        let (commands, receiver) = mpsc::channel(16);
        let weak = commands.downgrade();
        tokio::spawn(coordinator.run(receiver));
        Ok(Self {
            control: ConsumerControl {
                shared,
                commands: weak,
            },
            commands: Some(commands),
        })
    }

    /// The next message; `None` once the consumer is closed. As `StreamExt::next`, without the import.
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
    pub async fn close(mut self) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        if let Some(commands) = self.commands.take() {
            // Fails only if the control closed it before.
            let _ = commands.send(Command::Close(reply)).await;
        }
        answer.await.unwrap_or(Ok(()))
    }
}

impl Stream for Consumer {
    type Item = Result<Received, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.control.shared.inbox.poll(cx)
    }
}

impl ConsumerControl {
    /// Where the consumer stands in each of its queues, by topic and number.
    pub fn positions(&self) -> Vec<QueuePosition> {
        self.shared
            .assigned()
            .values()
            .map(|state| state.position())
            .collect()
    }

    /// Commits what is acknowledged without gaps in every queue.
    pub async fn commit(&self) -> Result<(), Error> {
        self.ask(Command::Commit, "commit offsets").await
    }

    /// Goes on at another place in a queue of this consumer. Messages delivered before can no longer be answered.
    ///
    /// Nothing is committed by this; a commit never moves a group backwards (see [`Admin::reset_offsets`] for that).
    ///
    /// [`Admin::reset_offsets`]: crate::Admin::reset_offsets
    pub async fn seek(&self, queue: &Queue, to: StartAt) -> Result<(), Error> {
        let state = self.shared.assigned().get(queue).cloned();
        let Some(state) = state else {
            let why = "the consumer does not read this queue";
            return Err(Error::invalid("seek in", &queue.to_string(), why));
        };
        let core = &self.shared.core;
        let (topic, queues) = (&queue.topic, vec![queue.queue]);
        let found = core
            .offsets_at(&state.shard, topic, queues, to.into(), core.deadline())
            .await?;
        for (_, offset) in found {
            state.seek(offset?);
        }
        self.shared.announce();
        Ok(())
    }

    /// Delivers nothing from these queues until [`resume`](Self::resume).
    pub fn pause(&self, queues: &[Queue]) {
        self.states(queues).iter().for_each(|state| state.pause());
        self.shared.announce();
    }

    /// Goes on delivering from these queues.
    pub fn resume(&self, queues: &[Queue]) {
        self.states(queues).iter().for_each(|state| state.resume());
        self.shared.announce();
    }

    /// Closes the consumer; its stream ends. As [`Consumer::close`].
    pub async fn close(&self) -> Result<(), Error> {
        self.ask(Command::Close, "close consumer").await
    }

    fn states(&self, queues: &[Queue]) -> Vec<Arc<queue::QueueState>> {
        let assigned = self.shared.assigned();
        queues
            .iter()
            .filter_map(|queue| assigned.get(queue).cloned())
            .collect()
    }

    async fn ask(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<(), Error>>) -> Command,
        operation: &'static str,
    ) -> Result<(), Error> {
        let closed = || Error::closed(operation, self.shared.group().unwrap_or_default());
        let commands = self.commands.upgrade().ok_or_else(closed)?;
        let (reply, answer) = oneshot::channel();
        commands.send(command(reply)).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }
}
