//! Committed offsets of consumer groups.
//!
//! A native member commits under its lease. Values are clamped to [min, visible]. A commit that does not move
//! forward writes nothing: a late repeat is harmless, and going back is for an operator's reset alone. A RocketMQ client
//! commits without a lease, and may go back.

use super::{Refuse, ShardState, groups};
use ringmq_storage_engine::position::{Position, QueueHandle, QueueOffset};
use ringmq_wire::codes::ErrorCode;

/// What a queue holds at the moment of deciding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueRange {
    pub min: QueueOffset,
    /// End of what consumers may read.
    pub visible: QueueOffset,
}

impl QueueRange {
    pub fn clamp(self, offset: QueueOffset) -> QueueOffset {
        // An empty range (all is gone) has min = visible.
        offset.min(self.visible).max(self.min.min(self.visible))
    }
}

/// A member's commit for one queue.
#[derive(Debug, Clone, Copy)]
pub struct Commit<'a> {
    pub group: &'a str,
    pub member: &'a str,
    pub lease: Position,
    pub handle: QueueHandle,
    pub offset: QueueOffset,
}

/// Decides on one commit: the offset to write, `None` if nothing changes.
pub fn commit(
    state: &ShardState,
    range: QueueRange,
    commit: Commit<'_>,
) -> Result<Option<QueueOffset>, Refuse> {
    let entry = state.group_queue(commit.group, commit.handle);
    let lease = entry.and_then(|entry| entry.lease.as_ref());
    if !lease.is_some_and(|lease| lease.id == commit.lease && *lease.member == *commit.member) {
        return Err(Refuse::new(
            ErrorCode::LeaseLost,
            format!(
                "member {} of group {} does not hold lease {} of this queue",
                commit.member, commit.group, commit.lease
            ),
        ));
    }
    let committed = entry.and_then(|entry| entry.committed);
    let offset = range.clamp(commit.offset);
    Ok(Some(offset).filter(|&offset| committed.is_none_or(|committed| offset > committed)))
}

/// What a commit by a RocketMQ client comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemotingCommit {
    /// To be written.
    pub offset: QueueOffset,
    /// The offset that was committed, if the new one is below it: worth a line in the log.
    pub back_from: Option<QueueOffset>,
}

/// Decides on a commit by a RocketMQ client: no lease, backwards too, clamped to what is there. `None`: nothing
/// changes. That the group may commit is the caller's to check ([`super::group_settings`]).
pub fn remoting_commit(
    state: &ShardState,
    range: QueueRange,
    group: &str,
    handle: QueueHandle,
    offset: QueueOffset,
) -> Result<Option<RemotingCommit>, Refuse> {
    groups::check_name(group)?;
    if state.queue(handle).is_none() {
        return Err(Refuse::new(
            ErrorCode::QueueNotFound,
            "the queue is not on this shard",
        ));
    }
    let entry = state.group_queue(group, handle);
    if entry.is_none() {
        room(state, 1)?;
    }
    let offset = range.clamp(offset);
    let committed = entry.and_then(|entry| entry.committed);
    if committed == Some(offset) {
        return Ok(None);
    }
    Ok(Some(RemotingCommit {
        offset,
        back_from: committed.filter(|&committed| committed > offset),
    }))
}

/// Decides on an operator's reset of one queue: the offset to write. `is_held`: a member's lease is running.
pub fn reset(
    state: &ShardState,
    range: QueueRange,
    group: &str,
    handle: QueueHandle,
    offset: QueueOffset,
    force: bool,
    is_held: bool,
) -> Result<Option<QueueOffset>, Refuse> {
    if is_held && !force {
        return Err(Refuse::new(
            ErrorCode::LeaseHeld,
            format!(
                "a member of group {group} is consuming this queue; stop it, or force the reset"
            ),
        ));
    }
    let entry = state.group_queue(group, handle);
    if entry.is_none() {
        room(state, 1)?;
    }
    let offset = range.clamp(offset);
    let unchanged =
        entry.is_some_and(|entry| entry.committed == Some(offset) && entry.lease.is_none());
    Ok(Some(offset).filter(|_| !unchanged))
}

/// Whether the table takes `added` more (group, queue) entries.
pub fn room(state: &ShardState, added: usize) -> Result<(), Refuse> {
    let limit = state.limits().group_queues_max;
    if state.group_queue_count() + added <= limit {
        return Ok(());
    }
    Err(Refuse::new(
        ErrorCode::Busy,
        format!(
            "the shard keeps {limit} pairs of group and queue; delete groups that are not used"
        ),
    ))
}
