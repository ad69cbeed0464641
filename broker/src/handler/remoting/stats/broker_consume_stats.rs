//! 317: how far every group is, in one answer.

use super::super::{Answer, Caller, Refused, Request};
use super::consume_stats;
use crate::handler::records::settled;
use crate::shard::Shard;
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use serde_json::Value;
use std::rc::Rc;

pub async fn handle<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    _caller: &Rc<Caller<D>>,
    request: &Request,
) -> Result<Answer, Refused> {
    let ordered: bool = request.command.required("isOrder")?;
    shard.flush_commits();
    let groups: Vec<String> = shard.with_state(|state| {
        // Tools ask for ordered groups and for the others in turn.
        let is_asked = |group: &str| {
            let settings = state.group_settings(group);
            settings.is_some_and(|settings| settings.consume_orderly) == ordered
        };
        let names = state.groups().map(|(name, _)| name);
        names
            .filter(|name| is_asked(name))
            .map(str::to_owned)
            .collect()
    });
    settled(shard).await?;
    let (mut entries, mut behind) = (Vec::new(), 0);
    for group in groups {
        let places = consume_stats::places(shard, &group, &[]);
        if places.is_empty() {
            continue;
        }
        behind += places
            .iter()
            .map(|place| {
                let committed = place.committed.unwrap_or(place.queue.range.min);
                place.queue.range.visible.0.saturating_sub(committed.0)
            })
            .sum::<u64>();
        let stats = consume_stats::stats(shard, &group, &places).await;
        entries.push(format!("{{{}:[{stats}]}}", Value::from(group)));
    }
    let address = Value::from(shard.address());
    let body = format!(
        r#"{{"brokerAddr":{address},"consumeStatsList":[{}],"totalDiff":{behind},"totalInflightDiff":0}}"#,
        entries.join(",")
    );
    Ok(Answer::ok().body(body.into_bytes()))
}
