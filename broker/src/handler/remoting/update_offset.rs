//! 15: a group commits where it is in a queue. The commit bit of a pull does the same.
//!
//! RocketMQ's clients commit without a lease, and backwards too: that is logged. One-way commits are gathered for up
//! to a second, so that consumers that commit with each pull do not write with each pull.

use super::groups::refuse_native;
use super::{Answer, Caller, Refused, Request, queues};
use crate::handler::records::{append, range, settled};
use crate::shard::Shard;
use crate::shard::commits::{self, PendingCommits};
use crate::state::offsets::{RemotingCommit, remoting_commit};
use crate::state::record::GroupOffsets;
use crate::state::{ControlRecord, topics};
use ringmq_storage_engine::position::{QueueHandle, QueueOffset};
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::remoting::response_code;
use std::rc::Rc;

pub async fn handle<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    _caller: &Rc<Caller<D>>,
    request: &Request,
) -> Result<Answer, Refused> {
    let command = &request.command;
    let group: String = command.required("consumerGroup")?;
    let topic: String = command.required("topic")?;
    let missing = |_| {
        Refused::new(
            response_code::INVALID_PARAMETER,
            "queueId or commitOffset is missing",
        )
    };
    let queue_id: i32 = command.required("queueId").map_err(missing)?;
    let offset: i64 = command.required("commitOffset").map_err(missing)?;
    refuse_native(shard, &group)?;
    if shard.with_state(|state| state.group_settings(&group).is_none()) {
        return Err(Refused::new(
            response_code::SUBSCRIPTION_GROUP_NOT_EXIST,
            format!("group {group} does not exist on {}", shard.name()),
        ));
    }
    if shard.with_state(|state| state.topic(&topic).is_none()) {
        return Err(topics::not_found(&topic).into());
    }
    let handle = queues::find(shard, &topic, queue_id).ok_or_else(|| {
        Refused::new(
            response_code::INVALID_PARAMETER,
            format!(
                "queue {queue_id} of topic {topic} is not on {}",
                shard.name()
            ),
        )
    })?;
    if shard.with_resets(|resets| resets.holds(&group, handle)) {
        // An operator moved the group, and this consumer has yet to hear of it.
        return Ok(Answer::ok());
    }
    if command.is_oneway() {
        later(shard, &group, handle, offset)?;
    } else {
        now(shard, &group, handle, offset)?;
        settled(shard).await?;
    }
    Ok(Answer::ok())
}

/// Commits at once; durable after [`settled`].
fn now<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    group: &str,
    handle: QueueHandle,
    offset: i64,
) -> Result<(), Refused> {
    shard.with_commits(|commits| commits.forget(group, handle));
    let Some(offset) = decide(shard, group, handle, offset)? else {
        return Ok(());
    };
    let offsets = GroupOffsets {
        group: group.into(),
        offsets: vec![(handle, offset)],
    };
    append(shard, &ControlRecord::OffsetsPut(vec![offsets]))?;
    Ok(())
}

/// Commits within a second, together with others.
pub(super) fn later<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    group: &str,
    handle: QueueHandle,
    offset: i64,
) -> Result<(), Refused> {
    match decide(shard, group, handle, offset)? {
        Some(offset) => {
            if !shard.with_commits(|commits| commits.put(group, handle, offset)) {
                let remark = "too many commits wait for the log";
                return Err(Refused::new(response_code::SYSTEM_BUSY, remark));
            }
            see_to_writing(shard);
        }
        // What is stored already is where the group is now, whatever was about to be stored.
        None => shard.with_commits(|commits| commits.forget(group, handle)),
    }
    Ok(())
}

fn see_to_writing<D: Disk, R: Runtime>(shard: &Shard<D, R>) {
    if !shard.with_commits(PendingCommits::wants_writer) {
        return;
    }
    let writing = shard.clone();
    shard.runtime().spawn(async move {
        loop {
            writing.runtime().sleep(commits::DELAY).await;
            writing.flush_commits();
            if writing.with_commits(PendingCommits::is_written) || writing.is_stopping() {
                return;
            }
        }
    });
}

fn decide<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    group: &str,
    handle: QueueHandle,
    offset: i64,
) -> Result<Option<QueueOffset>, Refused> {
    let offset = QueueOffset(u64::try_from(offset).unwrap_or(0));
    let decided = shard.with_state(|state| {
        remoting_commit(state, range(shard, state, handle), group, handle, offset)
    })?;
    let Some(RemotingCommit { offset, back_from }) = decided else {
        return Ok(None);
    };
    if let Some(before) = back_from {
        tracing::info!(
            shard = shard.name(),
            group,
            queue = handle.0,
            from = before.0,
            to = offset.0,
            "a RocketMQ client commits an offset backwards"
        );
    }
    Ok(Some(offset))
}
