//! Where the topic's queues are, by the route that RocketMQ's clients use.

use super::connection::{self, Frames, call};
use crate::BenchError;
use crate::args::Common;
use crate::cluster::{Found, Share, Target};
use crate::socket::Socket;
use ringmq_wire::remoting::{Command, request_code, response_code};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Reading and writing.
const PERM: u32 = 6;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Route {
    #[serde(default)]
    queue_datas: Vec<QueueData>,
    #[serde(default)]
    broker_datas: Vec<BrokerData>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct QueueData {
    broker_name: String,
    write_queue_nums: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BrokerData {
    broker_name: String,
    /// By broker number; 0 is the one to write to.
    broker_addrs: BTreeMap<String, String>,
}

impl Route {
    fn shares(self) -> Vec<Share> {
        let address = |name: &str| {
            let broker = self
                .broker_datas
                .iter()
                .find(|one| one.broker_name == name)?;
            broker.broker_addrs.get("0").cloned()
        };
        let share = |data: &QueueData| {
            Some(Share {
                address: address(&data.broker_name)?,
                queues: (0..data.write_queue_nums).collect(),
            })
        };
        self.queue_datas.iter().filter_map(share).collect()
    }
}

/// What a name server knows of the topic.
async fn route_of(name_server: &str, topic: &str) -> Result<Option<Vec<Share>>, BenchError> {
    let mut socket = Socket::<Frames>::connect(name_server).await?;
    let operation = "ask for a route of";
    let request = Command::request(request_code::GET_ROUTEINFO_BY_TOPIC, 1)
        .field("topic", topic)
        .field("acceptStandardJsonOnly", true);
    let answer = connection::ask(&mut socket, operation, request, &[]).await?;
    if answer.command.code == response_code::TOPIC_NOT_EXIST {
        return Ok(None);
    }
    if let Some(refusal) = answer.refusal() {
        return Err(refusal.into_error(operation, name_server));
    }
    let route: Route =
        serde_json::from_slice(&answer.body).map_err(|error| socket.protocol(operation, error))?;
    Ok(Some(route.shares()))
}

/// As [`route_of`], for [`crate::cluster::find`].
pub(crate) async fn ask(name_server: &str, topic: &str) -> Result<Found, BenchError> {
    Ok(match route_of(name_server, topic).await? {
        Some(shards) if !shards.is_empty() => Found::Whole(Target {
            topic: topic.to_string(),
            queues: shards.iter().map(|share| share.queues.len() as u32).sum(),
            shards,
        }),
        _ => Found::Not(format!("topic {topic} does not exist")),
    })
}

/// Makes the topic on all brokers that would make it by themselves, unless it exists.
pub(crate) async fn create_topic(common: &Common) -> Result<(), BenchError> {
    let name_server = common.name_servers().next().unwrap_or_default();
    if route_of(name_server, &common.topic).await?.is_some() {
        return Ok(());
    }
    // Every broker that takes new topics is in the route of the topic that is their pattern.
    let brokers = route_of(name_server, "TBW102").await?.unwrap_or_default();
    if brokers.is_empty() {
        let what = format!("{name_server} knows no broker that makes topics by itself");
        return Err(BenchError::Cluster(what));
    }
    let each = common.queues.div_ceil(brokers.len() as u32);
    for broker in brokers {
        let mut socket = Socket::<Frames>::connect(&broker.address).await?;
        let request = Command::request(request_code::UPDATE_AND_CREATE_TOPIC, 1)
            .field("topic", &common.topic)
            .field("defaultTopic", "TBW102")
            .field("readQueueNums", each)
            .field("writeQueueNums", each)
            .field("perm", PERM)
            .field("topicFilterType", "SINGLE_TAG")
            .field("topicSysFlag", 0)
            .field("order", false);
        call(&mut socket, "make the topic at", request).await?;
    }
    Ok(())
}
