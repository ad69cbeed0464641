//! GroupDelete: forgets what a group committed at this shard, and what RocketMQ's tools set for it. Refused while
//! somebody is in it.

use super::records::{append_all, settled};
use super::{Refusal, SessionInfo};
use crate::shard::Shard;
use crate::state::{group_settings, groups};
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::codes::ErrorCode;
use ringmq_wire::native::schema::{GroupDeleteRequestT, GroupDeleteResponseT};

pub async fn handle<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    _session: &SessionInfo,
    request: GroupDeleteRequestT,
) -> Result<GroupDeleteResponseT, Refusal> {
    groups::check_name(&request.group)?;
    if let Some(view) = shard.node().group(&request.group) {
        let names: Vec<&str> = view.members.keys().take(3).map(String::as_str).collect();
        return Err(Refusal::new(
            ErrorCode::GroupNotEmpty,
            format!(
                "group {} has {} members ({} …); stop them first",
                request.group,
                view.members.len(),
                names.join(", ")
            ),
        ));
    }
    let directory = shard.directory();
    if let Some(consumers) = directory.clients().consumers(&request.group) {
        let mut clients = consumers.clients();
        let first = clients.next().and_then(|connections| connections.first());
        return Err(Refusal::new(
            ErrorCode::GroupNotEmpty,
            format!(
                "group {} has RocketMQ clients ({} …); stop them first",
                request.group,
                first.map_or("", |member| &member.client.client_id)
            ),
        ));
    }
    shard.forget_group(&request.group);
    let now = shard.now();
    let records = shard.with_leases(|deadlines| {
        shard.with_state(|state| {
            let offsets = groups::delete(state, deadlines, &request.group, now)?;
            let settings = group_settings::remove(state, &request.group);
            Ok::<_, Refusal>(offsets.into_iter().chain(settings).collect::<Vec<_>>())
        })
    })?;
    append_all(shard, &records)?;
    settled(shard).await?;
    let mut response = GroupDeleteResponseT::default();
    response.existed = !records.is_empty();
    Ok(response)
}
