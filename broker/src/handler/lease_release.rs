//! LeaseRelease: a member gives queues back, so that others need not wait for its term to end.
//!
//! Giving back what one does not hold changes nothing and is no error.

use super::records::{ENTRIES_MAX, append, error_number, local_queue, settled, topic};
use super::{Refusal, SessionInfo};
use crate::shard::Shard;
use crate::state::{ControlRecord, groups, leases};
use ringmq_storage_engine::position::QueueHandle;
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::native::schema::{LeaseReleaseRequestT, LeaseReleaseResponseT};
use std::collections::BTreeSet;

pub async fn handle<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    _session: &SessionInfo,
    request: LeaseReleaseRequestT,
) -> Result<LeaseReleaseResponseT, Refusal> {
    groups::check_name(&request.group)?;
    groups::check_member(&request.member)?;
    let queues = request.queues.unwrap_or_default();
    let found = shard.with_state(|state| {
        let topic = topic(state, &request.topic)?;
        let found = queues.iter().map(|&queue| local_queue(topic, queue));
        Ok::<Vec<_>, Refusal>(found.collect())
    });
    let local = found.iter().flatten().filter_map(|found| found.ok());
    let held: BTreeSet<QueueHandle> = shard.with_state(|state| {
        let is_held = |handle: &QueueHandle| {
            leases::is_releasable(state, &request.group, &request.member, *handle)
        };
        local.filter(is_held).collect()
    });
    release(shard, &request.group, held)?;
    settled(shard).await?;
    Ok(LeaseReleaseResponseT {
        errors: Some(found?.iter().map(error_number).collect()),
    })
}

/// Gives back every queue that the member holds on this shard; durable when this returns.
pub async fn release_all<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    group: &str,
    member: &str,
) -> Result<(), Refusal> {
    let held = shard.with_state(|state| leases::held_by(state, group, member));
    release(shard, group, held.into_iter().collect())?;
    settled(shard).await
}

fn release<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    group: &str,
    held: BTreeSet<QueueHandle>,
) -> Result<(), Refusal> {
    let held: Vec<QueueHandle> = held.into_iter().collect();
    for handles in held.chunks(ENTRIES_MAX) {
        let record = ControlRecord::LeaseRelease {
            group: group.into(),
            handles: handles.to_vec(),
        };
        append(shard, &record)?;
    }
    Ok(())
}
