//! Settings of a consumer.

use crate::consumer::Queue;
use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

/// Where reading starts in a queue for which the group has no committed offset (or that has no group).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StartAt {
    /// The oldest message that is still there.
    Earliest,
    /// The next message to come.
    #[default]
    Latest,
    /// The first message stored at or after this Unix time.
    TimeMs(i64),
    /// This offset in every queue, or the nearest one that is there.
    Offset(u64),
}

/// How the queues of a topic are dealt to the members of a group. All members must use the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Assignment {
    /// Contiguous runs of queues, as even as can be.
    #[default]
    Averagely,
    /// Dealt like cards: queue q to member q mod n.
    Circle,
    /// By consistent hash: few queues move when members come and go, at the price of evenness.
    ConsistentHash,
}

/// Called with the queues that came or went.
pub(crate) type QueuesCallback = Arc<dyn Fn(&[Queue]) + Send + Sync>;

/// All settings; see [`super::ConsumerBuilder`] for what they mean.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) topics: Vec<String>,
    pub(crate) patterns: Vec<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) mode: Mode,
    pub(crate) queues: Option<Vec<u32>>,
    pub(crate) start_at: StartAt,
    pub(crate) assignment: Assignment,
    pub(crate) prefetch_bytes: usize,
    pub(crate) unacked_max: usize,
    pub(crate) auto_commit: Option<Duration>,
    pub(crate) nack_delay: Duration,
    pub(crate) session_timeout: Duration,
    pub(crate) on_assigned: Option<QueuesCallback>,
    pub(crate) on_revoked: Option<QueuesCallback>,
}

/// Who shares the queues and where offsets are kept.
#[derive(Debug, Clone)]
pub(crate) enum Mode {
    /// All queues, nothing kept.
    Alone,
    /// Shared with the other members; offsets at the broker.
    Group(String),
    /// All queues; offsets in a local file.
    Broadcast { group: String, offsets: PathBuf },
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            topics: Vec::new(),
            patterns: Vec::new(),
            tags: Vec::new(),
            mode: Mode::Alone,
            queues: None,
            start_at: StartAt::Latest,
            assignment: Assignment::Averagely,
            prefetch_bytes: 32 << 20,
            unacked_max: 100_000,
            auto_commit: Some(Duration::from_secs(1)),
            nack_delay: Duration::from_secs(1),
            session_timeout: Duration::from_secs(15),
            on_assigned: None,
            on_revoked: None,
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("topics", &self.topics)
            .field("patterns", &self.patterns)
            .field("mode", &self.mode)
            .field("start_at", &self.start_at)
            .finish_non_exhaustive()
    }
}
