//! Which brokers there are, and their write permission: requests 106, 901, 205 and 327.

use super::routes::shard_data;
use super::{Answer, Handled, Request};
use crate::broker_table::{BrokerName, BrokerTable};
use crate::connection::Shared;
use crate::route_table::RouteTable;
use ringmq_wire::remoting::body::routes::{BrokerData, ClusterInfo, MemberGroup, Members};
use ringmq_wire::remoting::response_code;

pub(super) fn info(shared: &Shared) -> Handled {
    let mut info = ClusterInfo::default();
    for broker in shared.directory.look(all) {
        let cluster = info.clusters.entry(broker.cluster.clone()).or_default();
        cluster.insert(broker.name.clone());
        info.brokers.insert(broker.name.clone(), broker);
    }
    Ok(Answer::json(&info))
}

/// Shards and RocketMQ brokers.
pub(super) fn all(table: &RouteTable, brokers: &BrokerTable) -> Vec<BrokerData> {
    let names = brokers.names();
    let brokers = names.map(|(name, entry)| broker_data(name, entry));
    table.live_shards().map(shard_data).chain(brokers).collect()
}

pub(super) fn broker_data(name: &str, entry: &BrokerName) -> BrokerData {
    let brokers = entry.brokers.iter();
    BrokerData {
        addresses: brokers
            .map(|(id, broker)| (*id, broker.address.clone()))
            .collect(),
        name: name.to_owned(),
        cluster: entry.cluster.clone(),
        enable_acting_master: entry.enable_acting_master,
    }
}

pub(super) fn members(shared: &Shared, request: &Request<'_>) -> Handled {
    let cluster: String = request.command.required("clusterName")?;
    let name: String = request.command.required("brokerName")?;
    let found = shared.directory.look(all).into_iter();
    let mut found = found.filter(|broker| broker.cluster == cluster && broker.name == name);
    let addresses = found.next().map(|broker| broker.addresses);
    Ok(Answer::json(&MemberGroup {
        broker_member_group: Members {
            addresses: addresses.unwrap_or_default(),
            name,
            cluster,
        },
    }))
}

/// Until it is restored, whatever the broker registers.
pub(super) fn wipe(shared: &Shared, request: &Request<'_>) -> Handled {
    set_wiped(shared, request, true, "wipeTopicCount")
}

pub(super) fn restore(shared: &Shared, request: &Request<'_>) -> Handled {
    set_wiped(shared, request, false, "addTopicCount")
}

fn set_wiped(shared: &Shared, request: &Request<'_>, wiped: bool, count: &'static str) -> Handled {
    let name: String = request.command.required("brokerName")?;
    let topics = shared.directory.set_wiped(&name, wiped);
    Ok(match topics {
        Some(topics) => {
            tracing::info!(broker = %name, topics, wiped, "write permission changed by a tool");
            Answer::ok().field(count, topics)
        }
        None => {
            let remark = format!("broker {name} is not registered");
            Answer::error(response_code::SYSTEM_ERROR, remark).field(count, 0)
        }
    })
}
