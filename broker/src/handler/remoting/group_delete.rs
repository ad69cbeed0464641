//! DELETE_SUBSCRIPTIONGROUP (207): the settings of a group on this shard, and its offsets if that is asked for. Tools
//! delete its retry and dead-letter topics by further requests.

use super::{Answer, Caller, Refused, Request};
use crate::handler::records::{append_all, settled};
use crate::shard::Shard;
use crate::state::{ControlRecord, group_settings, groups};
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use std::rc::Rc;

pub async fn handle<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    caller: &Rc<Caller<D>>,
    request: &Request,
) -> Result<Answer, Refused> {
    let group: String = request.command.required("groupName")?;
    let with_offsets = request.command.optional("cleanOffset")?.unwrap_or(false);
    groups::check_name(&group)?;
    if with_offsets {
        shard.forget_group(&group);
    }
    let records = shard.with_state(|state| {
        let has_offsets = with_offsets && state.group(&group).is_some();
        let offsets = has_offsets.then(|| ControlRecord::GroupRemove {
            group: group.as_str().into(),
        });
        let settings = group_settings::remove(state, &group);
        settings.into_iter().chain(offsets).collect::<Vec<_>>()
    });
    append_all(shard, &records)?;
    settled(shard).await?;
    if !records.is_empty() {
        tracing::info!(group, with_offsets, client = %caller.peer(), "group deleted by RocketMQ's tools");
    }
    Ok(Answer::ok())
}
