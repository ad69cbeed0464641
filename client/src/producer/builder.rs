//! Building a producer.

use super::{Acks, Compression, Producer, settings::Settings};
use crate::core::Core;
use ringmq_wire::limits::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX, PRODUCER_IN_FLIGHT_MAX};
use std::{sync::Arc, time::Duration};

/// Settings of a [`Producer`]; the defaults suit most programs.
#[derive(Debug, Clone)]
#[must_use]
pub struct ProducerBuilder {
    core: Arc<Core>,
    settings: Settings,
}

impl ProducerBuilder {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self {
            core,
            settings: Settings::default(),
        }
    }

    /// When the broker answers. Default: once the message is on disk.
    pub fn acks(mut self, acks: Acks) -> Self {
        self.settings.acks = acks;
        self
    }

    /// How batches are compressed. Default: not at all.
    pub fn compression(mut self, compression: Compression) -> Self {
        self.settings.compression = compression;
        self
    }

    /// A batch is sent at this size at the latest (before compression). Default 256 KiB, at most 15 MiB.
    pub fn batch_bytes(mut self, bytes: usize) -> Self {
        self.settings.batch_bytes = bytes.clamp(1, BATCH_BYTES_MAX);
        self
    }

    /// A batch is sent with this many messages at the latest. Default 16,384, at most 65,536.
    pub fn batch_messages(mut self, messages: usize) -> Self {
        self.settings.batch_messages = messages.clamp(1, BATCH_RECORDS_MAX);
        self
    }

    /// How long a message waits for company while earlier batches of its queue are unanswered. With none in flight it
    /// goes at once. Default 5 ms.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.settings.linger = linger;
        self
    }

    /// Unanswered batches a queue. Default and maximum 5: the broker remembers as many results.
    pub fn in_flight(mut self, batches: usize) -> Self {
        self.settings.in_flight = batches.clamp(1, PRODUCER_IN_FLIGHT_MAX);
        self
    }

    /// Bytes of messages that may wait in this producer; beyond it `enqueue` waits. Default 64 MiB.
    pub fn memory_bytes(mut self, bytes: usize) -> Self {
        self.settings.memory_bytes = bytes.clamp(1, u32::MAX as usize);
        self
    }

    /// How long to try to send a message, unless it has a deadline of its own. Default 120 s.
    pub fn delivery_timeout(mut self, timeout: Duration) -> Self {
        self.settings.delivery_timeout = timeout;
        self
    }

    /// How long to wait for one answer before the batch is sent again. Default 10 s.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.settings.request_timeout = timeout;
        self
    }

    /// Whether a missing topic is made by the broker's defaults. Default: yes.
    pub fn create_topics(mut self, create: bool) -> Self {
        self.settings.create_topics = create;
        self
    }

    /// The producer. Connects when the first message is sent.
    pub fn build(self) -> Producer {
        Producer::start(self.core, self.settings)
    }
}
