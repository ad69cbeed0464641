//! Encoding answers from the route table. Pure. Every answer is kept within a frame's header limit.

use crate::route_table::{Refusal, Route, RouteTable, Shard};
use ringmq_wire::codes::{ErrorCode, Kind};
use ringmq_wire::limits::FRAME_HEADER_BYTES_MAX;
use ringmq_wire::native::{encode, flags, schema};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Answers are estimated from above before they are built, and refused over this.
const ANSWER_BYTES_MAX: usize = FRAME_HEADER_BYTES_MAX - (1 << 20);
/// Upper bounds of what a table, and a string in one, cost besides their text.
const TABLE_BYTES: usize = 160;
const STRING_BYTES: usize = 16;

/// A frame of the kind that was asked, or an error frame.
pub type Answer = Result<Vec<u8>, Refusal>;

/// Why a request of this kind was refused.
pub fn error(kind: u16, correlation_id: u64, refusal: &Refusal) -> Vec<u8> {
    let response = schema::ErrorResponseT {
        code: refusal.code.number(),
        message: Some(refusal.message.clone()),
        ..Default::default()
    };
    // The kind of an error answer repeats the request's; an unknown one is answered as Hello.
    let kind = Kind::from_number(kind).unwrap_or(Kind::Hello);
    let bits = flags::RESPONSE | flags::ERROR;
    encode(kind, bits, correlation_id, 0, |b| response.pack(b))
}

/// Where these topics are. Refused if that does not fit one frame.
pub fn route_query(table: &RouteTable, correlation_id: u64, topics: &[String]) -> Answer {
    let names: Vec<&str> = topics.iter().map(String::as_str).collect();
    let (routes, shards, bytes) = routes(table, &names);
    check_size("routes", names.len(), bytes)?;
    let response = schema::RouteQueryResponseT {
        routes: Some(routes),
        shards: Some(shards),
    };
    Ok(encode(
        Kind::RouteQuery,
        flags::RESPONSE,
        correlation_id,
        0,
        |b| response.pack(b),
    ))
}

/// One push of a watch. All carry MORE: the watch is answered as long as the connection lives.
pub fn watch_push(table: &RouteTable, correlation_id: u64, topics: &[Arc<str>]) -> Vec<u8> {
    let names: Vec<&str> = topics.iter().map(AsRef::as_ref).collect();
    let (routes, shards, _) = routes(table, &names);
    let response = schema::RouteWatchResponseT {
        version: table.version(),
        routes: Some(routes),
        shards: Some(shards),
    };
    let bits = flags::RESPONSE | flags::MORE;
    encode(Kind::RouteWatch, bits, correlation_id, 0, |b| {
        response.pack(b)
    })
}

pub(crate) fn cluster_info(table: &RouteTable, correlation_id: u64) -> Answer {
    let shards: Vec<_> = table.live_shards().map(shard_address).collect();
    let bytes = shards.iter().map(address_bytes).sum();
    check_size("shards", shards.len(), bytes)?;
    let response = schema::ClusterInfoResponseT {
        shards: Some(shards),
        topics: u32::try_from(table.topic_count()).unwrap_or(u32::MAX),
    };
    Ok(encode(
        Kind::ClusterInfo,
        flags::RESPONSE,
        correlation_id,
        0,
        |b| response.pack(b),
    ))
}

pub(crate) fn cluster_topics(table: &RouteTable, correlation_id: u64) -> Answer {
    let mut response = schema::ClusterTopicsResponseT::default();
    let mut bytes = 0;
    let mut topics = Vec::with_capacity(table.topic_count());
    for name in table.topic_names() {
        if let Some(route) = table.route(name) {
            let settings = route.record.settings.as_deref();
            if settings.is_some_and(|settings| settings.system) {
                continue;
            }
            bytes += record_bytes(&route.record);
            topics.push((*route.record).clone());
        }
    }
    check_size("topics", topics.len(), bytes)?;
    response.topics = Some(topics);
    Ok(encode(
        Kind::ClusterTopics,
        flags::RESPONSE,
        correlation_id,
        0,
        |b| response.pack(b),
    ))
}

fn check_size(what: &str, count: usize, bytes: usize) -> Result<(), Refusal> {
    if bytes > ANSWER_BYTES_MAX {
        return Err(Refusal::new(
            ErrorCode::InvalidRequest,
            format!(
                "{count} {what} do not fit one answer (about {bytes} bytes, limit {ANSWER_BYTES_MAX})"
            ),
        ));
    }
    Ok(())
}

/// Routes of these topics, the shards that serve them, and an upper bound of their encoded size.
fn routes(
    table: &RouteTable,
    topics: &[&str],
) -> (Vec<schema::TopicRouteT>, Vec<schema::ShardAddressT>, usize) {
    let mut serving = BTreeSet::new();
    let mut bytes = 0;
    let mut answers = Vec::with_capacity(topics.len());
    for topic in topics {
        let route = table.route(topic);
        bytes += TABLE_BYTES + topic.len();
        if let Some(route) = &route {
            bytes += record_bytes(&route.record);
            bytes += route
                .shards
                .iter()
                .map(|shard| shard.len() + STRING_BYTES)
                .sum::<usize>();
            serving.extend(route.shards.iter().cloned());
        }
        answers.push(topic_route(topic, route));
    }
    let addresses = serving.iter().filter_map(|shard| table.live_shard(shard));
    let shards: Vec<_> = addresses.map(shard_address).collect();
    bytes += shards.iter().map(address_bytes).sum::<usize>();
    (answers, shards, bytes)
}

fn topic_route(topic: &str, route: Option<Route>) -> schema::TopicRouteT {
    let mut answer = schema::TopicRouteT {
        topic: topic.to_string(),
        ..Default::default()
    };
    match route {
        Some(route) => {
            answer.record = Some(Box::new((*route.record).clone()));
            answer.shards = Some(route.shards.iter().map(|shard| shard.to_string()).collect());
        }
        None => answer.error = ErrorCode::TopicNotFound.number(),
    }
    answer
}

fn shard_address(shard: &Shard) -> schema::ShardAddressT {
    schema::ShardAddressT {
        shard: shard.name.to_string(),
        node: Some(shard.node.clone()),
        cluster: Some(shard.cluster.clone()),
        address: shard.address.clone(),
        writable: shard.takes_messages(),
        epoch: shard.epoch,
    }
}

fn address_bytes(address: &schema::ShardAddressT) -> usize {
    let texts = [
        Some(&address.shard),
        address.node.as_ref(),
        address.cluster.as_ref(),
        Some(&address.address),
    ];
    let texts = texts.into_iter().flatten();
    TABLE_BYTES + texts.map(|text| text.len() + STRING_BYTES).sum::<usize>()
}

fn record_bytes(record: &schema::TopicRecordT) -> usize {
    let placement = record.placement.iter().flatten();
    let placement_bytes: usize = placement.map(|shard| shard.len() + STRING_BYTES).sum();
    2 * TABLE_BYTES + record.name.len() + placement_bytes
}
