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
///
/// ```no_run
/// # async fn example(client: ringmq::Client) -> Result<(), ringmq::Error> {
/// use ringmq::{OffsetSpec, TopicSpec};
///
/// let admin = client.admin();
/// admin.create_topic(&TopicSpec::new("orders", 8)).await?;
/// for queue in admin.describe_topic("orders").await?.queues {
///     println!("queue {} holds {}", queue.queue, queue.visible_offset - queue.min_offset);
/// }
/// admin.reset_offsets("audit", "orders", None, OffsetSpec::Earliest, false).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Admin {
    core: Arc<Core>,
}

impl Admin {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }
}
