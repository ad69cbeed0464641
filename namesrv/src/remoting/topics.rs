//! Which topics there are: requests 206, 216, 217, 224, 304 and 311 to 313.

use super::{Answer, Handled, Request, clusters, routes};
use crate::broker_table::BrokerTable;
use crate::connection::Shared;
use crate::route_table::RouteTable;
use ringmq_wire::remoting::body::routes::TopicRoute;
use ringmq_wire::remoting::body::topics::{TopicConfig, TopicFilterType, TopicList};
use ringmq_wire::remoting::{body, response_code};
use std::collections::BTreeSet;

/// Marks of a topic in `sys_flag`.
const UNIT: i32 = 1;
const UNIT_SUBSCRIPTION: i32 = 2;

pub(super) fn all(shared: &Shared) -> Handled {
    Ok(list(select(shared, |_| true, |_| true)))
}

pub(super) fn of_cluster(shared: &Shared, request: &Request<'_>) -> Handled {
    let cluster: String = request.command.required("cluster")?;
    Ok(list(select(shared, |of| of == cluster, |_| true)))
}

/// Topics whose marks (unit, unit subscription) are wanted.
pub(super) fn flagged(shared: &Shared, wanted: impl Fn(bool, bool) -> bool) -> Handled {
    let marked = |flag: i32| wanted(flag & UNIT != 0, flag & UNIT_SUBSCRIPTION != 0);
    Ok(list(select(shared, |_| true, marked)))
}

fn list(topics: BTreeSet<String>) -> Answer {
    Answer::json(&TopicList {
        broker_addr: None,
        topics: topics.into_iter().collect(),
    })
}

/// Topics of some clusters with some marks, that somebody serves.
fn select(
    shared: &Shared,
    of_cluster: impl Fn(&str) -> bool,
    marked: impl Fn(i32) -> bool,
) -> BTreeSet<String> {
    shared.directory.look(|table, brokers| {
        let mut topics = of_brokers(brokers, &of_cluster, &marked);
        topics.extend(of_shards(table, &of_cluster, &marked));
        topics
    })
}

fn of_brokers(
    brokers: &BrokerTable,
    of_cluster: &impl Fn(&str) -> bool,
    marked: &impl Fn(i32) -> bool,
) -> BTreeSet<String> {
    let names = brokers.names().map(|(_, entry)| entry);
    let topics = names
        .filter(|entry| of_cluster(&entry.cluster))
        .flat_map(|entry| entry.topics.values());
    let topics = topics.filter(|topic| marked(topic.sys_flag));
    topics.map(|topic| topic.name.clone()).collect()
}

fn of_shards(
    table: &RouteTable,
    of_cluster: &impl Fn(&str) -> bool,
    marked: &impl Fn(i32) -> bool,
) -> BTreeSet<String> {
    let topics = table.topic_names().filter(|topic| {
        table
            .shares(topic)
            .any(|(shard, record)| of_cluster(&shard.cluster) && marked(routes::sys_flag(record)))
    });
    topics.map(ToString::to_string).collect()
}

/// Topics that are named after clusters and brokers, and some broker that has them.
pub(super) fn system(shared: &Shared) -> Handled {
    let brokers = shared.directory.look(clusters::all);
    let names = brokers.iter();
    let names = names.flat_map(|broker| [broker.cluster.clone(), broker.name.clone()]);
    let topics: BTreeSet<String> = names.collect();
    let mut addresses = brokers.iter().flat_map(|broker| broker.addresses.values());
    Ok(Answer::json(&TopicList {
        broker_addr: addresses.next().cloned(),
        topics: topics.into_iter().collect(),
    }))
}

/// Forgets a topic of RocketMQ brokers. What a shard of ours serves it says itself: tools delete a topic at the
/// brokers first.
pub(super) fn delete(shared: &Shared, request: &Request<'_>) -> Handled {
    let topic: String = request.command.required("topic")?;
    let cluster: Option<String> = request.command.optional("clusterName")?;
    shared.directory.change_brokers(|_, brokers, _| {
        brokers.delete_topic(&topic, cluster.as_deref());
    });
    Ok(Answer::ok())
}

/// Adds a topic to RocketMQ brokers that are registered, with the queues that the body says.
pub(super) fn register(shared: &Shared, request: &Request<'_>) -> Handled {
    let topic: String = request.command.required("topic")?;
    let route: TopicRoute = match body::decode(request.body) {
        Ok(route) => route,
        Err(error) => {
            return Ok(Answer::error(
                response_code::SYSTEM_ERROR,
                error.to_string(),
            ));
        }
    };
    let put = shared.directory.change_brokers(|_, brokers, _| {
        route.queues.into_iter().try_for_each(|queues| {
            let config = TopicConfig {
                name: topic.clone(),
                perm: queues.perm,
                read_queues: queues.read_queues,
                write_queues: queues.write_queues,
                sys_flag: queues.sys_flag,
                topic_filter_type: TopicFilterType::SingleTag,
                ..TopicConfig::default()
            };
            brokers.put_topic(&queues.broker_name, config)
        })
    });
    Ok(match put {
        Ok(()) => Answer::ok(),
        Err(refusal) => Answer::error(response_code::SYSTEM_ERROR, refusal.to_string()),
    })
}
