//! `UNREGISTER_CLIENT` (35): a client leaves a group on this connection; those on other shards are its own to end.

use crate::handler::remoting::{Answer, Caller, Refused, Request};
use crate::shard::Shard;
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use std::rc::Rc;

pub async fn handle<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    caller: &Rc<Caller<D>>,
    request: &Request,
) -> Result<Answer, Refused> {
    let group = |name: &str| {
        let group = request.command.get(name).filter(|group| !group.is_empty());
        group.map(str::to_owned)
    };
    let connection = shard.connection_id(caller.number());
    let (consumers, producers) = (group("consumerGroup"), group("producerGroup"));
    let node = shard.node();
    node.unregister_client(connection, consumers, producers)
        .await?;
    Ok(Answer::ok())
}
