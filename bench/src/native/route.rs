//! Where the topic's queues are, by RingMQ's name servers.

use super::connection::Connection;
use crate::BenchError;
use crate::args::Common;
use crate::cluster::{Found, Share, Target};
use ringmq::{Client, TopicSpec};
use ringmq_wire::codes::{ErrorCode, Kind};
use ringmq_wire::native::{encode, header, schema};

/// Makes the topic unless it exists.
pub(crate) async fn create_topic(common: &Common) -> Result<(), BenchError> {
    let failed = |error: ringmq::Error| BenchError::Cluster(error.to_string());
    let client = Client::builder()
        .namesrv(common.name_servers())
        .build()
        .await
        .map_err(failed)?;
    let spec = TopicSpec::new(&common.topic, common.queues);
    match client.admin().create_topic(&spec).await {
        Ok(_) => Ok(()),
        // Made earlier with another number of queues: it is used as it is, and reported so.
        Err(error) if error.code() == Some(ErrorCode::TopicExists) => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

/// What a name server knows of the topic.
pub(crate) async fn ask(name_server: &str, topic: &str) -> Result<Found, BenchError> {
    let mut connection = Connection::open(name_server).await?;
    let request = schema::RouteQueryRequestT {
        topics: Some(vec![topic.to_string()]),
    };
    let kind = Kind::RouteQuery;
    let answer = connection
        .call(kind, |id| encode(kind, 0, id, 0, |b| request.pack(b)))
        .await?;
    let answer = header::<schema::RouteQueryResponse>(answer.header())
        .map_err(|error| connection.socket.protocol(kind.name(), error))?
        .unpack();
    let route = answer.routes.unwrap_or_default().pop();
    let Some(record) = route.and_then(|route| route.record) else {
        return Ok(Found::Not(format!(
            "topic {topic} does not exist; make it with: ringmq topic create {topic} --queues 8"
        )));
    };
    let placement = record.placement.unwrap_or_default();
    let live = answer.shards.unwrap_or_default();
    let mut shards = Vec::new();
    for (index, name) in placement.iter().enumerate() {
        let Some(shard) = live.iter().find(|shard| shard.shard == *name) else {
            return Ok(Found::Not(format!(
                "shard {name} of topic {topic} is not live"
            )));
        };
        let queues: Vec<u32> = (0..record.queues)
            .filter(|queue| *queue as usize % placement.len() == index)
            .collect();
        if !queues.is_empty() {
            shards.push(Share {
                address: shard.address.clone(),
                queues,
            });
        }
    }
    if shards.is_empty() {
        return Ok(Found::Not(format!(
            "topic {topic} is not placed on any shard"
        )));
    }
    Ok(Found::Whole(Target {
        topic: topic.to_string(),
        queues: record.queues,
        shards,
    }))
}
