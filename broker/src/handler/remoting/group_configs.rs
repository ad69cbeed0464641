//! GET_ALL_SUBSCRIPTIONGROUP_CONFIG (201): the settings of all groups on this shard, with the version of the table.

use super::config_body::{data_version, group_config};
use super::{Answer, Caller, Refused, Request};
use crate::handler::records::settled;
use crate::shard::Shard;
use crate::state::GroupSettings;
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::remoting::body;
use ringmq_wire::remoting::body::groups::GroupTable;
use std::collections::BTreeMap;
use std::rc::Rc;

/// The bit of RocketMQ's forbidden table that keeps a group from reading.
const FORBID_READ: i32 = 1;

pub async fn handle<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    _caller: &Rc<Caller<D>>,
    _request: &Request,
) -> Result<Answer, Refused> {
    let table = shard.with_state(|state| {
        let mut table = GroupTable {
            data_version: data_version(state.meta().groups_version),
            ..GroupTable::default()
        };
        for (group, settings) in state.all_group_settings() {
            let config = group_config(group, settings);
            table.groups.insert(group.to_owned(), config);
            if !settings.forbidden.is_empty() {
                let forbidden = forbidden(settings);
                table.forbidden_table.insert(group.to_owned(), forbidden);
            }
        }
        table
    });
    settled(shard).await?;
    Ok(Answer::ok().body(body::encode(&table)))
}

fn forbidden(settings: &GroupSettings) -> BTreeMap<String, i32> {
    let topics = settings.forbidden.iter();
    topics
        .map(|topic| (topic.to_string(), FORBID_READ))
        .collect()
}
