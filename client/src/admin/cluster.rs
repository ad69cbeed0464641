//! The cluster's shards.

use super::Admin;
use crate::error::Error;
use ringmq_wire::native::schema;

/// All live shards as the name server knows them.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ClusterStatus {
    /// Sorted by name.
    pub shards: Vec<ShardStatus>,
    /// Topics that the name server knows.
    pub topics: u32,
}

/// One shard.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ShardStatus {
    /// Its name, `sNN-node`.
    pub shard: String,
    /// The node that hosts it.
    pub node: String,
    /// The cluster's name.
    pub cluster: String,
    /// Where it listens.
    pub address: String,
    /// Whether it takes messages.
    pub writable: bool,
    /// What the shard says about itself; an error if it did not answer.
    pub state: Result<ShardState, Error>,
}

/// What a shard says about itself.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ShardState {
    /// Name and version of the broker.
    pub software: String,
    /// Since its start.
    pub uptime_ms: u64,
    /// "ok", or what is wrong.
    pub health: String,
    /// End of the log in memory.
    pub appended: u64,
    /// End of the log on disk.
    pub durable: u64,
    /// End of what consumers may read.
    pub visible: u64,
    /// Oldest position that is still there.
    pub log_start: u64,
    /// Bytes of disk in use by the shard.
    pub disk_used_bytes: u64,
    /// Bytes free on the disk.
    pub disk_free_bytes: u64,
    /// Open client connections.
    pub connections: u32,
    /// Topics with a share here.
    pub topics: u32,
    /// Queues here.
    pub queues: u32,
}

impl Admin {
    /// Asks the name server for the shards and each shard for its state.
    pub async fn cluster_status(&self) -> Result<ClusterStatus, Error> {
        let deadline = self.core.deadline();
        let request = schema::ClusterInfoRequestT::default();
        let info = self.core.ask_name_server(&request, deadline).await?;
        let mut addresses = info.shards.unwrap_or_default();
        addresses.sort_by(|a, b| a.shard.cmp(&b.shard));
        let asking = addresses
            .into_iter()
            .map(|address| self.shard_status(address, deadline));
        let shards = futures_util::future::join_all(asking).await;
        Ok(ClusterStatus {
            shards,
            topics: info.topics,
        })
    }

    async fn shard_status(
        &self,
        place: schema::ShardAddressT,
        deadline: std::time::Instant,
    ) -> ShardStatus {
        let asked = async {
            let links = &self.core.links;
            let connection = links
                .connection(&place.shard, &place.address, deadline)
                .await?;
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            connection
                .call(&schema::ShardStatusRequestT::default(), left)
                .await
        };
        let state = asked
            .await
            .map(|said: schema::ShardStatusResponseT| ShardState {
                software: said.software.unwrap_or_default(),
                uptime_ms: said.uptime_ms,
                health: said.health.unwrap_or_default(),
                appended: said.appended,
                durable: said.durable,
                visible: said.visible,
                log_start: said.log_start,
                disk_used_bytes: said.disk_used_bytes,
                disk_free_bytes: said.disk_free_bytes,
                connections: said.connections,
                topics: said.topics,
                queues: said.queues,
            });
        ShardStatus {
            node: place.node.unwrap_or_default(),
            cluster: place.cluster.unwrap_or_default(),
            shard: place.shard,
            address: place.address,
            writable: place.writable,
            state,
        }
    }
}
