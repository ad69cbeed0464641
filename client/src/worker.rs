//! Handling messages several at a time, in order for each key.

use crate::{
    consumer::{ConsumerBuilder, Received},
    error::Error,
};
use std::{fmt::Display, future::Future};

/// Runs a handler for every message of a topic, as a member of a group.
///
/// Messages with the same first key are handled one after the other, in order; others concurrently. A message is
/// acknowledged when its handler returns `Ok`; after `Err` the handler is called again with the same message.
#[derive(Debug, Clone)]
#[must_use]
pub struct Worker {
    consumer: ConsumerBuilder,
    concurrency: usize,
}

impl Worker {
    pub(crate) fn new(consumer: ConsumerBuilder) -> Self {
        Self {
            consumer,
            concurrency: 16,
        }
    }

    /// Handlers that may run at a time. Default 16.
    pub fn concurrency(mut self, handlers: usize) -> Self {
        self.concurrency = handlers.max(1);
        self
    }

    /// Changes the settings of the consumer underneath.
    pub fn configure(mut self, change: impl FnOnce(ConsumerBuilder) -> ConsumerBuilder) -> Self {
        self.consumer = change(self.consumer);
        self
    }

    /// Handles messages until `stop` resolves; then finishes those that were begun, commits and leaves the group.
    pub async fn run_until<H, F, E>(
        self,
        _handler: H,
        _stop: impl Future<Output = ()>,
    ) -> Result<(), Error>
    where
        H: Fn(Received) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Display + Send + 'static,
    {
        let consumer = self.consumer.build().await?;
        consumer.close().await
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
}
