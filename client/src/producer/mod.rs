//! Sending messages.

mod builder;
mod outcome;
mod settings;

pub use builder::ProducerBuilder;
pub use outcome::{Delivery, Receipt, SendError};
pub use settings::{Acks, Compression};

use crate::{core::Core, error::Error, message::Message};
use settings::Settings;
use std::sync::Arc;

/// Sends messages. Clones are cheap and share everything; per queue, order is that of `enqueue`.
#[derive(Debug, Clone)]
pub struct Producer {
    core: Arc<Core>,
    settings: Settings,
}

impl Producer {
    fn start(core: Arc<Core>, settings: Settings) -> Self {
        Self { core, settings }
    }

    /// Sends a message and waits until it is stored.
    pub async fn send(&self, message: Message) -> Result<Receipt, SendError> {
        self.enqueue(message).await?.await
    }

    /// Hands a message over; waits only for room. Once this returned, the message is sent even if the [`Delivery`] is
    /// dropped.
    pub async fn enqueue(&self, message: Message) -> Result<Delivery, SendError> {
        let _ = (&self.core, &self.settings);
        Err(SendError::new(
            message,
            Error::closed("send message", ""),
            false,
        ))
    }

    /// Waits until every message enqueued before this call has its outcome.
    pub async fn flush(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Refuses further messages and waits for the outcome of those accepted. Concerns all clones.
    pub async fn close(&self) -> Result<(), Error> {
        self.flush().await
    }
}
