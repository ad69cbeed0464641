//! What shards see of remoting clients: immutable, shared, cheap to replace.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ringmq_wire::remoting::body::heartbeat::Subscription;

use super::heartbeat::{ClientInfo, ConnectionId, ConsumerBeat, ConsumerSettings};

type ByName<T> = Arc<BTreeMap<Arc<str>, Arc<T>>>;

/// All remoting clients of the node at one moment. A clone copies three pointers.
#[derive(Debug, Clone, Default)]
pub struct ClientsView {
    consumers: ByName<ConsumersView>,
    producers: ByName<[Arc<Member>]>,
    connections: ByName<[ConnectionId]>,
}

/// A consumer group at one moment.
#[derive(Debug)]
pub struct ConsumersView {
    /// Changes with members, subscriptions and settings.
    pub version: u64,
    pub settings: ConsumerSettings,
    /// By topic.
    pub subscriptions: BTreeMap<String, Arc<Subscription>>,
    /// Sorted by client id, then connection.
    members: Vec<Arc<Member>>,
}

/// A connection's place in a group.
#[derive(Debug, PartialEq, Eq)]
pub struct Member {
    pub connection: ConnectionId,
    pub client: Arc<ClientInfo>,
    /// Of the last heartbeat that carried subscriptions; 0: the client does not use it.
    pub fingerprint: i32,
}

impl Member {
    pub(super) fn order(&self) -> (&str, ConnectionId) {
        (&self.client.client_id, self.connection)
    }
}

impl ClientsView {
    /// A consumer group; one without members is not there.
    pub fn consumers(&self, group: &str) -> Option<&Arc<ConsumersView>> {
        self.consumers.get(group)
    }

    /// All consumer groups, by name.
    pub fn consumer_groups(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<ConsumersView>)> {
        self.consumers.iter()
    }

    /// The producers of a group, by client id.
    pub fn producers(&self, group: &str) -> Option<&Arc<[Arc<Member>]>> {
        self.producers.get(group)
    }

    /// The connections of a client that is in any group.
    pub fn connections(&self, client_id: &str) -> &[ConnectionId] {
        self.connections.get(client_id).map_or(&[], |ids| ids)
    }
}

impl ConsumersView {
    pub(super) fn new(
        version: u64,
        settings: ConsumerSettings,
        subscriptions: BTreeMap<String, Arc<Subscription>>,
        members: Vec<Arc<Member>>,
    ) -> Self {
        Self {
            version,
            settings,
            subscriptions,
            members,
        }
    }

    /// Every connection, by client id.
    pub fn members(&self) -> &[Arc<Member>] {
        &self.members
    }

    /// The connections of one client.
    pub fn of_client(&self, client_id: &str) -> &[Arc<Member>] {
        let start = self
            .members
            .partition_point(|m| *m.client.client_id < *client_id);
        let rest = &self.members[start..];
        &rest[..rest.partition_point(|m| *m.client.client_id == *client_id)]
    }

    /// The clients and their connections, sorted by id.
    pub fn clients(&self) -> impl Iterator<Item = &[Arc<Member>]> {
        let same = |a: &Arc<Member>, b: &Arc<Member>| a.client.client_id == b.client.client_id;
        self.members.chunk_by(same)
    }

    /// The connection's place in the group.
    pub fn member(&self, connection: ConnectionId) -> Option<&Arc<Member>> {
        let mut members = self.members.iter();
        members.find(|member| member.connection == connection)
    }

    /// Whether a heartbeat of this connection would change nothing but the time it was last heard of.
    pub fn has_heard(&self, id: ConnectionId, client: &ClientInfo, beat: &ConsumerBeat) -> bool {
        let member = self.member(id);
        member.is_some_and(|m| *m.client == *client && m.fingerprint == beat.fingerprint)
            && self.settings == beat.settings
            && beat
                .subscriptions
                .as_deref()
                .is_none_or(|said| self.has_subscriptions(said))
    }

    fn has_subscriptions(&self, said: &[Subscription]) -> bool {
        let known = |s: &Subscription| {
            let known = self.subscriptions.get(&s.topic);
            known.is_some_and(|known| known.version >= s.version)
        };
        let topics: BTreeSet<&str> = said.iter().map(|s| s.topic.as_str()).collect();
        topics.len() == self.subscriptions.len() && said.iter().all(known)
    }

    /// The connections to tell of a change, by shard: each client once, through the shard where it has the most
    /// connections, so that processes with one id all hear it. Shards that `is_reachable` denies are left out.
    pub fn notice_targets(
        &self,
        is_reachable: impl Fn(usize) -> bool,
    ) -> BTreeMap<usize, Vec<u64>> {
        let mut targets: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
        for connections in self.clients() {
            let mut shards: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
            for member in connections {
                let id = member.connection;
                if is_reachable(id.shard) {
                    shards.entry(id.shard).or_default().push(id.number);
                }
            }
            // Which of equals depends on the client, so that not one shard tells all.
            let salt = crc32fast::hash(connections[0].client.client_id.as_bytes()) as usize;
            let count = shards.len();
            let chosen = shards
                .into_iter()
                .enumerate()
                .max_by_key(|(place, (_, numbers))| (numbers.len(), (place + salt) % count));
            if let Some((_, (shard, numbers))) = chosen {
                targets.entry(shard).or_default().extend(numbers);
            }
        }
        targets
    }
}

/// The last copy and what changed since.
#[derive(Debug, Default)]
pub(super) struct Published {
    view: ClientsView,
    consumers: BTreeSet<Arc<str>>,
    producers: BTreeSet<Arc<str>>,
}

impl Published {
    pub fn consumers_changed(&mut self, group: &str) {
        self.consumers.insert(group.into());
    }

    pub fn producers_changed(&mut self, group: &str) {
        self.producers.insert(group.into());
    }

    pub fn connected(&mut self, client_id: &str, connection: ConnectionId) {
        let connections = Arc::make_mut(&mut self.view.connections);
        let mut ids = connections
            .get(client_id)
            .map_or(vec![], |ids| ids.to_vec());
        ids.push(connection);
        connections.insert(client_id.into(), ids.into());
    }

    pub fn disconnected(&mut self, client_id: &str, connection: ConnectionId) {
        let connections = Arc::make_mut(&mut self.view.connections);
        let mut ids = connections
            .get(client_id)
            .map_or(vec![], |ids| ids.to_vec());
        ids.retain(|id| *id != connection);
        if ids.is_empty() {
            connections.remove(client_id);
        } else {
            connections.insert(client_id.into(), ids.into());
        }
    }

    /// Makes new copies of the groups that changed.
    pub fn refresh(
        &mut self,
        consumers: impl Fn(&str) -> Option<ConsumersView>,
        producers: impl Fn(&str) -> Option<Vec<Arc<Member>>>,
    ) -> ClientsView {
        if !self.consumers.is_empty() {
            let groups = Arc::make_mut(&mut self.view.consumers);
            for name in std::mem::take(&mut self.consumers) {
                match consumers(&name) {
                    Some(view) => groups.insert(name, Arc::new(view)),
                    None => groups.remove(&name),
                };
            }
        }
        if !self.producers.is_empty() {
            let groups = Arc::make_mut(&mut self.view.producers);
            for name in std::mem::take(&mut self.producers) {
                match producers(&name) {
                    Some(members) => groups.insert(name, members.into()),
                    None => groups.remove(&name),
                };
            }
        }
        self.view.clone()
    }
}
