//! Committing what is done, at the shards that own the queues.

use super::{queue::QueueState, shared::Shared};
use crate::error::{Error, Refusal};
use ringmq_wire::{codes::ErrorCode, native::schema};
use std::{collections::BTreeMap, sync::Arc, time::Instant};

/// A queue, the offset to commit, the lease to commit it under.
type Moved = (Arc<QueueState>, u64, u64);

/// What a round of commits came to.
#[derive(Debug, Default)]
pub(super) struct Committed {
    /// Queues whose lease is gone: another member has them.
    pub(super) lost: Vec<Arc<QueueState>>,
    /// The first thing that went wrong.
    pub(super) error: Option<Error>,
}

/// Commits the frontiers of `states` that moved.
pub(super) async fn commit(
    shared: &Shared,
    member: &str,
    states: &[Arc<QueueState>],
    deadline: Instant,
) -> Committed {
    let mut by_shard: BTreeMap<Arc<str>, Vec<Moved>> = BTreeMap::new();
    for state in states {
        if let Some((offset, lease)) = state.to_commit() {
            let share = by_shard.entry(Arc::clone(&state.shard)).or_default();
            share.push((Arc::clone(state), offset, lease));
        }
    }
    let rounds = by_shard
        .iter()
        .map(|(shard, share)| commit_share(shared, member, shard, share, deadline));
    let mut all = Committed::default();
    for round in futures_util::future::join_all(rounds).await {
        all.lost.extend(round.lost);
        all.error = all.error.or(round.error);
    }
    all
}

async fn commit_share(
    shared: &Shared,
    member: &str,
    shard: &str,
    share: &[Moved],
    deadline: Instant,
) -> Committed {
    let commit = |(state, offset, lease): &Moved| schema::OffsetCommitT {
        topic: state.queue.topic.to_string(),
        queue: state.queue.queue,
        offset: *offset,
        lease: *lease,
    };
    let group = shared.group().unwrap_or_default();
    let request = schema::OffsetCommitRequestT {
        group: group.to_owned(),
        member: Some(member.to_owned()),
        commits: Some(share.iter().map(commit).collect()),
    };
    let mut done = Committed::default();
    let answer = match shared
        .core
        .call_shard_until(shard, &request, deadline)
        .await
    {
        Ok(answer) => answer,
        Err(error) => {
            done.error = Some(error.during("commit offsets of group", group));
            return done;
        }
    };
    let errors = answer.errors.unwrap_or_default();
    for (index, (state, offset, _)) in share.iter().enumerate() {
        match errors.get(index).copied().unwrap_or(0) {
            0 => state.committed(*offset),
            code => {
                let refusal = Refusal::from_number(code, "");
                if refusal.code == Some(ErrorCode::LeaseLost) {
                    done.lost.push(Arc::clone(state));
                }
                let object = state.queue.to_string();
                let error = Error::new("commit offset of", object, refusal);
                done.error.get_or_insert(error);
            }
        }
    }
    done
}
