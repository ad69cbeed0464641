//! What becomes of a message: a receipt, or an error that gives the message back.

use crate::{error::Error, message::Message};
use ringmq_wire::codes::ErrorCode;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::sync::oneshot;

/// Where a message was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// The topic.
    pub topic: Arc<str>,
    /// The queue within the topic.
    pub queue: u32,
    /// The offset within the queue. `None` with [`Acks::None`](super::Acks::None): nobody answered.
    pub offset: Option<u64>,
    /// The position in the shard's log, by which `Admin::message_at` finds it. `None` with `Acks::None`.
    pub position: Option<u64>,
    /// When the broker stored it, Unix time. `None` with `Acks::None`.
    pub store_time_ms: Option<i64>,
}

/// A message that was not, or perhaps not, stored. Gives the message back.
#[derive(Debug)]
pub struct SendError {
    inner: Box<Inner>,
}

#[derive(Debug)]
struct Inner {
    message: Message,
    error: Error,
    maybe_stored: bool,
}

impl SendError {
    pub(crate) fn new(message: Message, error: Error, maybe_stored: bool) -> Self {
        Self {
            inner: Box::new(Inner {
                message,
                error,
                maybe_stored,
            }),
        }
    }

    /// The message.
    pub fn message(&self) -> &Message {
        &self.inner.message
    }

    /// Takes the message back, to send it again or elsewhere.
    pub fn into_message(self) -> Message {
        self.inner.message
    }

    /// Why it failed.
    pub fn error(&self) -> &Error {
        &self.inner.error
    }

    /// Whether the message may be stored all the same: an answer was lost, and retrying did not settle it before the
    /// deadline. Sending it again may store it twice.
    pub fn maybe_stored(&self) -> bool {
        self.inner.maybe_stored
    }

    /// Whether sending the same message later may work without anyone changing anything.
    pub fn is_retryable(&self) -> bool {
        let error = &self.inner.error;
        let retired_name = matches!(
            error.code(),
            Some(
                ErrorCode::UnknownProducer | ErrorCode::OutOfOrderSequence | ErrorCode::StaleEpoch
            )
        );
        error.is_retryable() || retired_name
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let certainty = if self.inner.maybe_stored {
            "may be lost"
        } else {
            "was not stored"
        };
        write!(
            f,
            "message to {} {certainty}: {}",
            self.inner.message.topic, self.inner.error
        )
    }
}

impl std::error::Error for SendError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.inner.error)
    }
}

/// The outcome to come of a message that was accepted by `enqueue`.
///
/// Dropping it does not take the message back: it is sent all the same.
#[derive(Debug)]
#[must_use = "without it nobody learns whether the message was stored"]
pub struct Delivery {
    receiver: oneshot::Receiver<Result<Receipt, SendError>>,
}

/// The other end of a [`Delivery`].
pub(super) type Outcome = oneshot::Sender<Result<Receipt, SendError>>;

impl Delivery {
    pub(super) fn new() -> (Outcome, Self) {
        let (sender, receiver) = oneshot::channel();
        (sender, Self { receiver })
    }
}

impl Future for Delivery {
    type Output = Result<Receipt, SendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.receiver).poll(cx).map(|received| {
            // Lanes answer for every message before they end; only a runtime that is shut down drops them.
            received.unwrap_or_else(|_| {
                let error = Error::closed("send message", "");
                Err(SendError::new(Message::new("", ""), error, true))
            })
        })
    }
}
