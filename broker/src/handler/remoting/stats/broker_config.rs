//! 26: the configuration in RocketMQ's names, as far as they mean something here. The same at every shard of the node,
//! but for the shard's own name and address.

use super::super::{Answer, Caller, Refused, Request};
use crate::shard::Shard;
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use serde_json::json;
use std::fmt::Write;
use std::rc::Rc;

/// Whether topics, and groups, come into being by use.
pub(super) const TOPICS: &str = "autoCreateTopicEnable";
pub(super) const GROUPS: &str = "autoCreateSubscriptionGroup";

const HOUR_MS: i64 = 3_600_000;

pub async fn handle<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    _caller: &Rc<Caller<D>>,
    _request: &Request,
) -> Result<Answer, Refused> {
    let mut body = String::new();
    for (name, value) in properties(shard) {
        // A property file has no line breaks in its values, and none of these has one.
        let _ = writeln!(body, "{name}={value}");
    }
    let version =
        json!({ "counter": 0, "stateVersion": 0, "timestamp": shard.node().identity().epoch });
    Ok(Answer::ok()
        .field("version", version)
        .body(body.into_bytes()))
}

/// Names and values, sorted.
pub(super) fn properties<D: Disk, R: Runtime>(shard: &Shard<D, R>) -> Vec<(&'static str, String)> {
    let identity = shard.node().identity();
    let makes_topics = shard.node().automatic().topics.or(identity.auto_create);
    let address = shard.address();
    let (host, port) = address.rsplit_once(':').unwrap_or((address, "0"));
    let retention_hours = shard.settings().retention_ms.map_or(0, |ms| ms / HOUR_MS);
    let permission = if shard.is_writable() { 6 } else { 4 };
    let mut properties = vec![
        (GROUPS, shard.makes_groups().to_string()),
        (TOPICS, makes_topics.to_string()),
        ("brokerClusterName", identity.cluster.clone()),
        ("brokerIP1", host.to_owned()),
        ("brokerId", 0.to_string()),
        ("brokerName", shard.name().to_owned()),
        ("brokerPermission", permission.to_string()),
        ("brokerRole", "SYNC_MASTER".to_owned()),
        (
            "defaultTopicQueueNums",
            identity.auto_create_queues.to_string(),
        ),
        ("enablePropertyFilter", false.to_string()),
        ("fileReservedTime", retention_hours.to_string()),
        ("flushDiskType", "SYNC_FLUSH".to_owned()),
        ("listenPort", port.to_owned()),
        ("longPollingEnable", true.to_string()),
        (
            "maxMessageSize",
            shard.limits().message_bytes_max.to_string(),
        ),
        ("messageIndexEnable", true.to_string()),
        (
            "msgTraceTopicName",
            crate::state::system::TRACE_TOPIC.to_owned(),
        ),
        ("notifyConsumerIdsChangedEnable", true.to_string()),
        ("regionId", "DefaultRegion".to_owned()),
        ("slaveReadEnable", false.to_string()),
        ("traceOn", true.to_string()),
        ("traceTopicEnable", true.to_string()),
    ];
    properties.sort_unstable_by_key(|(name, _)| *name);
    properties
}
