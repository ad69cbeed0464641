//! `GET_PRODUCER_CONNECTION_LIST` (204): the connections of a group of producers; `GET_ALL_PRODUCER_INFO` (328): those
//! of all groups, with their last heartbeats.

use super::{listed, on_one_shard};
use crate::handler::remoting::{Answer, Caller, Refused, Request};
use crate::shard::Shard;
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::remoting::body::{self, connections::ProducerConnections};
use ringmq_wire::remoting::response_code;
use serde::Serialize;
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

/// A producer as the second request lists it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    client_id: String,
    language: &'static str,
    last_update_timestamp: i64,
    #[serde(rename = "remoteIP")]
    remote_ip: String,
    version: i32,
}

#[derive(Debug, Serialize)]
struct AllProducers {
    data: BTreeMap<String, Vec<Listed>>,
}

pub async fn all<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    _caller: &Rc<Caller<D>>,
    _request: &Request,
) -> Result<Answer, Refused> {
    let mut data: BTreeMap<String, Vec<Listed>> = BTreeMap::new();
    for producer in shard.node().producers().await? {
        let client = &producer.client;
        data.entry(producer.group.to_string())
            .or_default()
            .push(Listed {
                client_id: client.client_id.to_string(),
                language: client.language.name(),
                last_update_timestamp: producer.last_heartbeat_ms,
                remote_ip: client.address.to_string(),
                version: client.version,
            });
    }
    Ok(Answer::ok().body(body::encode(&AllProducers { data })))
}
