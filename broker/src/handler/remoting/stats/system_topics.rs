//! 305: the topics that the broker has made for itself.

use super::super::{Answer, Caller, Refused, Request};
use super::json;
use crate::handler::records::settled;
use crate::shard::Shard;
use crate::state::system::is_system_topic;
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use serde_json::json;
use std::rc::Rc;

pub async fn handle<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    _caller: &Rc<Caller<D>>,
    _request: &Request,
) -> Result<Answer, Refused> {
    let cluster = shard.settings().cluster.as_str();
    let topics: Vec<String> = shard.with_state(|state| {
        let names = state.topics().map(|(name, _)| name);
        let system = names.filter(|name| is_system_topic(name, cluster, shard.name()));
        system.map(str::to_owned).collect()
    });
    settled(shard).await?;
    Ok(json(
        &json!({ "brokerAddr": shard.address(), "topicList": topics }),
    ))
}
