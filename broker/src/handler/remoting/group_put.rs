//! UPDATE_AND_CREATE_SUBSCRIPTIONGROUP (200) and its list (225): settings of groups on this shard.

use super::config_body::{group_settings as settings_of, read};
use super::{Answer, Caller, Refused, Request};
use crate::handler::records::{append, settled};
use crate::shard::Shard;
use crate::state::group_settings;
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::remoting::body::groups::{GroupConfig, GroupConfigList};
use ringmq_wire::remoting::request_code;
use std::rc::Rc;

pub async fn handle<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    caller: &Rc<Caller<D>>,
    request: &Request,
) -> Result<Answer, Refused> {
    let is_list = request.command.code == request_code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST;
    let groups = if is_list {
        read::<GroupConfigList>(&request.body)?.groups
    } else {
        vec![read(&request.body)?]
    };
    let put = groups.into_iter().try_for_each(|group| put(shard, group));
    settled(shard).await?;
    put?;
    tracing::info!(client = %caller.peer(), "groups put by RocketMQ's tools");
    Ok(Answer::ok())
}

fn put<D: Disk, R: Runtime>(shard: &Shard<D, R>, config: GroupConfig) -> Result<(), Refused> {
    let group = config.name.clone();
    let mut settings = settings_of(config);
    let record = shard.with_state(|state| {
        // Which topics it may not read is another request's to change.
        let old = state.group_settings(&group);
        settings.forbidden = old.map_or_else(Vec::new, |old| old.forbidden.clone());
        group_settings::put(state, &group, settings)
    })?;
    if let Some(record) = record {
        append(shard, &record)?;
    }
    Ok(())
}
