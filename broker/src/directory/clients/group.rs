//! One consumer group: its connections and what they subscribe to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ringmq_wire::remoting::body::heartbeat::Subscription;

use super::heartbeat::{ConnectionId, ConsumerSettings};
use super::view::{ConsumersView, Member};
use crate::directory::Now;

/// A consumer group with at least one connection.
#[derive(Debug)]
pub(super) struct ConsumerGroup {
    pub version: u64,
    pub settings: ConsumerSettings,
    pub subscriptions: BTreeMap<String, Arc<Subscription>>,
    pub members: BTreeMap<ConnectionId, Membership>,
    /// Connections by client id.
    pub clients: BTreeMap<Box<str>, usize>,
}

/// A connection in a group, and when it was last heard of.
#[derive(Debug)]
pub(super) struct Membership {
    pub member: Arc<Member>,
    pub seen: Now,
}

/// What one more heartbeat of a connection does to the members of a group.
pub(super) struct Joined {
    pub is_new: bool,
    /// Shards must see it.
    pub changed: bool,
    /// Other members must be told.
    pub notify: bool,
}

impl ConsumerGroup {
    pub fn new(settings: ConsumerSettings) -> Self {
        Self {
            version: 0,
            settings,
            subscriptions: BTreeMap::new(),
            members: BTreeMap::new(),
            clients: BTreeMap::new(),
        }
    }

    pub fn join(&mut self, now: Now, member: Member) -> Joined {
        let id = member.connection;
        if let Some(known) = self.members.get_mut(&id) {
            known.seen = now;
            let changed = *known.member != member;
            if changed {
                known.member = Arc::new(member);
            }
            return Joined {
                is_new: false,
                changed,
                notify: false,
            };
        }
        let connections = self.clients.entry(member.client.client_id.clone());
        let connections = connections.or_default();
        *connections += 1;
        let notify = *connections == 1;
        let member = Arc::new(member);
        self.members.insert(id, Membership { member, seen: now });
        Joined {
            is_new: true,
            changed: true,
            notify,
        }
    }

    /// Takes a connection out; says whether it was its client's last one. `None`: it is not in.
    pub fn leave(&mut self, id: ConnectionId) -> Option<bool> {
        let membership = self.members.remove(&id)?;
        let client_id = &membership.member.client.client_id;
        let connections = self.clients.get_mut(client_id)?;
        *connections -= 1;
        let gone = *connections == 0;
        if gone {
            self.clients.remove(client_id);
        }
        Some(gone)
    }

    /// The last heartbeat decides the topics; of one topic the subscription with the higher version stays. Says
    /// whether a subscription was replaced, and whether a topic came or went.
    pub fn subscribe(&mut self, subscriptions: Vec<Subscription>) -> (bool, bool) {
        let (mut replaced, mut topics) = (false, false);
        let mut wanted = BTreeSet::new();
        for subscription in subscriptions {
            wanted.insert(subscription.topic.clone());
            match self.subscriptions.get(&subscription.topic) {
                None => topics = true,
                Some(known) if subscription.version > known.version => replaced = true,
                Some(_) => continue,
            }
            let topic = subscription.topic.clone();
            self.subscriptions.insert(topic, Arc::new(subscription));
        }
        let before = self.subscriptions.len();
        self.subscriptions.retain(|topic, _| wanted.contains(topic));
        (replaced, topics || self.subscriptions.len() != before)
    }

    pub fn view(&self) -> ConsumersView {
        ConsumersView::new(
            self.version,
            self.settings,
            self.subscriptions.clone(),
            members(&self.members),
        )
    }
}

/// Sorted by client id, then connection, so that all shards and all nodes list clients alike.
pub(super) fn members(members: &BTreeMap<ConnectionId, Membership>) -> Vec<Arc<Member>> {
    let mut members: Vec<Arc<Member>> = members.values().map(|m| m.member.clone()).collect();
    members.sort_by(|a, b| a.order().cmp(&b.order()));
    members
}
