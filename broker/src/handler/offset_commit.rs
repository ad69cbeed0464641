//! OffsetCommit: a member's progress in queues whose leases it holds.
//!
//! One control record for all commits of a request that change something; group commit makes them share writes
//! with whatever else is under way.

use super::records::{ENTRIES_MAX, append, local_queue, range, settled};
use super::{Refusal, SessionInfo};
use crate::shard::Shard;
use crate::state::offsets::{self, Commit};
use crate::state::record::GroupOffsets;
use crate::state::{ControlRecord, ShardState, groups};
use ringmq_storage_engine::position::{Position, QueueHandle, QueueOffset};
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::codes::ErrorCode;
use ringmq_wire::native::schema::{OffsetCommitRequestT, OffsetCommitResponseT, OffsetCommitT};
use std::collections::BTreeMap;

pub async fn handle<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    _session: &SessionInfo,
    request: OffsetCommitRequestT,
) -> Result<OffsetCommitResponseT, Refusal> {
    groups::check_name(&request.group)?;
    let member = request.member.unwrap_or_default();
    groups::check_member(&member)?;
    let commits = request.commits.unwrap_or_default();
    let mut errors = Vec::with_capacity(commits.len());
    // A queue may be in the request twice: the furthest counts.
    let mut changed: BTreeMap<QueueHandle, QueueOffset> = BTreeMap::new();
    shard.with_state(|state| {
        for commit in &commits {
            let outcome = decide(shard, state, &request.group, &member, commit);
            errors.push(outcome.as_ref().err().map_or(0, |code| code.number()));
            if let Ok((handle, Some(offset))) = outcome {
                let entry = changed.entry(handle).or_insert(offset);
                *entry = offset.max(*entry);
            }
        }
    });
    let changed: Vec<_> = changed.into_iter().collect();
    for offsets in changed.chunks(ENTRIES_MAX) {
        let offsets = GroupOffsets {
            group: request.group.as_str().into(),
            offsets: offsets.to_vec(),
        };
        append(shard, &ControlRecord::OffsetsPut(vec![offsets]))?;
    }
    settled(shard).await?;
    Ok(OffsetCommitResponseT {
        errors: Some(errors),
    })
}

fn decide<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    state: &ShardState,
    group: &str,
    member: &str,
    commit: &OffsetCommitT,
) -> Result<(QueueHandle, Option<QueueOffset>), ErrorCode> {
    let topic = state.topic(&commit.topic).ok_or(ErrorCode::TopicNotFound)?;
    let handle = local_queue(topic, commit.queue)?;
    let commit = Commit {
        group,
        member,
        lease: Position(commit.lease),
        handle,
        offset: QueueOffset(commit.offset),
    };
    let decided = offsets::commit(state, range(shard, state, handle), commit);
    match decided {
        Ok(offset) => Ok((handle, offset)),
        Err(refuse) => Err(refuse.code),
    }
}
