//! LeaseAcquire: a member asks to own queues for its group.
//!
//! A queue that nobody holds, or whose holder was silent for its term, is granted by a record whose position is the
//! lease id. A queue that the member holds already is renewed without a record. The answer also tells where the
//! group is in the queue, and the term in `remaining_ms`.

use super::records::{ENTRIES_MAX, append, local_queue, settled, topic};
use super::{Refusal, SessionInfo};
use crate::shard::Shard;
use crate::state::leases::{Acquire, acquire, term_ms};
use crate::state::{ControlRecord, ShardState, Topic, groups, offsets};
use ringmq_storage_engine::position::QueueHandle;
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::codes::ErrorCode;
use ringmq_wire::native::schema::{LeaseAcquireRequestT, LeaseAcquireResponseT, QueueLeaseT};
use std::collections::BTreeSet;
use std::time::Duration;

pub async fn handle<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    _session: &SessionInfo,
    request: LeaseAcquireRequestT,
) -> Result<LeaseAcquireResponseT, Refusal> {
    groups::check_name(&request.group)?;
    groups::check_member(&request.member)?;
    let term_ms = term_ms(request.term_ms);
    let now = shard.now();
    grant(shard, &request, term_ms, now)?;
    let answer = shard.with_state(|state| {
        let topic = topic(state, &request.topic)?;
        let queues = request.queues.as_deref().unwrap_or_default();
        let leases = queues
            .iter()
            .map(|&queue| tell(shard, state, &request, topic, queue, now));
        Ok::<_, Refusal>(LeaseAcquireResponseT {
            leases: Some(leases.collect()),
        })
    });
    settled(shard).await?;
    answer
}

/// Grants what can be granted and renews what the member holds.
fn grant<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    request: &LeaseAcquireRequestT,
    term_ms: u32,
    now: Duration,
) -> Result<(), Refusal> {
    let (group, member) = (request.group.as_str(), request.member.as_str());
    let granted: BTreeSet<QueueHandle> = shard.with_state(|state| {
        let topic = topic(state, &request.topic)?;
        let queues = request.queues.as_deref().unwrap_or_default();
        let local = queues.iter().filter_map(|&queue| topic.handle(queue));
        let granted: BTreeSet<QueueHandle> = shard.with_leases(|deadlines| {
            let is_granted = |handle: &QueueHandle| {
                let outcome = acquire(state, deadlines, group, member, *handle, term_ms, now);
                outcome == Acquire::Grant
            };
            let granted = local.filter(is_granted).collect();
            // A member that asks is alive, so what it holds already runs for another term.
            deadlines.renew(state, group, member, now);
            granted
        });
        let is_new = |handle: &&QueueHandle| state.group_queue(group, **handle).is_none();
        offsets::room(state, granted.iter().filter(is_new).count())?;
        Ok::<_, Refusal>(granted)
    })?;
    let granted: Vec<QueueHandle> = granted.into_iter().collect();
    for handles in granted.chunks(ENTRIES_MAX) {
        let record = ControlRecord::LeaseGrant {
            group: group.into(),
            member: member.into(),
            term_ms,
            handles: handles.to_vec(),
        };
        append(shard, &record)?;
        shard.with_leases(|deadlines| deadlines.mark(group, member, now));
    }
    Ok(())
}

fn tell<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    state: &ShardState,
    request: &LeaseAcquireRequestT,
    topic: &Topic,
    queue: u32,
    now: Duration,
) -> QueueLeaseT {
    let mut told = QueueLeaseT {
        queue,
        ..QueueLeaseT::default()
    };
    let handle = match local_queue(topic, queue) {
        Ok(handle) => handle,
        Err(code) => {
            told.error = code.number();
            return told;
        }
    };
    let entry = state.group_queue(&request.group, handle);
    if let Some(offset) = entry.and_then(|entry| entry.committed) {
        told.committed = true;
        told.offset = offset.0;
    }
    if let Some(lease) = entry.and_then(|entry| entry.lease.as_ref()) {
        let remaining =
            shard.with_leases(|deadlines| deadlines.remaining(&request.group, lease, now));
        told.remaining_ms = u32::try_from(remaining.as_millis()).unwrap_or(u32::MAX);
        if *lease.member == *request.member {
            told.lease = lease.id.0;
        } else {
            told.error = ErrorCode::LeaseHeld.number();
            told.holder = Some(lease.member.to_string());
        }
    }
    told
}
