//! `LOCK_BATCH_MQ` (41) and `UNLOCK_BATCH_MQ` (42): a client owns queues for its group, to consume them in order.
//!
//! A lock is a lease of 60 s in the shard's state, in one table with those of native members, so neither protocol
//! takes a queue from the other. Each lock is a record of its own, because each is renewed for itself.

use super::{refuse_native, unreadable};
use crate::handler::records::{append, settled};
use crate::handler::remoting::{Answer, Caller, Refused, Request};
use crate::shard::Shard;
use crate::state::leases::{Acquire, acquire, is_releasable};
use crate::state::limits::LOCK_TERM_MS;
use crate::state::{ControlRecord, ShardState, groups, offsets};
use ringmq_storage_engine::position::QueueHandle;
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::remoting::body::{
    self,
    locks::{LockAnswer, LockRequest, MessageQueue},
};
use std::rc::Rc;

pub async fn lock<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    _caller: &Rc<Caller<D>>,
    request: &Request,
) -> Result<Answer, Refused> {
    let wanted = read(request)?;
    refuse_native(shard, &wanted.group)?;
    let mut queues = Vec::with_capacity(wanted.queues.len());
    for queue in &wanted.queues {
        let handle = shard.with_state(|state| find(shard, state, queue));
        if let Some(handle) = handle
            && take(shard, &wanted.group, &wanted.client_id, handle)?
        {
            queues.push(queue.clone());
        }
    }
    settled(shard).await?;
    Ok(Answer::ok().body(body::encode(&LockAnswer { queues })))
}

pub async fn unlock<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    _caller: &Rc<Caller<D>>,
    request: &Request,
) -> Result<Answer, Refused> {
    let given = read(request)?;
    let (group, client) = (given.group.as_str(), given.client_id.as_str());
    let mut handles: Vec<QueueHandle> = shard.with_state(|state| {
        let queues = given.queues.iter();
        let handles = queues.filter_map(|queue| find(shard, state, queue));
        let held = handles.filter(|handle| is_releasable(state, group, client, *handle));
        held.collect()
    });
    handles.sort_unstable();
    handles.dedup();
    if !handles.is_empty() {
        let group = group.into();
        append(shard, &ControlRecord::LeaseRelease { group, handles })?;
    }
    settled(shard).await?;
    Ok(Answer::ok())
}

/// Queues of one request: a topic has at most so many.
const QUEUES_MAX: usize = 4_096;

fn read(request: &Request) -> Result<LockRequest, Refused> {
    let read: LockRequest = body::decode(&request.body).map_err(|error| unreadable(&error))?;
    groups::check_name(&read.group)?;
    groups::check_member(&read.client_id)?;
    if read.queues.len() > QUEUES_MAX {
        let count = read.queues.len();
        let remark = format!("{count} queues in one request, the limit is {QUEUES_MAX}");
        return Err(Refused::new(
            ringmq_wire::remoting::response_code::INVALID_PARAMETER,
            remark,
        ));
    }
    Ok(read)
}

/// Queues of other brokers, and those that are not there, are nobody's to lock here.
fn find<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    state: &ShardState,
    queue: &MessageQueue,
) -> Option<QueueHandle> {
    if queue.broker_name != shard.name() {
        return None;
    }
    let id = usize::try_from(queue.queue_id).ok()?;
    state.topic(&queue.topic)?.handles.get(id).copied()
}

/// Whether the client has the queue now.
fn take<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    group: &str,
    client: &str,
    handle: QueueHandle,
) -> Result<bool, Refused> {
    let now = shard.now();
    let outcome = shard.with_state(|state| {
        let outcome = shard.with_leases(|deadlines| {
            acquire(state, deadlines, group, client, handle, LOCK_TERM_MS, now)
        });
        if outcome == Acquire::Grant && state.group_queue(group, handle).is_none() {
            offsets::room(state, 1)?;
        }
        Ok::<_, Refused>(outcome)
    })?;
    let lease = match outcome {
        Acquire::Grant => append(
            shard,
            &ControlRecord::LeaseGrant {
                group: group.into(),
                member: client.into(),
                term_ms: LOCK_TERM_MS,
                handles: vec![handle],
            },
        )?,
        Acquire::Held { lease } => lease,
        Acquire::Refused { .. } => return Ok(false),
    };
    shard.with_leases(|deadlines| deadlines.mark_lock(lease, now));
    Ok(true)
}
