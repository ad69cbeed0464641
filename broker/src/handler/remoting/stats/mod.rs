//! Requests of RocketMQ's tools that look: statistics of topics and groups, of the broker, and its configuration.
//!
//! Tools ask all brokers in turn and give up at the first error. So what a shard does not know is answered empty, or
//! with the code that tools expect for it, and never with "system error".

pub mod broker_config;
pub mod broker_config_update;
pub mod broker_consume_stats;
pub mod broker_runtime;
pub mod broker_stats;
pub mod clone_offsets;
pub mod consume_span;
pub mod consume_stats;
pub mod group_subscription;
pub mod group_topics;
pub mod queue_entries;
mod queue_table;
mod queues;
pub mod system_topics;
pub mod topic_consumers;
pub mod topic_stats;

use super::{Answer, Refused};
use serde::Serialize;

/// An answer whose body is this value as JSON.
fn json(value: &impl Serialize) -> Answer {
    let body = serde_json::to_vec(value).expect("a value made here can be written");
    Answer::ok().body(body)
}

fn not_found(topic: &str) -> Refused {
    Refused::new(
        ringmq_wire::remoting::response_code::TOPIC_NOT_EXIST,
        format!("topic[{topic}] not exist"),
    )
}
