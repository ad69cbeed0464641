//! GET_SUBSCRIPTIONGROUP_CONFIG (352): the settings of one group on this shard.

use super::config_body::group_config;
use super::{Answer, Caller, Refused, Request};
use crate::handler::records::settled;
use crate::shard::Shard;
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::remoting::{body, response_code};
use std::rc::Rc;

pub async fn handle<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    _caller: &Rc<Caller<D>>,
    request: &Request,
) -> Result<Answer, Refused> {
    let group: String = request.command.required("group")?;
    let config = shard.with_state(|state| {
        let settings = state.group_settings(&group)?;
        Some(group_config(&group, settings))
    });
    settled(shard).await?;
    let missing = || {
        Refused::new(
            response_code::SUBSCRIPTION_GROUP_NOT_EXIST,
            format!("No group in this broker. group: {group}"),
        )
    };
    Ok(Answer::ok().body(body::encode(&config.ok_or_else(missing)?)))
}
