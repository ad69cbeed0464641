//! A message on its way to the broker.

use bytes::Bytes;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What a producer sends.
///
/// ```
/// use ringmq::Message;
///
/// let message = Message::new("orders", "hello")
///     .key("order-17")
///     .tag("created")
///     .property("region", "eu");
/// assert_eq!(&message.body[..], b"hello");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Message {
    /// Where it goes.
    pub topic: String,
    /// What it says. Never copied before it is encoded.
    pub body: Bytes,
    /// Names under which it can be found again. The first one also chooses the queue, unless `queue` does. No spaces.
    pub keys: Vec<String>,
    /// A class that consumers can filter by.
    pub tag: Option<String>,
    /// Anything else, in order.
    pub properties: Vec<(String, String)>,
    /// A queue chosen by the sender.
    pub queue: Option<u32>,
    /// How long to try, for this message alone.
    pub deadline: Option<Duration>,
    /// When it came into being, Unix time. Set by [`Message::new`].
    pub born_time_ms: i64,
}

impl Message {
    /// A message with nothing but a body, born now.
    pub fn new(topic: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Self {
            topic: topic.into(),
            body: body.into(),
            keys: Vec::new(),
            tag: None,
            properties: Vec::new(),
            queue: None,
            deadline: None,
            born_time_ms: now_ms(),
        }
    }

    /// Adds a key. Messages with the same first key go to the same queue, in order.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.keys.push(key.into());
        self
    }

    /// Sets the tag.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tag = Some(tag.into());
        self
    }

    /// Adds a property.
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.push((name.into(), value.into()));
        self
    }

    /// Chooses the queue.
    pub fn queue(mut self, queue: u32) -> Self {
        self.queue = Some(queue);
        self
    }

    /// Sets how long to try to send this message, instead of the producer's setting.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Body, keys, tag and properties together: what limits on message size count.
    pub fn size_bytes(&self) -> usize {
        let keys: usize = self.keys.iter().map(|key| key.len() + 1).sum();
        let properties: usize = self
            .properties
            .iter()
            .map(|(n, v)| n.len() + v.len() + 2)
            .sum();
        self.body.len() + keys + self.tag.as_ref().map_or(0, String::len) + properties
    }
}

/// Unix time.
pub(crate) fn now_ms() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH);
    elapsed.map_or(0, |since| since.as_millis() as i64)
}
