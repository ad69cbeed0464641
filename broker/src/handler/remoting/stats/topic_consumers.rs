//! 300: the groups that read a topic: those with a committed offset, and those whose members subscribe to it now.

use super::super::{Answer, Caller, Refused, Request};
use super::json;
use crate::handler::records::settled;
use crate::shard::Shard;
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use serde_json::json;
use std::collections::BTreeSet;
use std::rc::Rc;

pub async fn handle<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    _caller: &Rc<Caller<D>>,
    request: &Request,
) -> Result<Answer, Refused> {
    let name: String = request.command.required("topic")?;
    let mut groups: BTreeSet<String> = shard.with_state(|state| {
        let Some(topic) = state.topic(&name) else {
            return BTreeSet::new();
        };
        let reads = |group: &str| {
            let mut queues = topic.handles.iter();
            queues.any(|&handle| state.committed(group, handle).is_some())
        };
        let names = state.groups().map(|(group, _)| group);
        names
            .filter(|group| reads(group))
            .map(str::to_owned)
            .collect()
    });
    settled(shard).await?;
    let directory = shard.node().directory();
    let live = directory.clients().consumer_groups();
    let live = live.filter(|(_, group)| group.subscriptions.contains_key(name.as_str()));
    groups.extend(live.map(|(group, _)| group.to_string()));
    Ok(json(&json!({ "groupList": groups })))
}
