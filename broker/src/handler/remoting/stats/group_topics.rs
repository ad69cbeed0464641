//! 343: the topics that a group reads.

use super::super::{Answer, Caller, Refused, Request};
use super::{json, queues};
use crate::handler::records::settled;
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
    let topics = shard.with_state(|state| queues::topics_of_group(state, &group));
    settled(shard).await?;
    Ok(json(
        &json!({ "brokerAddr": shard.address(), "topicList": topics }),
    ))
}
