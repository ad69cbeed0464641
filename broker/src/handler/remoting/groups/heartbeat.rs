//! `HEART_BEAT` (34): a client says which groups it is in and what they subscribe to.
//!
//! What says nothing new is not waited for. What does is answered when every shard of the node knows it: the client
//! asks a shard of its choice for the members next. Groups that are new get their settings and `%RETRY%group`.

use super::unreadable;
use crate::directory::clients::{
    ClientInfo, ClientsView, ConnectionId, ConsumerBeat, ConsumerSettings, Heartbeat,
};
use crate::handler::automatic::ensure_group;
use crate::handler::remoting::{Answer, Caller, Channel, Refused, Request};
use crate::shard::Shard;
use crate::state::GroupSettings;
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::codes::ErrorCode;
use ringmq_wire::remoting::body::{self, heartbeat as said};
use ringmq_wire::remoting::response_code;
use std::rc::Rc;
use std::sync::Arc;

/// Reading JSON holds the executor, so heartbeats are bounded more tightly than other frames.
const HEARTBEAT_BYTES_MAX: usize = 1 << 20;

pub async fn handle<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    caller: &Rc<Caller<D>>,
    request: &Request,
) -> Result<Answer, Refused> {
    if request.body.len() > HEARTBEAT_BYTES_MAX {
        return Err(Refused::new(
            response_code::INVALID_PARAMETER,
            format!(
                "a heartbeat of {} bytes is over the limit of {HEARTBEAT_BYTES_MAX}",
                request.body.len()
            ),
        ));
    }
    let said: said::Heartbeat = body::decode(&request.body).map_err(|error| unreadable(&error))?;
    let id = shard.connection_id(caller.number());
    let (beat, mut refused) = read(shard, id, caller, said).await;
    let forgotten = is_forgotten(shard.directory().clients(), &beat);
    if let Err(error) = register(shard, caller, beat).await {
        refused = refused.or(Some(error));
    }
    match refused {
        Some(refused) => Err(refused),
        None => Ok(Answer::ok()
            .field("IS_SUPPORT_HEART_BEAT_V2", true)
            .field("IS_SUB_CHANGE", forgotten)),
    }
}

/// What the heartbeat says, without the groups that may not be, and why one of those may not.
async fn read<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    connection: ConnectionId,
    caller: &Caller<D>,
    said: said::Heartbeat,
) -> (Heartbeat, Option<Refused>) {
    let mut refused = None;
    let mut consumers = Vec::with_capacity(said.consumers.len());
    for consumer in said.consumers {
        match group_settings(shard, &consumer.group).await {
            Ok(Some(settings)) => {
                let whole = !said.without_sub;
                consumers.push(ConsumerBeat {
                    settings: ConsumerSettings {
                        consume_type: consumer.consume_type,
                        message_model: consumer.message_model,
                        consume_from: consumer.consume_from_where,
                        notify: settings.notify_changes,
                    },
                    group: consumer.group,
                    subscriptions: whole.then_some(consumer.subscriptions),
                    fingerprint: said.fingerprint,
                });
            }
            // As RocketMQ does it: the group is not there until somebody makes it.
            Ok(None) => {}
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    let heartbeat = Heartbeat {
        connection,
        client: ClientInfo {
            client_id: said.client_id.into(),
            address: caller.peer(),
            language: caller.language(),
            version: caller.version(),
        },
        consumers,
        producers: said.producers.into_iter().map(|p| p.group).collect(),
    };
    (heartbeat, refused)
}

/// The group's settings, made if need be; `None`: it is not there and may not be made. A shard whose log takes nothing
/// more still lets members of the groups that it has come and go.
async fn group_settings<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    group: &str,
) -> Result<Option<GroupSettings>, Refused> {
    match ensure_group(shard, group).await {
        Ok(settings) => Ok(Some(settings)),
        Err(error) if error.code == ErrorCode::GroupNotFound => Ok(None),
        Err(error) => {
            let known = shard.with_state(|state| state.group_settings(group).cloned());
            let log_is_out = matches!(
                error.code,
                ErrorCode::LogFailed | ErrorCode::ReadOnly | ErrorCode::NoSpace
            );
            match known.filter(|_| log_is_out) {
                Some(settings) => Ok(Some(settings)),
                None => Err(error.into()),
            }
        }
    }
}

/// Whether the client left out subscriptions that are not known (any more) and must send them again.
fn is_forgotten(clients: &ClientsView, beat: &Heartbeat) -> bool {
    let mut left_out = beat.consumers.iter().filter(|c| c.subscriptions.is_none());
    left_out.any(|consumer| {
        let group = clients.consumers(&consumer.group);
        let member = group.and_then(|group| group.member(beat.connection));
        member.is_none_or(|member| member.fingerprint != consumer.fingerprint)
    })
}

async fn register<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    caller: &Rc<Caller<D>>,
    mut beat: Heartbeat,
) -> Result<(), Refused> {
    let directory = shard.directory();
    for consumer in &mut beat.consumers {
        // Until its subscriptions come, the member has said nothing that a fingerprint could stand for.
        let group = directory.clients().consumers(&consumer.group);
        let member = group.and_then(|group| group.member(beat.connection));
        let known = member.is_some_and(|member| member.fingerprint == consumer.fingerprint);
        if consumer.subscriptions.is_none() && !known {
            consumer.fingerprint = 0;
        }
    }
    if says_nothing_new(directory.clients(), &beat) {
        let consumers = beat.consumers.iter().map(|c| Arc::from(&*c.group));
        let producers = beat.producers.iter().map(|group| Arc::from(&**group));
        let node = shard.node();
        node.client_beat(beat.connection, consumers.collect(), producers.collect())?;
        return Ok(());
    }
    // No await from here until the registration is in the mailbox: a close that comes later is told later.
    if caller.is_closed() {
        return Ok(());
    }
    shard
        .callers()
        .registered(caller.number(), || Channel::new(shard, caller));
    Ok(shard.node().register_client(beat).await?)
}

fn says_nothing_new(clients: &ClientsView, beat: &Heartbeat) -> bool {
    let consumers = beat.consumers.iter().all(|consumer| {
        clients
            .consumers(&consumer.group)
            .is_some_and(|group| group.has_heard(beat.connection, &beat.client, consumer))
    });
    let is_in = |group: &String| {
        let members = clients.producers(group);
        let mut members = members.into_iter().flat_map(|members| members.iter());
        members.any(|m| m.connection == beat.connection && *m.client == beat.client)
    };
    consumers && beat.producers.iter().all(is_in)
}
