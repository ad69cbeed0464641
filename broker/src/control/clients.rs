//! Tells RocketMQ consumers that the members of their group changed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Control, now};
use crate::node::{NodeHandle, ShardCommand};

/// Returns then; never, if there is nothing to wait for.
pub(super) async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

impl Control {
    /// When [`Self::tell`] has something to do next.
    pub(super) fn next_notice(&mut self) -> Option<Instant> {
        let at_ms = self.directory.clients().next_notice_ms()?;
        Some(self.started + Duration::from_millis(at_ms))
    }

    /// Sends the notices that are due to shards that have connections of the members. A shard with a full mailbox is
    /// asked again later, and its group with it: a client that is told twice only looks twice.
    pub(super) fn tell(&mut self) {
        let now = now(self.started);
        for group in self.directory.clients().due_notices(now) {
            if !tell_group(&self.node, &group) {
                self.directory.clients().notice_failed(now, &group);
            }
        }
    }
}

/// Tells the shards that have connections of the group; false: one of them could not take it.
pub(crate) fn tell_group(node: &NodeHandle, group: &Arc<str>) -> bool {
    let directory = node.directory();
    let Some(consumers) = directory.clients().consumers(group) else {
        return true;
    };
    let shards = node.shards();
    let is_reachable = |shard: usize| {
        let link = shards.get(shard);
        link.is_some_and(|link| !link.mailbox.is_disconnected())
    };
    let mut told = true;
    for (shard, connections) in consumers.notice_targets(is_reachable) {
        let group = group.clone();
        let command = ShardCommand::ConsumersChanged { group, connections };
        let sent = shards[shard].mailbox.try_send(command);
        told &= !matches!(sent, Err(flume::TrySendError::Full(_)));
    }
    told
}
