//! Who is in which group at this node: one owner, who changes it, and immutable copies for everybody else.
//!
//! Pure: time arrives as an argument (milliseconds of a monotonic clock for liveness, wall clock for listings).
//! Invariants:
//! - A group's version changes exactly when its members or their subscriptions change, never by a heartbeat, and never
//!   repeats, not even after a restart (it starts at the wall clock in microseconds).
//! - A group without members is not there, and bounds on groups, members and subscriptions hold always.
//! - A group has members of one protocol: native ones here, those of RocketMQ's in [`clients`]. Who comes later is
//!   refused with a message that names one of the others.

pub mod clients;
mod view;

use std::collections::BTreeMap;
use std::sync::Arc;

use ringmq_wire::codes::ErrorCode;
use ringmq_wire::limits::{CLIENT_ID_BYTES_MAX, is_valid_name};
use ringmq_wire::native::schema::{GroupMemberT, SubscriptionT};

pub use view::{DirectorySnapshot, GroupView, MemberView};

use crate::node::{ControlError, Join};
use clients::{ClientLimits, Clients, Heartbeat};

/// Bounds of the directory.
#[derive(Debug, Clone, Copy)]
pub struct DirectoryLimits {
    /// Members of all groups.
    pub members_max: usize,
    /// Members of one group: each has at least one queue to read, or nothing to do.
    pub group_members_max: usize,
    /// Topics that one member subscribes to.
    pub subscriptions_max: usize,
    /// Bounds of what a member may ask for.
    pub session_timeout_ms_min: u32,
    pub session_timeout_ms_max: u32,
    /// Of RocketMQ's clients.
    pub clients: ClientLimits,
}

impl Default for DirectoryLimits {
    fn default() -> Self {
        Self {
            members_max: 20_000,
            group_members_max: 1_024,
            subscriptions_max: 4_096,
            session_timeout_ms_min: 1_000,
            session_timeout_ms_max: 300_000,
            clients: ClientLimits::default(),
        }
    }
}

/// The one that decides.
#[derive(Debug)]
pub struct Directory {
    limits: DirectoryLimits,
    version: u64,
    members: usize,
    groups: BTreeMap<String, Group>,
    clients: Clients,
    /// Copies of groups that did not change are shared with the last snapshot.
    published: BTreeMap<String, Arc<GroupView>>,
}

#[derive(Debug, Default)]
struct Group {
    version: u64,
    members: BTreeMap<String, Member>,
}

#[derive(Debug)]
struct Member {
    view: Arc<MemberView>,
    timeout_ms: u64,
    deadline_ms: u64,
    last_heartbeat_wall_ms: i64,
}

/// Both clocks, read once.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Monotonic.
    pub ms: u64,
    /// Unix time.
    pub wall_ms: i64,
}

impl Directory {
    /// An empty directory whose versions start above all of earlier runs.
    pub fn new(limits: DirectoryLimits, now: Now) -> Self {
        let version = u64::try_from(now.wall_ms).unwrap_or(0) * 1000;
        Self {
            limits,
            version,
            members: 0,
            groups: BTreeMap::new(),
            clients: Clients::new(limits.clients, version, now),
            published: BTreeMap::new(),
        }
    }

    /// Adds or refreshes a membership; says whether others must be told.
    pub fn join(&mut self, now: Now, join: Join) -> Result<bool, ControlError> {
        self.check(&join)?;
        let timeout_ms = u64::from(join.session_timeout_ms.clamp(
            self.limits.session_timeout_ms_min,
            self.limits.session_timeout_ms_max,
        ));
        let view = Arc::new(MemberView {
            member: join.member,
            client_address: join.client_address,
            subscriptions: join.subscriptions,
        });
        let group = self.groups.entry(join.group).or_default();
        let before = group.members.insert(
            view.member.clone(),
            Member {
                view: view.clone(),
                timeout_ms,
                deadline_ms: now.ms + timeout_ms,
                last_heartbeat_wall_ms: now.wall_ms,
            },
        );
        let changed = before
            .as_ref()
            .is_none_or(|old| old.view.subscriptions != view.subscriptions);
        if before.is_none() {
            self.members += 1;
        }
        if changed {
            self.version += 1;
            group.version = self.version;
        }
        Ok(changed)
    }

    /// Keeps a member; unknown ones are ignored, the shard has told them.
    pub fn heartbeat(&mut self, now: Now, group: &str, member: &str) {
        if let Some(member) = self
            .groups
            .get_mut(group)
            .and_then(|group| group.members.get_mut(member))
        {
            member.deadline_ms = now.ms + member.timeout_ms;
            member.last_heartbeat_wall_ms = now.wall_ms;
        }
    }

    /// Ends a membership; says whether there was one.
    pub fn leave(&mut self, group: &str, member: &str) -> bool {
        let Some(entry) = self.groups.get_mut(group) else {
            return false;
        };
        if entry.members.remove(member).is_none() {
            return false;
        }
        self.version += 1;
        entry.version = self.version;
        self.members -= 1;
        if entry.members.is_empty() {
            self.groups.remove(group);
        }
        true
    }

    /// Drops members that were silent for too long and names them.
    pub fn expire(&mut self, now: Now) -> Vec<(String, String)> {
        let mut gone = Vec::new();
        for (name, group) in &self.groups {
            for (member, entry) in &group.members {
                if entry.deadline_ms <= now.ms {
                    gone.push((name.clone(), member.clone()));
                }
            }
        }
        for (group, member) in &gone {
            self.leave(group, member);
        }
        gone
    }

    /// An immutable copy for the shards; what did not change since the last one is shared with it.
    pub fn snapshot(&mut self) -> Arc<DirectorySnapshot> {
        let mut views = BTreeMap::new();
        for (name, group) in &self.groups {
            let unchanged = self
                .published
                .get(name)
                .filter(|view| view.version == group.version);
            let view = match unchanged {
                Some(view) => view.clone(),
                None => Arc::new(GroupView {
                    version: group.version,
                    members: group
                        .members
                        .iter()
                        .map(|(name, member)| (name.clone(), member.view.clone()))
                        .collect(),
                }),
            };
            views.insert(name.clone(), view);
        }
        self.published.clone_from(&views);
        Arc::new(DirectorySnapshot::new(views, self.clients.snapshot()))
    }

    /// Puts a RocketMQ client's heartbeat into effect, without the groups that have native members. As
    /// [`Clients::register`].
    pub fn register(&mut self, now: Now, beat: Heartbeat) -> (bool, Result<(), ControlError>) {
        let mut beat = beat;
        let mut refused = Ok(());
        beat.consumers.retain(|consumer| {
            let native = self.groups.get(&consumer.group);
            let Some(member) = native.and_then(|group| group.members.values().next()) else {
                return true;
            };
            refused = Err(ControlError::new(
                ErrorCode::GroupOfOtherProtocol,
                format!(
                    "group {} has members of the native protocol ({} at {}); RocketMQ clients may join when they have left, or under another group name",
                    consumer.group, member.view.member, member.view.client_address
                ),
            ));
            false
        });
        let (changed, registered) = self.clients.register(now, beat);
        (changed, refused.and(registered))
    }

    /// RocketMQ's clients. To register one, use [`Self::register`].
    pub fn clients(&mut self) -> &mut Clients {
        &mut self.clients
    }

    /// Version and members of a group with their last heartbeats, sorted by name.
    pub fn members(&self, group: &str) -> (u64, Vec<GroupMemberT>) {
        let Some(group) = self.groups.get(group) else {
            return (0, Vec::new());
        };
        let members = group
            .members
            .values()
            .map(|member| member.view.to_wire(member.last_heartbeat_wall_ms))
            .collect();
        (group.version, members)
    }

    fn check(&self, join: &Join) -> Result<(), ControlError> {
        let refuse = |code, message: String| Err(ControlError::new(code, message));
        if !is_valid_name(&join.group) {
            return refuse(
                ErrorCode::InvalidName,
                format!("not a valid group name: {:?}", join.group),
            );
        }
        if join.member.is_empty() || join.member.len() > CLIENT_ID_BYTES_MAX {
            return refuse(
                ErrorCode::InvalidName,
                format!("a member name has 1 to {CLIENT_ID_BYTES_MAX} bytes"),
            );
        }
        if join.subscriptions.len() > self.limits.subscriptions_max {
            return refuse(
                ErrorCode::InvalidRequest,
                format!(
                    "a member may subscribe to at most {} topics",
                    self.limits.subscriptions_max
                ),
            );
        }
        if let Some(topic) = first_invalid_topic(&join.subscriptions) {
            return refuse(
                ErrorCode::InvalidName,
                format!("not a valid topic name: {topic:?}"),
            );
        }
        if let Some(client) = self.clients.any_consumer(&join.group) {
            return refuse(
                ErrorCode::GroupOfOtherProtocol,
                format!(
                    "group {} has members of the RocketMQ protocol ({} at {}); native ones may join when they have left, or under another group name",
                    join.group, client.client_id, client.address
                ),
            );
        }
        let group = self.groups.get(&join.group);
        if group.is_some_and(|group| group.members.contains_key(&join.member)) {
            return Ok(());
        }
        let in_group = group.map_or(0, |group| group.members.len());
        if in_group >= self.limits.group_members_max || self.members >= self.limits.members_max {
            return refuse(
                ErrorCode::Busy,
                format!(
                    "group {} has {in_group} members, this node {} in all; the limits are {} and {}",
                    join.group,
                    self.members,
                    self.limits.group_members_max,
                    self.limits.members_max
                ),
            );
        }
        Ok(())
    }
}

fn first_invalid_topic(subscriptions: &[SubscriptionT]) -> Option<&str> {
    subscriptions
        .iter()
        .map(|s| s.topic.as_str())
        .find(|topic| !is_valid_name(topic))
}

#[cfg(test)]
mod tests;
