//! Where the topic's queues are, and which connection serves which of them.

use crate::BenchError;
use crate::args::Common;
use crate::connection::Connection;
use ringmq::{Client, TopicSpec};
use ringmq_wire::codes::{ErrorCode, Kind};
use ringmq_wire::native::{encode, header, schema};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How long a new topic may take to appear in the routes.
const ROUTE_PATIENCE: Duration = Duration::from_secs(15);
const ROUTE_RETRY: Duration = Duration::from_millis(50);

/// The topic on the cluster.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) topic: String,
    pub(crate) queues: u32,
    shards: Vec<Share>,
}

#[derive(Debug, Clone)]
struct Share {
    address: String,
    queues: Vec<u32>,
}

/// What one connection works on.
#[derive(Debug, Clone)]
pub(crate) struct Lane {
    pub(crate) address: String,
    pub(crate) topic: String,
    pub(crate) queues: Vec<u32>,
}

/// Finds the topic; makes it if that is wanted.
pub(crate) async fn find(common: &Common, create: bool) -> Result<Target, BenchError> {
    if create {
        create_topic(common).await?;
    }
    let deadline = Instant::now()
        + if create {
            ROUTE_PATIENCE
        } else {
            Duration::ZERO
        };
    loop {
        match ask_any(common).await? {
            Found::Whole(target) => return Ok(target),
            Found::Not(why) if Instant::now() >= deadline => return Err(BenchError::Cluster(why)),
            Found::Not(_) => tokio::time::sleep(ROUTE_RETRY).await,
        }
    }
}

async fn create_topic(common: &Common) -> Result<(), BenchError> {
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

enum Found {
    Whole(Target),
    Not(String),
}

/// Asks the name servers in turn until one answers.
async fn ask_any(common: &Common) -> Result<Found, BenchError> {
    let mut last = BenchError::Cluster("no name server is given".into());
    for address in common.name_servers() {
        match ask(address, &common.topic).await {
            Ok(found) => return Ok(found),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn ask(name_server: &str, topic: &str) -> Result<Found, BenchError> {
    let mut connection = Connection::open(name_server).await?;
    let request = schema::RouteQueryRequestT {
        topics: Some(vec![topic.to_string()]),
    };
    let kind = Kind::RouteQuery;
    let answer = connection
        .call(kind, |id| encode(kind, 0, id, 0, |b| request.pack(b)))
        .await?;
    let answer = header::<schema::RouteQueryResponse>(answer.header())
        .map_err(|error| connection.protocol(kind.name(), error))?
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

impl Target {
    /// Deals the queues to connections: at least one a shard, at most as many as asked for.
    pub(crate) fn lanes(&self, connections: u32) -> Vec<Lane> {
        let shards = self.shards.len();
        let lanes = (connections as usize).max(shards);
        let lane = |number: usize| {
            let share = &self.shards[number % shards];
            // This lane's number among those of its shard, and how many those are.
            let (mine, of) = (number / shards, (lanes - number % shards).div_ceil(shards));
            let queues = share.queues.iter().enumerate();
            let mut queues: Vec<u32> = queues
                .filter(|(index, _)| index % of == mine)
                .map(|(_, queue)| *queue)
                .collect();
            if queues.is_empty() {
                // More connections than queues: they share.
                queues.push(share.queues[mine % share.queues.len()]);
            }
            Lane {
                address: share.address.clone(),
                topic: self.topic.clone(),
                queues,
            }
        };
        (0..lanes).map(lane).collect()
    }

    /// Shards as far as their addresses are numbers.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.shards
            .iter()
            .filter_map(|share| share.address.parse().ok())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(shards: u32, queues: u32) -> Target {
        let share = |shard: u32| Share {
            address: format!("127.0.0.1:{}", 10_911 + 10 * shard),
            queues: (0..queues)
                .filter(|queue| queue % shards == shard)
                .collect(),
        };
        let shards = (0..shards).map(share).collect();
        Target {
            topic: "t".into(),
            queues,
            shards,
        }
    }

    #[test]
    fn every_queue_has_one_lane_as_long_as_there_are_enough() {
        for (shards, queues, connections) in [(1, 8, 1), (2, 8, 3), (3, 7, 5), (2, 16, 16)] {
            let lanes = target(shards, queues).lanes(connections);
            assert_eq!(lanes.len() as u32, connections.max(shards));
            let mut all: Vec<u32> = lanes.iter().flat_map(|lane| lane.queues.clone()).collect();
            all.sort_unstable();
            assert_eq!(
                all,
                (0..queues).collect::<Vec<_>>(),
                "{shards} {queues} {connections}"
            );
        }
    }

    #[test]
    fn more_lanes_than_queues_share_them() {
        let lanes = target(1, 2).lanes(5);
        assert_eq!(lanes.len(), 5);
        assert!(lanes.iter().all(|lane| !lane.queues.is_empty()));
    }
}
