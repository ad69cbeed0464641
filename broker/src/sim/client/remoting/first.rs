//! The first message to a topic that nobody made: the node that gets it makes the topic on all of its shards.

use super::producer::{name_of, request};
use super::{Connection, Lost};
use crate::node::shard_name;
use crate::sim::client::admin::Admin;
use crate::sim::draw::Draw;
use crate::sim::message::Message;
use crate::sim::oracle::{Incarnation, Outcome};
use crate::sim::plan::Plan;
use crate::sim::world::World;
use ringmq_storage_engine::runtime::Runtime;
use ringmq_wire::remoting::{Command, Serialization, response_code};
use std::rc::Rc;

/// Of a topic's producers; the others are fewer.
const NUMBER: u64 = 99;

/// A message that may be stored: it went to queue 0 of this shard.
struct Attempt {
    shard: String,
    message: Message,
    /// Where it is, if that was acknowledged.
    offset: Option<u64>,
}

/// Sends until a message is acknowledged, always to one node; gives the topic that was made. `None`: the run was over
/// before.
pub async fn make(
    world: &Rc<World>,
    admin: &mut Admin,
    name: &str,
    mut draw: Draw,
) -> Option<Incarnation> {
    let node = Plan::node_name(draw.index(world.plan.nodes));
    let mut attempts: Vec<Attempt> = Vec::new();
    while attempts.last().is_none_or(|last| last.offset.is_none()) {
        if world.is_over() {
            return None;
        }
        let shard = shard_name(draw.index(world.plan.shards), &node);
        // No other topic has number 0. Each has a name of its own: they may be stored in any order.
        let message = Message {
            producer: name_of(0, NUMBER, attempts.len() as u64),
            number: 0,
        };
        let answer = send(world, &shard, name, message).await;
        world.tell(|| format!("first message {message} to {name} at {shard}: {answer:?}"));
        let offset = answer.ok().and_then(|answer| stored_at(&answer));
        let wait = draw.millis(20, 300);
        attempts.push(Attempt {
            shard,
            message,
            offset,
        });
        if offset.is_none() {
            world.runtime.sleep(wait).await;
        }
    }
    let incarnation = admin.adopt(name, &node).await?;
    let mut oracle = world.oracle.borrow_mut();
    let placement = oracle.topic(incarnation).placement.clone();
    for attempt in attempts {
        let place = placement.iter().position(|shard| *shard == attempt.shard);
        let place = place.expect("the topic is on all shards of the node");
        let (id, message) = ((incarnation, place as u32), attempt.message);
        oracle.submitted(id, message.producer, 1, true);
        let outcome = match attempt.offset {
            Some(_) => Outcome::Stored,
            None => Outcome::Maybe,
        };
        oracle.settled(id, message.producer, 0, outcome);
        if let Some(offset) = attempt.offset {
            oracle.acknowledged(id, offset, message);
        }
    }
    Some(incarnation)
}

async fn send(
    world: &Rc<World>,
    shard: &str,
    topic: &str,
    message: Message,
) -> Result<Command, Lost> {
    let address = &world.plan.addresses()[shard];
    let mut connection = Connection::open(world, address, Serialization::Json).await?;
    let body = message.body(world.plan.seed, world.plan.body_bytes_max);
    let command = request(world, topic, 0, None);
    let (answer, _) = connection.call(command, &body).await?;
    Ok(answer)
}

fn stored_at(answer: &Command) -> Option<u64> {
    if answer.code != response_code::SUCCESS {
        return None;
    }
    let local: u32 = answer.required("queueId").expect("a queue");
    assert_eq!(local, 0);
    let offset: i64 = answer.required("queueOffset").expect("a place");
    Some(u64::try_from(offset).expect("a place"))
}
