//! Building a consumer.

use super::{
    Assignment, Consumer, Queue, StartAt,
    settings::{Mode, Settings},
};
use crate::{core::Core, error::Error, route};
use ringmq_wire::limits::is_valid_name;
use std::{path::PathBuf, sync::Arc, time::Duration};

/// Settings of a [`Consumer`].
///
/// Without a group all queues are read and nothing is committed; with a group the queues are shared with its other
/// members; with a group and [`broadcast`](Self::broadcast) each process reads all queues and keeps its own offsets.
#[derive(Debug, Clone)]
#[must_use]
pub struct ConsumerBuilder {
    core: Arc<Core>,
    settings: Settings,
}

impl ConsumerBuilder {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self {
            core,
            settings: Settings::default(),
        }
    }

    /// Adds a topic.
    pub fn topic(mut self, topic: impl Into<String>) -> Self {
        self.settings.topics.push(topic.into());
        self
    }

    /// Adds topics.
    pub fn topics<S: Into<String>>(mut self, topics: impl IntoIterator<Item = S>) -> Self {
        self.settings
            .topics
            .extend(topics.into_iter().map(Into::into));
        self
    }

    /// Adds all topics, present and future, whose whole name matches this regular expression.
    pub fn pattern(mut self, pattern: impl Into<String>) -> Self {
        self.settings.patterns.push(pattern.into());
        self
    }

    /// Reads only messages with one of these tags. Default: all messages.
    pub fn tags<S: Into<String>>(mut self, tags: impl IntoIterator<Item = S>) -> Self {
        self.settings.tags.extend(tags.into_iter().map(Into::into));
        self
    }

    /// Shares the queues with the other members of this group.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.settings.mode = Mode::Group(group.into());
        self
    }

    /// Reads all queues in this process and keeps the group's offsets in a local file.
    pub fn broadcast(mut self, group: impl Into<String>, offsets: impl Into<PathBuf>) -> Self {
        self.settings.mode = Mode::Broadcast {
            group: group.into(),
            offsets: offsets.into(),
        };
        self
    }

    /// Reads only these queues of each topic. Only without a group, which deals queues itself.
    pub fn queues(mut self, queues: impl IntoIterator<Item = u32>) -> Self {
        self.settings.queues = Some(queues.into_iter().collect());
        self
    }

    /// Where to start in queues without a committed offset. Default: [`StartAt::Latest`].
    pub fn start_at(mut self, start_at: StartAt) -> Self {
        self.settings.start_at = start_at;
        self
    }

    /// How queues are dealt to members; the same for all members. Default: [`Assignment::Averagely`].
    pub fn assignment(mut self, assignment: Assignment) -> Self {
        self.settings.assignment = assignment;
        self
    }

    /// Bytes of messages fetched ahead of the reader. Default 32 MiB.
    pub fn prefetch_bytes(mut self, bytes: usize) -> Self {
        self.settings.prefetch_bytes = bytes.clamp(64 << 10, u32::MAX as usize);
        self
    }

    /// Messages of one queue that may be delivered and neither acknowledged nor refused; beyond it the queue waits.
    /// Default 100,000.
    pub fn unacked_max(mut self, messages: usize) -> Self {
        self.settings.unacked_max = messages.max(1);
        self
    }

    /// Commits what is acknowledged without gaps, this often. Default 1 s.
    pub fn auto_commit(mut self, every: Duration) -> Self {
        self.settings.auto_commit = Some(every.max(Duration::from_millis(10)));
        self
    }

    /// Commits only when [`Consumer::commit`] is called.
    pub fn manual_commit(mut self) -> Self {
        self.settings.auto_commit = None;
        self
    }

    /// How long after [`Received::nack`](super::Received::nack) the message is delivered again. Default 1 s.
    pub fn nack_delay(mut self, delay: Duration) -> Self {
        self.settings.nack_delay = delay;
        self
    }

    /// A member that is silent for longer loses its queues to the others. Default 15 s.
    pub fn session_timeout(mut self, timeout: Duration) -> Self {
        self.settings.session_timeout = timeout.max(Duration::from_secs(1));
        self
    }

    /// Called when queues were given to this consumer, before their first message is delivered. Must not block.
    pub fn on_assigned(mut self, callback: impl Fn(&[Queue]) + Send + Sync + 'static) -> Self {
        self.settings.on_assigned = Some(Arc::new(callback));
        self
    }

    /// Called when queues are taken away, after the last message and before their offsets are committed for the last
    /// time: what is acknowledged within it still counts. Must not block.
    pub fn on_revoked(mut self, callback: impl Fn(&[Queue]) + Send + Sync + 'static) -> Self {
        self.settings.on_revoked = Some(Arc::new(callback));
        self
    }

    /// Starts the consumer. Fails if a topic named without a pattern does not exist.
    pub async fn build(self) -> Result<Consumer, Error> {
        self.check()?;
        Consumer::start(self.core, self.settings).await
    }

    fn check(&self) -> Result<(), Error> {
        let settings = &self.settings;
        let refuse = |object: &str, why: &str| Err(Error::invalid("build consumer", object, why));
        if settings.topics.is_empty() && settings.patterns.is_empty() {
            return refuse("", "a consumer needs a topic or a pattern");
        }
        if let Some(bad) = settings.topics.iter().find(|topic| !is_valid_name(topic)) {
            return refuse(bad, "not a valid topic name");
        }
        for pattern in &settings.patterns {
            if let Err(error) = route::whole_name(pattern) {
                return refuse(pattern, &error.to_string());
            }
        }
        match &settings.mode {
            Mode::Alone => Ok(()),
            Mode::Group(group) | Mode::Broadcast { group, .. } if !is_valid_name(group) => {
                refuse(group, "not a valid group name")
            }
            Mode::Group(group) if settings.queues.is_some() => refuse(
                group,
                "a group deals the queues; choose queues without a group",
            ),
            Mode::Group(_) | Mode::Broadcast { .. } => Ok(()),
        }
    }
}
