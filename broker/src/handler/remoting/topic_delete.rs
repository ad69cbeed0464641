//! DELETE_TOPIC_IN_BROKER (215): this shard's share of a topic, with its queues and what groups had in them.

use super::topic_put::{check_not_system, done};
use super::{Answer, Caller, Refused, Request};
use crate::handler::records::append;
use crate::shard::Shard;
use crate::state::{ControlRecord, topics};
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use std::rc::Rc;

pub async fn handle<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    caller: &Rc<Caller<D>>,
    request: &Request,
) -> Result<Answer, Refused> {
    let name: String = request.command.required("topic")?;
    check_not_system(shard, &name)?;
    let record = shard.with_state(|state| {
        let incarnation = state.topic(&name).map_or(0, |topic| topic.incarnation);
        topics::delete(state, &name, incarnation)
    })?;
    if let Some(record) = &record {
        append(shard, record)?;
    }
    done(shard, [name.as_str()]).await?;
    if let Some(ControlRecord::TopicRemove { handles, .. }) = &record {
        shard.queues_removed(handles);
        tracing::info!(topic = name, client = %caller.peer(), "topic deleted by RocketMQ's tools");
    }
    Ok(Answer::ok())
}
