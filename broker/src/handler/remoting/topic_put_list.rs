//! UPDATE_AND_CREATE_TOPIC_LIST (18): several topics as [`super::topic_put`] makes one. Stops at the first that cannot be;
//! those before it are there.

use super::config_body::read;
use super::{Answer, Caller, Refused, Request, topic_put};
use crate::shard::Shard;
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::remoting::body::topics::TopicConfigList;
use std::rc::Rc;

pub async fn handle<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    _caller: &Rc<Caller<D>>,
    request: &Request,
) -> Result<Answer, Refused> {
    let list: TopicConfigList = read(&request.body)?;
    let mut put = Vec::new();
    let mut refused = None;
    for topic in &list.topics {
        let changes: Vec<String> = topic.attributes.iter().map(change).collect();
        match topic_put::put(shard, topic, &changes.join(",")) {
            Ok(()) => put.push(topic.name.as_str()),
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    topic_put::done(shard, put).await?;
    refused.map_or_else(|| Ok(Answer::ok()), Err)
}

/// Tools write changes as `"+name": "value"` and `"-name": ""`, and what they read back without a sign.
fn change((name, value): (&String, &String)) -> String {
    match name.as_bytes().first() {
        Some(b'-') => name.clone(),
        Some(b'+') => format!("{name}={value}"),
        _ => format!("+{name}={value}"),
    }
}
