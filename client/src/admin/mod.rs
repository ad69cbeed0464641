//! Administration: topics, groups, single messages, the cluster.

mod cluster;
mod groups;
mod messages;
mod offsets;
mod topics;

pub use cluster::{ClusterStatus, ShardState, ShardStatus};
pub use groups::{GroupDescription, GroupMember, GroupQueue, GroupSummary};
pub use messages::FoundMessage;
pub(crate) use offsets::by_shard;
pub use offsets::{OffsetSpec, QueueReset};
pub use topics::{QueueDescription, TopicDescription, TopicSpec, TopicSummary, TopicUpdate};

use crate::core::Core;
use std::sync::Arc;

/// Administrative calls. Each has the client's request timeout as its deadline, retries included.
#[derive(Debug, Clone)]
pub struct Admin {
    core: Arc<Core>,
}

impl Admin {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }
}
