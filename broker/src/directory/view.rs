//! What shards see of the directory: immutable, shared, cheap to replace.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::clients::ClientsView;
use ringmq_wire::native::schema::{GroupMemberT, SubscriptionT};

/// All groups at one moment. Native ones, but for [`Self::clients`].
#[derive(Debug, Default)]
pub struct DirectorySnapshot {
    groups: BTreeMap<String, Arc<GroupView>>,
    clients: ClientsView,
}

/// One group at one moment.
#[derive(Debug)]
pub struct GroupView {
    /// Changes with the members and their subscriptions.
    pub version: u64,
    /// By name.
    pub members: BTreeMap<String, Arc<MemberView>>,
}

/// One member.
#[derive(Debug, PartialEq)]
pub struct MemberView {
    pub member: String,
    pub client_address: String,
    pub subscriptions: Vec<SubscriptionT>,
}

impl DirectorySnapshot {
    pub(super) fn new(groups: BTreeMap<String, Arc<GroupView>>, clients: ClientsView) -> Self {
        Self { groups, clients }
    }
    /// The clients that speak RocketMQ's protocol.
    pub fn clients(&self) -> &ClientsView {
        &self.clients
    }
    /// One group; one without members is not there.
    pub fn group(&self, group: &str) -> Option<&Arc<GroupView>> {
        self.groups.get(group)
    }
    /// All groups, by name.
    pub fn groups(&self) -> impl Iterator<Item = (&String, &Arc<GroupView>)> {
        self.groups.iter()
    }
}

impl GroupView {
    /// Whether that member is in it.
    pub fn has(&self, member: &str) -> bool {
        self.members.contains_key(member)
    }
}

impl MemberView {
    /// As answers carry it.
    pub fn to_wire(&self, last_heartbeat_ms: i64) -> GroupMemberT {
        let mut member = GroupMemberT::default();
        member.member.clone_from(&self.member);
        member.client_address = Some(self.client_address.clone());
        member.subscriptions = Some(self.subscriptions.clone());
        member.last_heartbeat_ms = last_heartbeat_ms;
        member
    }
}
