//! Handling messages several at a time, in order for each key.
//!
//! The reader deals messages to as many lanes as there may be handlers: by the hash of the first key, so that one key
//! always meets the same lane; messages without a key go to the lanes in turn. A lane handles one message at a time.

use crate::{
    consumer::{Consumer, ConsumerBuilder, Received},
    error::Error,
    transport::Backoff,
};
use ringmq_wire::batch::key_hash;
use std::{fmt::Display, future::Future, sync::Arc};
use tokio::{sync::mpsc, task::JoinSet};

/// Messages that wait in one lane.
const LANE_MESSAGES_MAX: usize = 64;

/// Runs a handler for every message of a topic, as a member of a group.
///
/// Messages with the same first key are handled one after the other, in order (as long as their queue stays with this
/// member); others concurrently. A message is acknowledged when its handler returns `Ok`. After `Err` the handler is
/// called again with the same message, after a pause that grows to 10 s; the messages behind it with the same key
/// wait.
///
/// ```no_run
/// # async fn example(client: ringmq::Client) -> Result<(), ringmq::Error> {
/// client
///     .worker("orders", "billing")
///     .concurrency(8)
///     .run(|message| async move {
///         println!("{:?}", message.body());
///         Ok::<(), std::io::Error>(())
///     })
///     .await
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Worker {
    consumer: ConsumerBuilder,
    concurrency: usize,
    attempts_max: Option<u32>,
}

impl Worker {
    pub(crate) fn new(consumer: ConsumerBuilder) -> Self {
        Self {
            consumer,
            concurrency: 16,
            attempts_max: None,
        }
    }

    /// Handlers that may run at a time. Default 16.
    pub fn concurrency(mut self, handlers: usize) -> Self {
        self.concurrency = handlers.max(1);
        self
    }

    /// After this many failures a message is logged as an error, acknowledged, and never seen again. Default: never;
    /// a message that always fails holds up its key.
    pub fn attempts_max(mut self, attempts: u32) -> Self {
        self.attempts_max = Some(attempts.max(1));
        self
    }

    /// Changes the settings of the consumer underneath.
    pub fn configure(mut self, change: impl FnOnce(ConsumerBuilder) -> ConsumerBuilder) -> Self {
        self.consumer = change(self.consumer);
        self
    }

    /// Handles messages until the returned future is dropped.
    pub async fn run<H, F, E>(self, handler: H) -> Result<(), Error>
    where
        H: Fn(Received) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Display + Send + 'static,
    {
        self.run_until(handler, std::future::pending()).await
    }

    /// Handles messages until `stop` resolves; then lets the handlers that run finish, commits and leaves the group.
    pub async fn run_until<H, F, E>(
        self,
        handler: H,
        stop: impl Future<Output = ()>,
    ) -> Result<(), Error>
    where
        H: Fn(Received) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Display + Send + 'static,
    {
        let mut consumer = self.consumer.build().await?;
        let handler = Arc::new(handler);
        let stopping = Arc::new(std::sync::atomic::AtomicBool::new(false));
        // Aborts the lanes when this future is dropped.
        let mut tasks = JoinSet::new();
        let mut lanes = Vec::with_capacity(self.concurrency);
        for _ in 0..self.concurrency {
            let (lane, messages) = mpsc::channel(LANE_MESSAGES_MAX);
            lanes.push(lane);
            let (handler, stopping) = (Arc::clone(&handler), Arc::clone(&stopping));
            tasks.spawn(run_lane(handler, messages, self.attempts_max, stopping));
        }
        deal(&mut consumer, &lanes, stop).await;
        stopping.store(true, std::sync::atomic::Ordering::Relaxed);
        drop(lanes);
        while tasks.join_next().await.is_some() {}
        consumer.close().await
    }
}

/// Gives messages to lanes until told to stop.
async fn deal(
    consumer: &mut Consumer,
    lanes: &[mpsc::Sender<Received>],
    stop: impl Future<Output = ()>,
) {
    let mut stop = std::pin::pin!(stop);
    let mut turn = 0;
    loop {
        let message = tokio::select! {
            () = &mut stop => return,
            message = consumer.next() => message,
        };
        let message = match message {
            Some(Ok(message)) => message,
            // Logged by the consumer.
            Some(Err(_)) => continue,
            None => return,
        };
        let lane = match message.key() {
            Some(key) => key_hash(key) as usize % lanes.len(),
            None => {
                turn += 1;
                turn % lanes.len()
            }
        };
        tokio::select! {
            () = &mut stop => return,
            sent = lanes[lane].send(message) => if sent.is_err() { return },
        }
    }
}

/// Handles the messages of one lane, each until it succeeds or is given up.
async fn run_lane<H, F, E>(
    handler: Arc<H>,
    mut messages: mpsc::Receiver<Received>,
    attempts_max: Option<u32>,
    stopping: Arc<std::sync::atomic::AtomicBool>,
) where
    H: Fn(Received) -> F,
    F: Future<Output = Result<(), E>>,
    E: Display,
{
    let is_stopping = || stopping.load(std::sync::atomic::Ordering::Relaxed);
    while let Some(mut message) = messages.recv().await {
        let mut backoff = Backoff::new(100, 10_000);
        // What waits when the worker stops stays unanswered: the next member has it.
        while !is_stopping() {
            let Err(error) = handler(message.clone()).await else {
                message.ack();
                break;
            };
            let (queue, offset) = (message.queue(), message.offset());
            if attempts_max.is_some_and(|most| message.attempt >= most) {
                tracing::error!(%queue, offset, %error, attempts = message.attempt, "message given up");
                message.ack();
                break;
            }
            tracing::warn!(%queue, offset, %error, attempt = message.attempt, "handler failed");
            message.attempt += 1;
            tokio::time::sleep(backoff.next_random()).await;
        }
    }
}
