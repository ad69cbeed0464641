//! A message that was delivered.

use super::{decode::Decoded, queue::QueueState};
use bytes::Bytes;
use std::{fmt, sync::Arc, time::Duration};

/// A queue of a topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Queue {
    /// The topic.
    pub topic: Arc<str>,
    /// The number within the topic.
    pub queue: u32,
}

impl Queue {
    /// Names a queue.
    pub fn new(topic: impl Into<Arc<str>>, queue: u32) -> Self {
        Self {
            topic: topic.into(),
            queue,
        }
    }
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.queue)
    }
}

/// A delivered message.
///
/// With a group it must be answered: [`ack`](Self::ack) when it is done, [`nack`](Self::nack) to have it again later.
/// The group's offset moves only over messages that were acknowledged without a gap, so a message that is dropped
/// unanswered is delivered again after a restart or when its queue moves to another member.
#[derive(Debug, Clone)]
pub struct Received {
    pub(super) state: Arc<QueueState>,
    pub(super) decoded: Decoded,
    pub(super) position: u64,
    pub(super) store_time_ms: i64,
    pub(crate) attempt: u32,
    /// Which assignment of the queue it belongs to: answers to an earlier one count for nothing.
    pub(super) generation: u64,
}

impl Received {
    /// The topic.
    pub fn topic(&self) -> &str {
        &self.state.queue.topic
    }

    /// Topic and queue.
    pub fn queue(&self) -> &Queue {
        &self.state.queue
    }

    /// The offset within the queue.
    pub fn offset(&self) -> u64 {
        self.decoded.offset
    }

    /// The position in the log of the queue's shard.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// What it says.
    pub fn body(&self) -> &Bytes {
        &self.decoded.body
    }

    /// Names under which it can be found.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.decoded.keys()
    }

    /// The first key.
    pub fn key(&self) -> Option<&str> {
        self.keys().next()
    }

    /// Its class.
    pub fn tag(&self) -> Option<&str> {
        self.decoded.tag()
    }

    /// Names and values, in the sender's order.
    pub fn properties(&self) -> impl Iterator<Item = (&str, &str)> {
        self.decoded.properties()
    }

    /// The value of the last property with this name.
    pub fn property(&self, name: &str) -> Option<&str> {
        self.properties()
            .filter(|(n, _)| *n == name)
            .last()
            .map(|(_, value)| value)
    }

    /// When it came into being, Unix time, by the sender's clock.
    pub fn born_time_ms(&self) -> i64 {
        self.decoded.born_time_ms
    }

    /// When it was stored, Unix time, by the broker's clock.
    pub fn store_time_ms(&self) -> i64 {
        self.store_time_ms
    }

    /// How often this consumer has delivered it, this time included.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// It is done. Takes effect at the broker with the next commit.
    pub fn ack(&self) {
        self.state.ack(self.generation, self.decoded.offset);
    }

    /// It and everything before it in its queue is done.
    pub fn ack_through(&self) {
        self.state.ack_through(self.generation, self.decoded.offset);
    }

    /// It is to be delivered again after the consumer's nack delay. Messages behind it are not held up.
    pub fn nack(self) {
        let delay = self.state.nack_delay;
        self.nack_after(delay);
    }

    /// It is to be delivered again after `delay`.
    pub fn nack_after(self, delay: Duration) {
        let state = Arc::clone(&self.state);
        state.redeliver(self, delay);
    }
}
