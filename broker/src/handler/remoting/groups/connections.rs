//! `GET_CONSUMER_CONNECTION_LIST` (203): the connections of a group's members, and how they consume.

use super::{listed, on_one_shard};
use crate::handler::remoting::{Answer, Caller, Refused, Request};
use crate::shard::Shard;
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::remoting::body::{self, connections::ConsumerConnections};
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
        let remark = format!("the consumer group[{group}] not online");
        return Err(Refused::new(response_code::CONSUMER_NOT_ONLINE, remark));
    };
    let clients = consumers.clients();
    let connections = clients.flat_map(|connections| on_one_shard(shard, connections));
    let subscriptions = consumers.subscriptions.iter();
    let body = body::encode(&ConsumerConnections {
        connections: connections.map(|member| listed(member)).collect(),
        consume_from_where: consumers.settings.consume_from,
        consume_type: consumers.settings.consume_type,
        message_model: consumers.settings.message_model,
        subscriptions: subscriptions
            .map(|(topic, subscription)| (topic.clone(), (**subscription).clone()))
            .collect(),
    });
    Ok(Answer::ok().body(body))
}
