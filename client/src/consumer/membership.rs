//! Being a member of a group: joined at every node that serves one of its topics, leases renewed at every shard.

use super::{assignment, settings::Assignment};
use crate::{core::Core, error::Error, route::Route};
use ringmq_wire::{codes::ErrorCode, native::schema};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

/// One consumer's membership.
#[derive(Debug)]
pub(super) struct Membership {
    pub(super) group: String,
    /// Unique over all consumers.
    pub(super) member: String,
    pub(super) session_timeout: Duration,
    nodes: HashMap<String, NodeView>,
}

/// The group as a node sees it.
#[derive(Debug, Clone, Default)]
struct NodeView {
    version: u64,
    /// Member and its topics, by name.
    members: BTreeMap<String, BTreeSet<String>>,
    /// What we told it about ourselves.
    told: BTreeSet<String>,
    heard: Option<Instant>,
    /// The node forgot everybody (it restarted): until then the old view counts, so that the members that come back
    /// one after the other do not move queues about.
    hold_until: Option<Instant>,
}

/// What a shard said to a heartbeat.
struct Beat {
    sent: Instant,
    version: u64,
    /// The members, if we had to ask.
    members: Option<Vec<schema::GroupMemberT>>,
    had_forgotten: bool,
}

impl Membership {
    pub(super) fn new(group: String, member: String, session_timeout: Duration) -> Self {
        Self {
            group,
            member,
            session_timeout,
            nodes: HashMap::new(),
        }
    }

    /// How often to call [`Self::refresh`].
    pub(super) fn beat_every(&self) -> Duration {
        (self.session_timeout / 6).clamp(Duration::from_millis(100), Duration::from_secs(2))
    }

    /// Heartbeats to all shards of the topics. Returns when each shard that answered was asked: its leases are good for
    /// one term from then.
    pub(super) async fn refresh(
        &mut self,
        core: &Core,
        routes: &[Arc<Route>],
    ) -> BTreeMap<Arc<str>, Instant> {
        let topics: BTreeSet<String> = routes.iter().map(|route| route.topic.to_string()).collect();
        let shards: BTreeSet<Arc<str>> = routes.iter().flat_map(|route| route.shards()).collect();
        let deadline = Instant::now() + (self.session_timeout / 4).min(Duration::from_secs(3));
        let beats = shards.into_iter().map(|shard| {
            let node = node_of(core, &shard);
            let known = self.nodes.get(&node).filter(|view| view.told == topics);
            let known = known.map(|view| view.version);
            let (this, topics) = (&*self, &topics);
            async move {
                let beat = this.beat(core, &shard, known, topics, deadline).await;
                (shard, node, beat)
            }
        });
        let mut renewed = BTreeMap::new();
        for (shard, node, beat) in futures_util::future::join_all(beats).await {
            match beat {
                Ok(beat) => {
                    renewed.insert(shard, beat.sent);
                    self.take_in(node, beat, &topics);
                }
                Err(error) => {
                    tracing::debug!(%shard, group = %self.group, %error, "heartbeat failed");
                }
            }
        }
        renewed
    }

    async fn beat(
        &self,
        core: &Core,
        shard: &str,
        known: Option<u64>,
        topics: &BTreeSet<String>,
        deadline: Instant,
    ) -> Result<Beat, Error> {
        let request = schema::GroupHeartbeatRequestT {
            group: self.group.clone(),
            member: self.member.clone(),
        };
        let mut had_forgotten = false;
        if let Some(known) = known {
            let sent = Instant::now();
            match core.call_shard(shard, &request, deadline).await {
                Ok(answer) if answer.version == known => {
                    return Ok(Beat {
                        sent,
                        version: known,
                        members: None,
                        had_forgotten,
                    });
                }
                Ok(_) => {}
                Err(error) if error.code() == Some(ErrorCode::UnknownMember) => {
                    had_forgotten = true
                }
                Err(error) => return Err(error),
            }
        }
        let joined = core
            .call_shard(shard, &self.join_request(topics), deadline)
            .await?;
        // Joining does not renew leases.
        let sent = Instant::now();
        match core.call_shard(shard, &request, deadline).await {
            Ok(_) => {}
            // Another shard of the node has not heard of the join yet; there are no leases to renew at it then.
            Err(error) if error.code() == Some(ErrorCode::UnknownMember) => {}
            Err(error) => return Err(error),
        }
        let members = Some(joined.members.unwrap_or_default());
        Ok(Beat {
            sent,
            version: joined.version,
            members,
            had_forgotten,
        })
    }

    fn join_request(&self, topics: &BTreeSet<String>) -> schema::GroupJoinRequestT {
        let subscription = |topic: &String| schema::SubscriptionT {
            topic: topic.clone(),
            tags: None,
        };
        schema::GroupJoinRequestT {
            group: self.group.clone(),
            member: self.member.clone(),
            subscriptions: Some(topics.iter().map(subscription).collect()),
            session_timeout_ms: self.session_timeout.as_millis() as u32,
            ..Default::default()
        }
    }

    fn take_in(&mut self, node: String, beat: Beat, topics: &BTreeSet<String>) {
        let hold = 2 * self.beat_every();
        let view = self.nodes.entry(node).or_default();
        view.heard = Some(beat.sent);
        let Some(members) = beat.members else { return };
        if beat.had_forgotten && view.members.len() > 1 {
            view.hold_until = Some(beat.sent + hold);
        }
        if view.hold_until.is_some_and(|until| until > Instant::now()) {
            // Asked again until the hold is over: this version was not taken in.
            view.version = u64::MAX;
            view.told = topics.clone();
            return;
        }
        view.version = beat.version;
        view.told = topics.clone();
        view.members = members.into_iter().map(read_member).collect();
    }

    /// The queues of a topic that are ours by the strategy; `None`: no node can tell at the moment.
    pub(super) fn targets(
        &self,
        core: &Core,
        route: &Route,
        strategy: Assignment,
    ) -> Option<Vec<u32>> {
        let now = Instant::now();
        let fresh = |view: &&NodeView| {
            view.heard
                .is_some_and(|heard| now.duration_since(heard) < self.session_timeout)
        };
        // Queue 0's home has the say; while it is down, the next queue's.
        let nodes = route
            .shards()
            .into_iter()
            .map(|shard| node_of(core, &shard));
        let view = nodes.filter_map(|node| self.nodes.get(&node)).find(fresh)?;
        let reads = |topics: &BTreeSet<String>| topics.contains(&*route.topic);
        let members: Vec<&str> = view
            .members
            .iter()
            .filter(|(_, t)| reads(t))
            .map(|(m, _)| m.as_str())
            .collect();
        if !members.contains(&self.member.as_str()) {
            return None;
        }
        Some(assignment::queues_of(
            strategy,
            &route.topic,
            route.queues,
            &members,
            &self.member,
        ))
    }

    /// Leaves everywhere, as far as shards answer in time.
    pub(super) async fn leave(&self, core: &Core, routes: &[Arc<Route>], deadline: Instant) {
        let shards: BTreeSet<Arc<str>> = routes.iter().flat_map(|route| route.shards()).collect();
        let request = schema::GroupLeaveRequestT {
            group: self.group.clone(),
            member: self.member.clone(),
        };
        let leaving = shards
            .iter()
            .map(|shard| core.call_shard(shard, &request, deadline));
        for left in futures_util::future::join_all(leaving).await {
            if let Err(error) = left {
                tracing::debug!(group = %self.group, %error, "leaving a group");
            }
        }
    }
}

fn read_member(member: schema::GroupMemberT) -> (String, BTreeSet<String>) {
    let subscriptions = member.subscriptions.unwrap_or_default();
    (
        member.member,
        subscriptions.into_iter().map(|s| s.topic).collect(),
    )
}

/// The node of a shard; a shard that no name server has told of stands for itself.
fn node_of(core: &Core, shard: &str) -> String {
    let table = core.routes.table();
    table
        .shard(shard)
        .map_or_else(|| shard.to_owned(), |place| place.node.clone())
}
