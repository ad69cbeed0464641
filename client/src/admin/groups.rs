//! Consumer groups: members live at nodes, offsets and leases at shards, so all shards are asked.

use super::Admin;
use crate::{
    consumer::Queue,
    error::{Error, ErrorKind, Refusal},
};
use ringmq_wire::{codes::ErrorCode, native::schema};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

/// A group in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupSummary {
    /// Its name.
    pub group: String,
    /// Live members.
    pub members: u32,
    /// Queues with a committed offset.
    pub queues_committed: u32,
}

/// A group in full.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupDescription {
    /// Its name.
    pub group: String,
    /// Live members, by name.
    pub members: Vec<GroupMember>,
    /// Queues with a committed offset or a lease, by topic and number.
    pub queues: Vec<GroupQueue>,
    /// Shards that did not answer, and why.
    pub unreachable: Vec<(String, String)>,
}

/// A live member.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupMember {
    /// Its name.
    pub member: String,
    /// Where it connects from.
    pub client_address: String,
    /// What it reads.
    pub topics: Vec<String>,
    /// Unix time.
    pub last_heartbeat_ms: i64,
}

/// Where a group stands in one queue.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupQueue {
    /// Topic and queue.
    pub queue: Queue,
    /// The next offset to read; `None`: nothing was committed.
    pub committed: Option<u64>,
    /// Oldest offset that is still there.
    pub min_offset: u64,
    /// End of what consumers may read.
    pub visible_offset: u64,
    /// The member that reads it.
    pub holder: Option<String>,
    /// How long its lease runs at most.
    pub lease_remaining_ms: u32,
}

impl GroupQueue {
    /// Messages between the committed offset (or the oldest message) and the end.
    pub fn lag(&self) -> u64 {
        let from = self
            .committed
            .unwrap_or(self.min_offset)
            .max(self.min_offset);
        self.visible_offset.saturating_sub(from)
    }
}

impl Admin {
    /// All groups, by name.
    pub async fn list_groups(&self) -> Result<Vec<GroupSummary>, Error> {
        let deadline = self.core.deadline();
        let mut groups: BTreeMap<String, GroupSummary> = BTreeMap::new();
        // Every shard of a node tells the node's members: count them once a node.
        let mut told: BTreeMap<(String, String), u32> = BTreeMap::new();
        for place in self.core.cluster_shards(deadline).await? {
            let request = schema::GroupListRequestT::default();
            let answer = self
                .core
                .call_shard(&place.shard, &request, deadline)
                .await?;
            let node = place.node.unwrap_or(place.shard);
            for found in answer.groups.unwrap_or_default() {
                let summary = groups
                    .entry(found.group.clone())
                    .or_insert_with(|| GroupSummary {
                        group: found.group.clone(),
                        members: 0,
                        queues_committed: 0,
                    });
                summary.queues_committed += found.queues_committed;
                let members = told.entry((found.group, node.clone())).or_default();
                *members = found.members.max(*members);
            }
        }
        // A member joins at every node that serves its topics.
        for ((group, _), members) in told {
            if let Some(summary) = groups.get_mut(&group) {
                summary.members = summary.members.max(members);
            }
        }
        Ok(groups.into_values().collect())
    }

    /// One group: its members, and where it stands in each queue.
    pub async fn describe_group(&self, group: &str) -> Result<GroupDescription, Error> {
        let deadline = self.core.deadline();
        let mut found = false;
        let mut members = BTreeMap::new();
        let mut queues = Vec::new();
        let mut unreachable = Vec::new();
        for place in self.core.cluster_shards(deadline).await? {
            let request = schema::GroupDescribeRequestT {
                group: group.to_owned(),
            };
            match self.core.call_shard(&place.shard, &request, deadline).await {
                Ok(answer) => {
                    let told = answer.members.unwrap_or_default();
                    let here = answer.queues.unwrap_or_default();
                    found |= !told.is_empty() || !here.is_empty();
                    members.extend(told.into_iter().map(|m| (m.member.clone(), read_member(m))));
                    queues.extend(here.into_iter().map(read_queue));
                }
                Err(error) if error.code() == Some(ErrorCode::GroupNotFound) => {}
                Err(error) => unreachable.push((place.shard, error.to_string())),
            }
        }
        if !found && unreachable.is_empty() {
            return Err(group_not_found("describe group", group));
        }
        queues.sort_by(|a: &GroupQueue, b| a.queue.cmp(&b.queue));
        let members = members.into_values().collect();
        Ok(GroupDescription {
            group: group.to_owned(),
            members,
            queues,
            unreachable,
        })
    }

    /// Deletes a group's offsets; `false`: there was no such group. Refused while it has members.
    pub async fn delete_group(&self, group: &str) -> Result<bool, Error> {
        let deadline = self.core.deadline();
        let shards = self.core.cluster_shards(deadline).await?;
        let shards: BTreeSet<String> = shards.into_iter().map(|place| place.shard).collect();
        self.refuse_if_members(group, &shards, deadline).await?;
        let mut existed = false;
        for shard in &shards {
            let request = schema::GroupDeleteRequestT {
                group: group.to_owned(),
            };
            match self.core.call_shard_until(shard, &request, deadline).await {
                Ok(answer) => existed |= answer.existed,
                Err(error) if error.code() == Some(ErrorCode::GroupNotFound) => {}
                Err(error) => return Err(error.during("delete group", group)),
            }
        }
        Ok(existed)
    }

    /// Members live at some nodes only; none may be overlooked before offsets go at others.
    async fn refuse_if_members(
        &self,
        group: &str,
        shards: &BTreeSet<String>,
        deadline: Instant,
    ) -> Result<(), Error> {
        for shard in shards {
            let request = schema::GroupDescribeRequestT {
                group: group.to_owned(),
            };
            let members = match self.core.call_shard_until(shard, &request, deadline).await {
                Ok(answer) => answer.members.map_or(0, |members| members.len()),
                Err(error) if error.code() == Some(ErrorCode::GroupNotFound) => 0,
                Err(error) => return Err(error.during("delete group", group)),
            };
            if members > 0 {
                let text = format!("it has {members} members");
                let refusal = Refusal::from_number(ErrorCode::GroupNotEmpty.number(), text);
                return Err(Error::new("delete group", group, refusal));
            }
        }
        Ok(())
    }
}

fn group_not_found(operation: &'static str, group: &str) -> Error {
    let refusal = Refusal::from_number(ErrorCode::GroupNotFound.number(), "no such group");
    Error::new(operation, group, ErrorKind::Refused(refusal))
}

fn read_member(member: schema::GroupMemberT) -> GroupMember {
    let subscriptions = member.subscriptions.unwrap_or_default();
    GroupMember {
        member: member.member,
        client_address: member.client_address.unwrap_or_default(),
        topics: subscriptions.into_iter().map(|s| s.topic).collect(),
        last_heartbeat_ms: member.last_heartbeat_ms,
    }
}

fn read_queue(queue: schema::GroupQueueT) -> GroupQueue {
    GroupQueue {
        queue: Queue::new(queue.topic, queue.queue),
        committed: queue.committed.then_some(queue.offset),
        min_offset: queue.min_offset,
        visible_offset: queue.visible_offset,
        holder: queue.holder.filter(|holder| !holder.is_empty()),
        lease_remaining_ms: queue.lease_remaining_ms,
    }
}
