//! `GET_CONSUMER_LIST_BY_GROUP` (38): the ids of a group's clients, in the same order wherever it is asked.
//!
//! Members divide queues among themselves by this list, so it must not depend on which shard is asked.

use crate::handler::remoting::{Answer, Caller, Refused, Request};
use crate::shard::Shard;
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::remoting::body::{self, groups::ConsumerIds};
use ringmq_wire::remoting::response_code;
use std::rc::Rc;

pub async fn handle<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    _caller: &Rc<Caller<D>>,
    request: &Request,
) -> Result<Answer, Refused> {
    let group = request.command.required::<String>("consumerGroup")?;
    let directory = shard.directory();
    let Some(consumers) = directory.clients().consumers(&group) else {
        let remark = format!("no consumer for this group, {group}");
        return Err(Refused::new(response_code::SYSTEM_ERROR, remark));
    };
    let ids = consumers.clients();
    let ids = ids.map(|connections| connections[0].client.client_id.to_string());
    let body = body::encode(&ConsumerIds { ids: ids.collect() });
    Ok(Answer::ok().body(body))
}
