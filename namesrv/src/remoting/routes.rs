//! Where a topic is: request 105.

use super::{Answer, Handled, Request};
use crate::broker_table::{BrokerTable, shown_perm};
use crate::connection::Shared;
use crate::route_table::{RouteTable, Shard, share_rights};
use ringmq_wire::native::schema::TopicRecordT;
use ringmq_wire::remoting::body::routes::{BrokerData, QueueData, TopicRoute};
use ringmq_wire::remoting::response_code;

pub(super) fn route(shared: &Shared, request: &Request<'_>) -> Handled {
    let topic: String = request.command.required("topic")?;
    let route = shared
        .directory
        .look(|table, brokers| route_of(table, brokers, &topic));
    if !route.brokers.is_empty() {
        return Ok(Answer::json(&route));
    }
    if shared.directory.is_settling() {
        let remark = "name server not ready: it started a moment ago and may not know all brokers";
        return Ok(Answer::error(response_code::SYSTEM_ERROR, remark));
    }
    let remark = format!("No topic route info in name server for the topic: {topic}");
    Ok(Answer::error(response_code::TOPIC_NOT_EXIST, remark))
}

/// The route of a topic; without brokers, if nobody serves it.
fn route_of(table: &RouteTable, brokers: &BrokerTable, topic: &str) -> TopicRoute {
    let mut route = TopicRoute::default();
    for (shard, record) in table.shares(topic) {
        route.brokers.push(shard_data(shard));
        route.queues.push(share_queues(shard, record));
    }
    for (name, entry) in brokers.names() {
        if let Some(config) = entry.topics.get(topic) {
            route
                .brokers
                .push(super::clusters::broker_data(name, entry));
            route.queues.push(QueueData {
                broker_name: name.to_string(),
                perm: shown_perm(entry, config),
                read_queues: config.read_queues,
                sys_flag: config.sys_flag,
                write_queues: config.write_queues,
            });
        }
    }
    route
}

/// A shard as the only broker of its name.
pub(super) fn shard_data(shard: &Shard) -> BrokerData {
    BrokerData {
        addresses: [(crate::broker_table::MASTER_ID, shard.address.clone())].into(),
        name: shard.name.to_string(),
        cluster: shard.cluster.clone(),
        enable_acting_master: false,
    }
}

fn share_queues(shard: &Shard, record: &TopicRecordT) -> QueueData {
    let rights = share_rights(record, &shard.name, shard.takes_messages());
    QueueData {
        broker_name: shard.name.to_string(),
        perm: rights.perm,
        read_queues: rights.read_queues,
        sys_flag: sys_flag(record),
        write_queues: rights.write_queues,
    }
}

/// The marks of a topic that tools list topics by.
pub(super) fn sys_flag(record: &TopicRecordT) -> i32 {
    record
        .settings
        .as_ref()
        .map_or(0, |settings| settings.sys_flag)
}
