//! Clients that speak RocketMQ's remoting protocol, and the groups they are in.
//!
//! A client opens one connection to each shard (each is a broker to it) and beats on every one. Registrations are
//! kept by connection, as RocketMQ keeps them by channel: two processes that share a client id are told apart. A
//! client is in a group while one of its connections at this node is.
//!
//! Pure. Invariants:
//! - Members of a consumer group are its connections; the group is there exactly while it has one.
//! - A group's version changes with its connections, subscriptions or settings, never by a heartbeat.
//! - Others are told (a notice) when the set of client ids changes or a topic comes or goes, not when a known client
//!   opens one more connection or raises the version of a subscription.
//! - Every bound of [`ClientLimits`] holds always; what is refused changes nothing.

mod checks;
mod group;
mod heartbeat;
mod notices;
mod view;

#[cfg(test)]
mod model_tests;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use heartbeat::{ClientInfo, ConnectionId, ConsumerBeat, ConsumerSettings, Heartbeat};
pub use notices::Notices;
pub use view::{ClientsView, ConsumersView, Member};

use super::Now;
use crate::node::ControlError;
use group::{ConsumerGroup, Joined, Membership, members};

/// Bounds of the remoting half of the directory.
#[derive(Debug, Clone, Copy)]
pub struct ClientLimits {
    /// Connections that are in any group.
    pub connections_max: usize,
    /// Pairs of connection and group.
    pub memberships_max: usize,
    /// Groups, of both kinds, that one connection is in.
    pub connection_groups_max: usize,
    /// Topics that one group subscribes to.
    pub subscriptions_max: usize,
    /// Bytes of the expression of one subscription.
    pub expression_bytes_max: usize,
    /// A membership without a heartbeat for longer ends.
    pub expiry_ms: u64,
    /// Changes of a group within this time are told in one notice.
    pub notice_delay_ms: u64,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            connections_max: 65_536,
            memberships_max: 262_144,
            connection_groups_max: 512,
            subscriptions_max: 4_096,
            expression_bytes_max: 16 << 10,
            expiry_ms: 120_000,
            notice_delay_ms: 50,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Clients {
    limits: ClientLimits,
    version: u64,
    connections: BTreeMap<ConnectionId, Connection>,
    consumers: BTreeMap<Arc<str>, ConsumerGroup>,
    producers: BTreeMap<Arc<str>, BTreeMap<ConnectionId, Membership>>,
    /// Pairs of connection and group, both kinds.
    memberships: usize,
    notices: Notices,
    /// No membership ends before this.
    expiry_at_ms: u64,
    published: view::Published,
}

#[derive(Debug)]
struct Connection {
    client: Arc<ClientInfo>,
    consumers: BTreeSet<Arc<str>>,
    producers: BTreeSet<Arc<str>>,
}

/// A producer's connection as `GET_ALL_PRODUCER_INFO` lists it.
#[derive(Debug, Clone)]
pub struct ProducerListing {
    pub group: Arc<str>,
    pub client: Arc<ClientInfo>,
    /// Unix time of its last heartbeat.
    pub last_heartbeat_ms: i64,
}

impl Clients {
    /// Nobody is there. `version`: groups' versions start above it.
    pub fn new(limits: ClientLimits, version: u64, now: Now) -> Self {
        Self {
            notices: Notices::new(limits.notice_delay_ms),
            expiry_at_ms: now.ms + limits.expiry_ms,
            limits,
            version,
            connections: BTreeMap::new(),
            consumers: BTreeMap::new(),
            producers: BTreeMap::new(),
            memberships: 0,
            published: view::Published::default(),
        }
    }

    /// A consumer of the group, if it has any.
    pub fn any_consumer(&self, group: &str) -> Option<&ClientInfo> {
        let membership = self.consumers.get(group)?.members.values().next()?;
        Some(&membership.member.client)
    }

    /// Puts a heartbeat into effect. Says whether shards must see a new copy, and what was refused: refused groups
    /// are left out, the others are in.
    pub fn register(&mut self, now: Now, beat: Heartbeat) -> (bool, Result<(), ControlError>) {
        if let Err(refused) = self.check(&beat) {
            return (false, Err(refused));
        }
        let mut changed = self.admit(now, beat.connection, &beat.client);
        let mut outcome = Ok(());
        for consumer in beat.consumers {
            match self.check_consumer(beat.connection, &consumer) {
                Ok(()) => changed |= self.register_consumer(now, beat.connection, consumer),
                Err(refused) => outcome = outcome.and(Err(refused)),
            }
        }
        for group in beat.producers {
            match self.check_producer(beat.connection, &group) {
                Ok(()) => changed |= self.register_producer(now, beat.connection, &group),
                Err(refused) => outcome = outcome.and(Err(refused)),
            }
        }
        self.forget_if_idle(beat.connection);
        (changed, outcome)
    }

    /// A heartbeat that says nothing new keeps these memberships.
    pub fn beat(
        &mut self,
        now: Now,
        id: ConnectionId,
        consumers: &[Arc<str>],
        producers: &[Arc<str>],
    ) {
        for group in consumers {
            let group = self.consumers.get_mut(&**group);
            if let Some(membership) = group.and_then(|group| group.members.get_mut(&id)) {
                membership.seen = now;
            }
        }
        for group in producers {
            let members = self.producers.get_mut(&**group);
            if let Some(membership) = members.and_then(|members| members.get_mut(&id)) {
                membership.seen = now;
            }
        }
    }

    /// The connection leaves one group of each kind that is given; says whether anything changed.
    pub fn unregister(
        &mut self,
        now: Now,
        id: ConnectionId,
        consumer_group: Option<&str>,
        producer_group: Option<&str>,
    ) -> bool {
        let mut changed = false;
        if let Some(group) = consumer_group {
            changed |= self.leave_consumers(now, id, group);
        }
        if let Some(group) = producer_group {
            changed |= self.leave_producers(id, group);
        }
        self.forget_if_idle(id);
        changed
    }

    /// The connection is gone and with it all its memberships; says whether there were any.
    pub fn closed(&mut self, now: Now, id: ConnectionId) -> bool {
        let Some(connection) = self.connections.get(&id) else {
            return false;
        };
        let (consumers, producers) = (connection.consumers.clone(), connection.producers.clone());
        for group in &consumers {
            self.leave_consumers(now, id, group);
        }
        for group in &producers {
            self.leave_producers(id, group);
        }
        self.forget_if_idle(id);
        true
    }

    /// Ends memberships that were silent for too long; says how many.
    pub fn expire(&mut self, now: Now) -> usize {
        if now.ms < self.expiry_at_ms {
            return 0;
        }
        let expiry_ms = self.limits.expiry_ms;
        let silent = |membership: &Membership| membership.seen.ms + expiry_ms <= now.ms;
        let mut consumers = Vec::new();
        for (name, group) in &self.consumers {
            let gone = group.members.iter().filter(|(_, member)| silent(member));
            consumers.extend(gone.map(|(id, _)| (*id, name.clone())));
        }
        let mut producers = Vec::new();
        for (name, members) in &self.producers {
            let gone = members.iter().filter(|(_, member)| silent(member));
            producers.extend(gone.map(|(id, _)| (*id, name.clone())));
        }
        for (id, group) in &consumers {
            tracing::info!(%group, connection = %id, "consumer dropped: no heartbeat");
            self.leave_consumers(now, *id, group);
            self.forget_if_idle(*id);
        }
        for (id, group) in &producers {
            self.leave_producers(*id, group);
            self.forget_if_idle(*id);
        }
        self.expiry_at_ms = self.earliest_expiry(now);
        consumers.len() + producers.len()
    }

    /// An immutable copy for the shards; what did not change since the last one is shared with it.
    pub fn snapshot(&mut self) -> ClientsView {
        let Self {
            published,
            consumers,
            producers,
            ..
        } = self;
        published.refresh(
            |name| consumers.get(name).map(ConsumerGroup::view),
            |name| producers.get(name).map(members),
        )
    }

    /// Groups whose members are to be told now that the group changed; each once.
    pub fn due_notices(&mut self, now: Now) -> Vec<Arc<str>> {
        self.notices.due(now.ms)
    }

    /// The members of this group could not be told; tell them later.
    pub fn notice_failed(&mut self, now: Now, group: &Arc<str>) {
        if self.consumers.contains_key(group) {
            self.notices.add(group, now.ms);
        }
    }

    /// When [`Self::due_notices`] has something next.
    pub fn next_notice_ms(&self) -> Option<u64> {
        self.notices.next_due_ms()
    }

    /// All producers' connections with their last heartbeats, by group.
    pub fn producers(&self) -> Vec<ProducerListing> {
        let groups = self.producers.iter();
        groups
            .flat_map(|(group, members)| {
                members.values().map(|membership| ProducerListing {
                    group: group.clone(),
                    client: membership.member.client.clone(),
                    last_heartbeat_ms: membership.seen.wall_ms,
                })
            })
            .collect()
    }

    /// Makes room for the connection's memberships. One that calls itself otherwise than before is another client.
    fn admit(&mut self, now: Now, id: ConnectionId, client: &ClientInfo) -> bool {
        let known = self.connections.get(&id);
        if known.is_some_and(|known| *known.client == *client) {
            return false;
        }
        let changed = self.closed(now, id);
        self.published.connected(&client.client_id, id);
        self.connections.insert(
            id,
            Connection {
                client: Arc::new(client.clone()),
                consumers: BTreeSet::new(),
                producers: BTreeSet::new(),
            },
        );
        changed
    }

    fn register_consumer(&mut self, now: Now, id: ConnectionId, beat: ConsumerBeat) -> bool {
        let Some(connection) = self.connections.get_mut(&id) else {
            return false;
        };
        let group = self
            .consumers
            .entry(beat.group.as_str().into())
            .or_insert_with(|| ConsumerGroup::new(beat.settings));
        let name: Arc<str> = beat.group.as_str().into();
        let member = Member {
            connection: id,
            client: connection.client.clone(),
            fingerprint: beat.fingerprint,
        };
        let Joined {
            is_new,
            mut changed,
            mut notify,
        } = group.join(now, member);
        if is_new {
            connection.consumers.insert(name.clone());
            self.memberships += 1;
        }
        if group.settings != beat.settings {
            group.settings = beat.settings;
            changed = true;
        }
        if let Some(subscriptions) = beat.subscriptions {
            let (replaced, topics) = group.subscribe(subscriptions);
            changed |= replaced || topics;
            notify |= topics;
        }
        if notify && group.settings.notify {
            self.notices.add(&name, now.ms);
        }
        if changed {
            self.version += 1;
            group.version = self.version;
            self.published.consumers_changed(&name);
        }
        changed
    }

    fn register_producer(&mut self, now: Now, id: ConnectionId, group: &str) -> bool {
        let Some(connection) = self.connections.get_mut(&id) else {
            return false;
        };
        let name: Arc<str> = group.into();
        let members = self.producers.entry(name.clone()).or_default();
        if let Some(membership) = members.get_mut(&id) {
            membership.seen = now;
            return false;
        }
        let member = Arc::new(Member {
            connection: id,
            client: connection.client.clone(),
            fingerprint: 0,
        });
        members.insert(id, Membership { member, seen: now });
        connection.producers.insert(name.clone());
        self.memberships += 1;
        self.published.producers_changed(&name);
        true
    }

    fn leave_consumers(&mut self, now: Now, id: ConnectionId, name: &str) -> bool {
        let Some((name, _)) = self.consumers.get_key_value(name) else {
            return false;
        };
        let name = name.clone();
        let Some(group) = self.consumers.get_mut(&name) else {
            return false;
        };
        let Some(client_gone) = group.leave(id) else {
            return false;
        };
        self.version += 1;
        group.version = self.version;
        if group.members.is_empty() {
            self.consumers.remove(&name);
            self.notices.remove(&name);
        } else if client_gone && group.settings.notify {
            self.notices.add(&name, now.ms);
        }
        self.memberships -= 1;
        self.published.consumers_changed(&name);
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.consumers.remove(&name);
        }
        true
    }

    fn leave_producers(&mut self, id: ConnectionId, name: &str) -> bool {
        let Some(members) = self.producers.get_mut(name) else {
            return false;
        };
        if members.remove(&id).is_none() {
            return false;
        }
        if members.is_empty() {
            self.producers.remove(name);
        }
        self.memberships -= 1;
        self.published.producers_changed(name);
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.producers.remove(name);
        }
        true
    }

    fn forget_if_idle(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        if connection.groups() == 0 {
            let client_id = &connection.client.client_id;
            self.published.disconnected(client_id, id);
            self.connections.remove(&id);
        }
    }

    fn earliest_expiry(&self, now: Now) -> u64 {
        let consumers = self.consumers.values().flat_map(|g| g.members.values());
        let producers = self.producers.values().flat_map(BTreeMap::values);
        let seen = consumers.chain(producers).map(|member| member.seen.ms);
        // Who joins later is heard of later than now.
        seen.min().unwrap_or(now.ms) + self.limits.expiry_ms
    }
}

impl Connection {
    fn groups(&self) -> usize {
        self.consumers.len() + self.producers.len()
    }
}
