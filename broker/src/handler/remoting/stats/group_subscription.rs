//! 345: what a group's members want of a topic; `null` while the group has no members.

use super::super::{Answer, Caller, Refused, Request};
use super::json;
use crate::shard::Shard;
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use serde_json::json;
use std::rc::Rc;

pub async fn handle<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    _caller: &Rc<Caller<D>>,
    request: &Request,
) -> Result<Answer, Refused> {
    let group: String = request.command.required("group")?;
    let topic: Option<String> = request.command.optional("topic")?;
    let directory = shard.node().directory();
    let members = directory.clients().consumers(&group);
    let found = members.and_then(|members| members.subscriptions.get(topic.as_deref()?));
    Ok(json(&json!({
        "group": group,
        "subscriptionData": found.map(|found| &**found),
        "topic": topic,
    })))
}
