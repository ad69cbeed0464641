//! Leases: the fence that keeps two members from reading one queue.

use super::{membership::Membership, queue::QueueState};
use crate::{core::Core, error::Error, route::Route};
use ringmq_wire::native::schema;
use std::{collections::BTreeMap, sync::Arc, time::Instant};

/// A lease that was granted.
#[derive(Debug)]
pub(super) struct Granted {
    pub(super) queue: u32,
    pub(super) lease: u64,
    /// Counted from before the request was sent: never later than the shard's own count.
    pub(super) valid_until: Instant,
    pub(super) committed: Option<u64>,
}

/// Asks for leases at the owning shard; those that others still hold are left out.
pub(super) async fn acquire(
    core: &Core,
    membership: &Membership,
    route: &Route,
    shard: &str,
    queues: &[u32],
    deadline: Instant,
) -> Result<Vec<Granted>, Error> {
    let request = schema::LeaseAcquireRequestT {
        group: membership.group.clone(),
        member: membership.member.clone(),
        topic: route.topic.to_string(),
        queues: Some(queues.to_vec()),
        term_ms: membership.session_timeout.as_millis() as u32,
    };
    let sent = Instant::now();
    let answer = core.call_shard(shard, &request, deadline).await?;
    let mut granted = Vec::new();
    for lease in answer.leases.unwrap_or_default() {
        if lease.error != 0 {
            tracing::debug!(topic = %route.topic, queue = lease.queue, error = lease.error,
                holder = lease.holder.as_deref().unwrap_or_default(), "lease not granted");
            continue;
        }
        granted.push(Granted {
            queue: lease.queue,
            lease: lease.lease,
            valid_until: sent + membership.session_timeout,
            committed: lease.committed.then_some(lease.offset),
        });
    }
    Ok(granted)
}

/// Gives leases back, as far as shards answer in time; the rest run out.
pub(super) async fn release(
    core: &Core,
    membership: &Membership,
    states: &[Arc<QueueState>],
    deadline: Instant,
) {
    let mut shares: BTreeMap<(Arc<str>, Arc<str>), Vec<u32>> = BTreeMap::new();
    for state in states {
        let key = (Arc::clone(&state.shard), Arc::clone(&state.queue.topic));
        shares.entry(key).or_default().push(state.queue.queue);
    }
    let releasing = shares
        .into_iter()
        .map(|((shard, topic), queues)| async move {
            let request = schema::LeaseReleaseRequestT {
                group: membership.group.clone(),
                member: membership.member.clone(),
                topic: topic.to_string(),
                queues: Some(queues),
            };
            if let Err(error) = core.call_shard(&shard, &request, deadline).await {
                tracing::debug!(%topic, %shard, %error, "leases not released, they will run out");
            }
        });
    futures_util::future::join_all(releasing).await;
}
