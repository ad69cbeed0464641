//! `GET_PRODUCER_CONNECTION_LIST` (204): the connections of a group of producers; `GET_ALL_PRODUCER_INFO` (328): those
//! of all groups, with their last heartbeats.

use super::{listed, on_one_shard};
use crate::directory::clients::ProducerListing;
use crate::handler::remoting::{Answer, Caller, Refused, Request};
use crate::shard::Shard;
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::remoting::body::{self, connections::ProducerConnections};
use ringmq_wire::remoting::response_code;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::rc::Rc;

pub async fn of_group<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    _caller: &Rc<Caller<D>>,
    request: &Request,
) -> Result<Answer, Refused> {
    let group = request.command.required::<String>("producerGroup")?;
    let directory = shard.directory();
    let Some(members) = directory.clients().producers(&group) else {
        let remark = format!("the producer group[{group}] not exist");
        return Err(Refused::new(response_code::SYSTEM_ERROR, remark));
    };
    let clients = members.chunk_by(|a, b| a.client.client_id == b.client.client_id);
    let connections = clients.flat_map(|connections| on_one_shard(shard, connections));
    let connections = connections.map(|member| listed(member)).collect();
    Ok(Answer::ok().body(body::encode(&ProducerConnections { connections })))
}

/// A producer as the second request lists it: in the names of Java's clients and in those of the Rust client
/// (rocketmq-protocol 1.0.0), each of which passes over the other's.
fn in_all_names(producer: &ProducerListing) -> Value {
    let client = &producer.client;
    let (id, address) = (&*client.client_id, client.address.to_string());
    json!({
        "clientId": id, "client_id": id,
        "language": client.language.name(),
        "lastUpdateTimestamp": producer.last_heartbeat_ms,
        "last_update_timestamp": producer.last_heartbeat_ms,
        "remoteIP": address, "remote_ip": address,
        "version": client.version,
    })
}

#[derive(Debug, Serialize)]
struct AllProducers {
    data: BTreeMap<String, Vec<Value>>,
}

pub async fn all<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    _caller: &Rc<Caller<D>>,
    _request: &Request,
) -> Result<Answer, Refused> {
    let mut data: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for producer in shard.node().producers().await? {
        let listed = data.entry(producer.group.to_string()).or_default();
        listed.push(in_all_names(&producer));
    }
    Ok(Answer::ok().body(body::encode(&AllProducers { data })))
}
