//! Consumer groups of RocketMQ clients: who is in them, what they subscribe to, which queues they lock, and requests
//! that the broker passes on to a member.
//!
//! Membership is the node's (see [`crate::directory::clients`]): every shard answers from its copy, so that one that
//! failed changes nothing for the others.

pub mod check_client;
pub mod connections;
pub mod consume_directly;
pub mod consumer_list;
pub mod consumer_status;
pub mod heartbeat;
pub mod locks;
pub mod offset_reset;
pub mod producers;
pub mod running_info;
pub mod subscription;
pub mod unregister;

pub use subscription::{refuse_native, subscription};

use super::Refused;
use crate::directory::clients::Member;
use crate::node::CallError;
use crate::shard::Shard;
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::remoting::body::BodyError;
use ringmq_wire::remoting::body::connections::Connection;
use ringmq_wire::remoting::response_code;
use std::sync::Arc;
use std::time::Duration;

/// How long a member may take to answer a request that is passed on.
const CALL_WAIT: Duration = Duration::from_secs(10);

/// A connection of that client in that group, the asked shard's own first.
fn member_of<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    group: &str,
    client_id: &str,
) -> Result<Arc<Member>, Refused> {
    let directory = shard.directory();
    let consumers = directory.clients().consumers(group);
    let members = consumers.map_or(&[][..], |group| group.of_client(client_id));
    let here = |member: &&Arc<Member>| member.connection.shard == shard.settings().index;
    let member = members.iter().find(here).or(members.first());
    member.cloned().ok_or_else(|| {
        Refused::new(
            response_code::SYSTEM_ERROR,
            format!("The Consumer <{group}> <{client_id}> not online"),
        )
    })
}

/// A client has a connection to every shard: those to one of them stand for it, to the asked one if there are any.
fn on_one_shard<'a, D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    connections: &'a [Arc<Member>],
) -> impl Iterator<Item = &'a Arc<Member>> {
    let own = shard.settings().index;
    let is_here = connections.iter().any(|m| m.connection.shard == own);
    let other = connections.first().map_or(own, |m| m.connection.shard);
    let chosen = if is_here { own } else { other };
    let members = connections.iter();
    members.filter(move |member| member.connection.shard == chosen)
}

fn listed(member: &Member) -> Connection {
    Connection {
        client_addr: member.client.address.to_string(),
        client_id: member.client.client_id.to_string(),
        language: member.client.language.name().to_owned(),
        version: member.client.version,
    }
}

fn unreadable(error: &BodyError) -> Refused {
    let remark = format!("the body cannot be read: {error}");
    Refused::new(response_code::INVALID_PARAMETER, remark)
}

/// What is answered for a member that did not answer.
fn unanswered(group: &str, client_id: &str, error: CallError) -> Refused {
    let code = match error {
        CallError::TimedOut => response_code::CONSUME_MSG_TIMEOUT,
        CallError::Busy => response_code::SYSTEM_BUSY,
        CallError::Closed => response_code::SYSTEM_ERROR,
    };
    Refused::new(code, format!("consumer <{group}> <{client_id}>: {error}"))
}
