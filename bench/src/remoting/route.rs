//! Where the topic's queues are, by the route that RocketMQ's clients use.

use super::connection::{self, Frames, call};
use crate::BenchError;
use crate::args::Common;
use crate::cluster::{Found, Purpose, Share, Target};
use crate::socket::Socket;
use ringmq_wire::remoting::body::routes::{QueueData, TopicRoute};
use ringmq_wire::remoting::body::{self, topics::perm};
use ringmq_wire::remoting::{Command, request_code, response_code};

/// Number of the broker of a name that takes messages; others have copies.
const LEADER: i64 = 0;

/// The queues that may be written or read; brokers without any are left out.
fn shares(route: &TopicRoute, purpose: Purpose) -> Vec<Share> {
    let share = |data: &QueueData| {
        let (right, queues) = match purpose {
            Purpose::Write => (perm::WRITE, data.write_queues),
            Purpose::Read => (perm::READ, data.read_queues),
        };
        if data.perm & right == 0 || queues <= 0 {
            return None;
        }
        let mut brokers = route.brokers.iter();
        let broker = brokers.find(|broker| broker.name == data.broker_name)?;
        Some(Share {
            address: broker.addresses.get(&LEADER)?.clone(),
            queues: (0..queues as u32).collect(),
        })
    };
    route.queues.iter().filter_map(share).collect()
}

/// What a name server knows of the topic.
async fn route_of(name_server: &str, topic: &str) -> Result<Option<TopicRoute>, BenchError> {
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
    let route = body::decode(&answer.body);
    let route = route.map_err(|error| socket.protocol(operation, error))?;
    Ok(Some(route))
}

/// The queues of a topic for [`crate::cluster::find`].
pub(crate) async fn ask(
    name_server: &str,
    topic: &str,
    purpose: Purpose,
) -> Result<Found, BenchError> {
    let Some(route) = route_of(name_server, topic).await? else {
        return Ok(Found::Not(format!("topic {topic} does not exist")));
    };
    let shards = shares(&route, purpose);
    if shards.is_empty() {
        let why = format!("no queue of topic {topic} may be {}", purpose.participle());
        return Ok(Found::Not(why));
    }
    Ok(Found::Whole(Target {
        topic: topic.to_string(),
        queues: shards.iter().map(|share| share.queues.len() as u32).sum(),
        shards,
    }))
}

/// Makes the topic on all brokers that would make it by themselves, unless it exists.
pub(crate) async fn create_topic(common: &Common) -> Result<(), BenchError> {
    let name_server = common.name_servers().next().unwrap_or_default();
    if route_of(name_server, &common.topic).await?.is_some() {
        return Ok(());
    }
    // Every broker that takes new topics is in the route of the topic that is their pattern.
    let pattern = route_of(name_server, "TBW102").await?.unwrap_or_default();
    let brokers = shares(&pattern, Purpose::Write);
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
            .field("perm", perm::READ | perm::WRITE)
            .field("topicFilterType", "SINGLE_TAG")
            .field("topicSysFlag", 0)
            .field("order", false);
        call(&mut socket, "make the topic at", request).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringmq_wire::remoting::body::routes::BrokerData;

    fn route(brokers: &[(i32, i32, i32)]) -> TopicRoute {
        let name = |number: usize| format!("broker-{number}");
        let queues = |(number, &(perm, write_queues, read_queues)): (usize, &_)| QueueData {
            broker_name: name(number),
            perm,
            read_queues,
            write_queues,
            ..QueueData::default()
        };
        let broker = |number: usize| BrokerData {
            name: name(number),
            addresses: [(LEADER, format!("127.0.0.1:{number}"))].into(),
            ..BrokerData::default()
        };
        TopicRoute {
            queues: brokers.iter().enumerate().map(queues).collect(),
            brokers: (0..brokers.len()).map(broker).collect(),
            ..TopicRoute::default()
        }
    }

    #[test]
    fn only_queues_that_may_be_used_are_used() {
        let both = perm::READ | perm::WRITE;
        let route = route(&[
            (both, 2, 3),
            (perm::READ, 2, 2),
            (perm::WRITE, 1, 1),
            (both, 0, 1),
        ]);
        let found = |purpose| {
            let shares = shares(&route, purpose).into_iter();
            let found: Vec<_> = shares
                .map(|share| (share.address, share.queues.len()))
                .collect();
            found
        };
        let at = |port: u16, queues| (format!("127.0.0.1:{port}"), queues);
        assert_eq!(found(Purpose::Write), [at(0, 2), at(2, 1)]);
        assert_eq!(found(Purpose::Read), [at(0, 3), at(1, 2), at(3, 1)]);
    }
}
