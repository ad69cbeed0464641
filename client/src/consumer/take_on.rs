//! Starting to read queues: leases (with a group), start offsets, the callback, and only then the fetchers.

use super::{
    Queue, StartAt,
    coordinator::{Coordinator, call},
    leases,
    queue::{QueueSetup, QueueState},
    settings::Mode,
};
use crate::{
    admin::{OffsetSpec, by_shard},
    error::Error,
    route::Route,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

impl Coordinator {
    /// Starts reading what is ours and not read yet.
    pub(super) async fn take_on(&mut self, targets: &BTreeMap<Queue, Arc<Route>>) {
        let new: Vec<(Queue, Arc<Route>)> = {
            let assigned = self.shared.assigned();
            let new = targets
                .iter()
                .filter(|(queue, _)| !assigned.contains_key(queue));
            new.map(|(queue, route)| (queue.clone(), Arc::clone(route)))
                .collect()
        };
        let mut routes: BTreeMap<Arc<str>, (Arc<Route>, Vec<u32>)> = BTreeMap::new();
        for (queue, route) in new {
            routes
                .entry(queue.topic)
                .or_insert_with(|| (route, vec![]))
                .1
                .push(queue.queue);
        }
        let mut taken = Vec::new();
        let mut silent: BTreeSet<Arc<str>> = BTreeSet::new();
        // For all together: heartbeats must not wait for shards that do not answer.
        let deadline = Instant::now() + self.patience();
        for (route, queues) in routes.into_values() {
            for (shard, queues) in by_shard(&route, Some(&queues)) {
                if silent.contains(&shard) {
                    continue;
                }
                match self.take_share(&route, &shard, &queues, deadline).await {
                    Ok(share) => {
                        self.incomplete |= share.len() < queues.len();
                        taken.extend(share);
                    }
                    Err(error) => {
                        tracing::debug!(topic = %route.topic, %shard, %error, "queues not taken on");
                        self.incomplete = true;
                        silent.insert(shard);
                    }
                }
            }
        }
        if taken.is_empty() {
            return;
        }
        call(&self.shared.settings.on_assigned, &taken);
        let mut assigned = self.shared.assigned();
        assigned.extend(taken.into_iter().map(|state| (state.queue.clone(), state)));
        let shards: BTreeSet<_> = assigned
            .values()
            .map(|state| Arc::clone(&state.shard))
            .collect();
        drop(assigned);
        self.shared.set_shard_count(shards.len());
        self.shared.announce();
    }

    /// Takes on queues of one shard: leases (with a group) and start offsets.
    async fn take_share(
        &mut self,
        route: &Arc<Route>,
        shard: &Arc<str>,
        queues: &[u32],
        deadline: Instant,
    ) -> Result<Vec<Arc<QueueState>>, Error> {
        let mut setups = Vec::new();
        let mut starts: BTreeMap<u32, u64> = BTreeMap::new();
        let setup = |queue: u32| QueueSetup {
            queue: Queue::new(Arc::clone(&route.topic), queue),
            shard: Arc::clone(shard),
            incarnation: route.incarnation,
            start: 0,
            committed: 0,
            lease: 0,
            valid_until: None,
            tracks_acks: !matches!(self.shared.settings.mode, Mode::Alone),
        };
        match &self.membership {
            Some(membership) => {
                let core = &self.shared.core;
                let leases =
                    leases::acquire(core, membership, route, shard, queues, deadline).await?;
                for lease in leases {
                    starts.extend(lease.committed.map(|offset| (lease.queue, offset)));
                    setups.push(QueueSetup {
                        lease: lease.lease,
                        valid_until: Some(lease.valid_until),
                        ..setup(lease.queue)
                    });
                }
            }
            None => setups.extend(queues.iter().map(|queue| setup(*queue))),
        }
        if let Some(local) = &self.local {
            for setup in &setups {
                let kept = local.offset(&setup.queue, route.incarnation.1);
                starts.extend(kept.map(|offset| (setup.queue.queue, offset)));
            }
        }
        let committed = starts.clone();
        let unknown = setups
            .iter()
            .map(|s| s.queue.queue)
            .filter(|q| !starts.contains_key(q));
        let unknown: Vec<u32> = unknown.collect();
        if !unknown.is_empty() {
            let at = self.shared.settings.start_at.into();
            let topic = &route.topic;
            let found = self
                .shared
                .core
                .offsets_at(shard, topic, unknown, at, deadline)
                .await?;
            for (queue, offset) in found {
                starts.insert(queue, offset?);
            }
        }
        let settings = &self.shared.settings;
        let states = setups.into_iter().filter_map(|setup| {
            let start = starts.get(&setup.queue.queue).copied()?;
            // A start that was looked up is worth a commit: the group then keeps its place even if nothing comes.
            let committed = committed.get(&setup.queue.queue).copied().unwrap_or(0);
            let setup = QueueSetup {
                start,
                committed,
                ..setup
            };
            let (nack_delay, unacked_max) = (settings.nack_delay, settings.unacked_max);
            Some(QueueState::new(
                setup,
                &self.shared.inbox,
                nack_delay,
                unacked_max,
            ))
        });
        Ok(states.collect())
    }
}

impl From<StartAt> for OffsetSpec {
    fn from(start: StartAt) -> Self {
        match start {
            StartAt::Earliest => Self::Earliest,
            StartAt::Latest => Self::Latest,
            StartAt::TimeMs(time_ms) => Self::TimeMs(time_ms),
            StartAt::Offset(offset) => Self::Offset(offset),
        }
    }
}
