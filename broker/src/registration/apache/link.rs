//! The life of a link to an Apache name server: all shards told, until something fails or the broker stops.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep_until;

use super::super::link::{Link, Said};
use super::{ApacheShard, RemotingError};

impl Link {
    /// One connection's life for each shard; `Ok` when told to stop.
    pub(in super::super) async fn serve_apache(
        &mut self,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<(), RemotingError> {
        let mut changed = self.node.shares_generation();
        let mut shards = Vec::new();
        for shard in 0..self.node.shards().len() {
            shards.push(ApacheShard::open(&self.node, &self.server, shard).await?);
        }
        loop {
            // Marked seen before looking, so that a change made while looking wakes the wait below.
            changed.mark_unchanged();
            let mut wake_ms = u64::MAX;
            for shard in &mut shards {
                wake_ms = wake_ms.min(shard.tell(self.now_ms()).await?);
            }
            let confirmed: Vec<u64> = shards.iter().map(ApacheShard::confirmed).collect();
            if self.said != Said::Registered && confirmed.iter().all(|version| *version > 0) {
                tracing::info!(server = %self.server, "it is a name server of Apache RocketMQ");
            }
            self.publish(confirmed);
            tokio::select! {
                () = sleep_until(self.started + Duration::from_millis(wake_ms)) => {}
                _ = changed.changed() => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        for shard in shards.iter_mut().filter(|shard| shard.confirmed() > 0) {
            shard.leave().await?;
        }
        Ok(())
    }
}
