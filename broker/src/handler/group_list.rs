//! GroupList: groups with members at this node or with committed offsets at this shard.

use super::records::settled;
use super::{Refusal, SessionInfo};
use crate::shard::Shard;
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::native::schema::{GroupListRequestT, GroupListResponseT, GroupSummaryT};
use std::collections::BTreeMap;

pub async fn handle<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    _session: &SessionInfo,
    _request: GroupListRequestT,
) -> Result<GroupListResponseT, Refusal> {
    // Members, committed queues.
    let mut groups: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for (name, view) in shard.node().directory().groups() {
        groups.entry(name.clone()).or_default().0 = view.members.len();
    }
    shard.with_state(|state| {
        for (name, group) in state.groups() {
            let committed = group
                .queues()
                .filter(|(_, queue)| queue.committed.is_some());
            groups.entry(name.to_owned()).or_default().1 = committed.count();
        }
    });
    settled(shard).await?;
    let summary = |(group, (members, queues)): (String, (usize, usize))| {
        let mut summary = GroupSummaryT::default();
        summary.group = group;
        summary.members = u32::try_from(members).unwrap_or(u32::MAX);
        summary.queues_committed = u32::try_from(queues).unwrap_or(u32::MAX);
        summary
    };
    let mut response = GroupListResponseT::default();
    response.groups = Some(groups.into_iter().map(summary).collect());
    Ok(response)
}
