//! Where the topic's queues are, and which connection serves which of them.

use crate::BenchError;
use crate::args::{Common, Protocol};
use crate::{native, remoting};
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
    pub(crate) shards: Vec<Share>,
}

#[derive(Debug, Clone)]
pub(crate) struct Share {
    pub(crate) address: String,
    /// Numbers of queues, as the protocol counts them.
    pub(crate) queues: Vec<u32>,
}

/// What one connection works on.
#[derive(Debug, Clone)]
pub(crate) struct Lane {
    pub(crate) address: String,
    pub(crate) topic: String,
    pub(crate) queues: Vec<u32>,
}

/// What a run wants of the topic's queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Write,
    Read,
}

impl Purpose {
    /// For people.
    pub(crate) fn participle(self) -> &'static str {
        match self {
            Self::Write => "written",
            Self::Read => "read",
        }
    }
}

/// Finds the topic; makes it where it is to be written.
pub(crate) async fn find(common: &Common, purpose: Purpose) -> Result<Target, BenchError> {
    let create = purpose == Purpose::Write;
    if !common.shard.is_empty() {
        return Ok(Target::given(common));
    }
    if create {
        match common.protocol {
            Protocol::Native => native::route::create_topic(common).await?,
            Protocol::Remoting => remoting::route::create_topic(common).await?,
            #[cfg(feature = "any-peer")]
            _ => return Err(common.protocol.unsupported()),
        }
    }
    let deadline = Instant::now()
        + if create {
            ROUTE_PATIENCE
        } else {
            Duration::ZERO
        };
    loop {
        match ask_any(common, purpose).await? {
            Found::Whole(target) => return Ok(target),
            Found::Not(why) if Instant::now() >= deadline => return Err(BenchError::Cluster(why)),
            Found::Not(_) => tokio::time::sleep(ROUTE_RETRY).await,
        }
    }
}

/// What a name server said.
pub(crate) enum Found {
    Whole(Target),
    /// Not there, or not all of it; why, for people.
    Not(String),
}

/// Asks the name servers in turn until one answers.
async fn ask_any(common: &Common, purpose: Purpose) -> Result<Found, BenchError> {
    let mut last = BenchError::Cluster("no name server is given".into());
    for address in common.name_servers() {
        let answer = match common.protocol {
            Protocol::Native => native::route::ask(address, &common.topic).await,
            Protocol::Remoting => remoting::route::ask(address, &common.topic, purpose).await,
            #[cfg(feature = "any-peer")]
            _ => Err(common.protocol.unsupported()),
        };
        match answer {
            Ok(found) => return Ok(found),
            Err(error) => last = error,
        }
    }
    Err(last)
}

impl Target {
    /// The topic on shards that were named: queue n is on shard n modulo their number.
    fn given(common: &Common) -> Self {
        let shards = common.shard.len();
        let share = |(index, address): (usize, &String)| Share {
            address: address.clone(),
            queues: (index as u32..common.queues).step_by(shards).collect(),
        };
        Self {
            topic: common.topic.clone(),
            queues: common.queues,
            shards: common.shard.iter().enumerate().map(share).collect(),
        }
    }

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
