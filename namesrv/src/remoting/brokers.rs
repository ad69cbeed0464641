//! Registrations of RocketMQ brokers: requests 103, 104, 322 and 904.

use super::{Answer, Handled, Request};
use crate::broker_table::{HEARTBEAT_TIMEOUT_MS_DEFAULT, Registration};
use crate::connection::Shared;
use ringmq_wire::limits::NAME_BYTES_MAX;
use ringmq_wire::remoting::body::registration::RegisterBody;
use ringmq_wire::remoting::body::routes::Pairs;
use ringmq_wire::remoting::body::topics::DataVersion;
use ringmq_wire::remoting::{FieldError, body, response_code};

/// The namespace of pairs that brokers are told when they register.
const ORDERED_TOPICS: &str = "ORDER_TOPIC_CONFIG";
/// Longest `host:port`.
const ADDRESS_BYTES_MAX: usize = 300;

/// Who a request is about.
struct Identity {
    cluster: String,
    name: String,
    address: String,
}

fn identity(request: &Request<'_>) -> Result<Identity, FieldError> {
    Ok(Identity {
        cluster: request.command.required("clusterName")?,
        name: request.command.required("brokerName")?,
        address: request.command.required("brokerAddr")?,
    })
}

pub(super) fn register(shared: &Shared, request: &Request<'_>) -> Handled {
    let command = request.command;
    let who = identity(request)?;
    let failed = |remark: String| Ok(Answer::error(response_code::SYSTEM_ERROR, remark));
    if let Err(remark) = check(&who) {
        return failed(remark);
    }
    let compressed = command.optional("compressed")?.unwrap_or(false);
    let crc = command.optional("bodyCrc32")?.unwrap_or(0);
    let body = match RegisterBody::decode(request.body, compressed, crc, command.version) {
        Ok(body) => body,
        Err(error) => return failed(error.to_string()),
    };
    let timeout: Option<i64> = command.optional("heartbeatTimeoutMillis")?;
    let timeout_ms = timeout.and_then(|millis| u64::try_from(millis).ok());
    let registration = Registration {
        id: command.required("brokerId")?,
        ha_address: command.optional("haServerAddr")?.unwrap_or_default(),
        enable_acting_master: command.optional("enableActingMaster")?.unwrap_or(false),
        timeout_ms: timeout_ms.unwrap_or(HEARTBEAT_TIMEOUT_MS_DEFAULT),
        version: body.topics.data_version,
        topics: body.topics.topics,
        connection: request.connection,
        cluster: who.cluster,
        name: who.name,
        address: who.address,
    };
    let registered = shared.directory.change_brokers(|table, brokers, now_ms| {
        if table.live_shard(&registration.name).is_some() {
            return Err(format!(
                "{} is the name of a shard that is registered",
                registration.name
            ));
        }
        let registered = brokers.register(registration, now_ms);
        registered.map_err(|refusal| refusal.to_string())
    });
    let registered = match registered {
        Ok(registered) => registered,
        Err(remark) => {
            tracing::warn!(%remark, "broker refused");
            return failed(remark);
        }
    };
    let mut answer = Answer::ok();
    let ordered = shared.pairs();
    if let Some(table) = ordered.namespace(ORDERED_TOPICS) {
        let table = table.clone();
        answer = Answer::json(&Pairs { table });
    }
    if let Some((master, ha_server)) = registered.master {
        answer = answer
            .field("masterAddr", master)
            .field("haServerAddr", ha_server);
    }
    Ok(answer)
}

/// Names and addresses go out to all clients: they must be such that clients can read them.
fn check(who: &Identity) -> Result<(), String> {
    for name in [&who.cluster, &who.name] {
        let readable = |c: char| !c.is_control() && !c.is_whitespace();
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(readable) {
            return Err(format!("{name:?} is no name of a broker or cluster"));
        }
    }
    let address = &who.address;
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, ',' | '"' | '{' | '}');
    if address.len() > ADDRESS_BYTES_MAX || !address.chars().all(plain) || !address.contains(':') {
        return Err(format!("{address:?} is no address of a broker"));
    }
    Ok(())
}

pub(super) fn unregister(shared: &Shared, request: &Request<'_>) -> Handled {
    let who = identity(request)?;
    let id: i64 = request.command.required("brokerId")?;
    let gone = shared
        .directory
        .change_brokers(|_, brokers, _| brokers.unregister(&who.name, id, &who.address));
    if gone {
        tracing::info!(broker = %who.name, id, "broker unregistered");
    }
    Ok(Answer::ok())
}

/// Answered with success in any case: a broker that is not known registers itself soon.
pub(super) fn heartbeat(shared: &Shared, request: &Request<'_>) -> Handled {
    let who = identity(request)?;
    let id: Option<i64> = request.command.optional("brokerId")?;
    shared.directory.change_brokers(|_, brokers, now_ms| {
        let id = id.or_else(|| brokers.id_of(&who.name, &who.address));
        if let Some(id) = id {
            brokers.heartbeat(&who.name, id, &who.address, now_ms);
        }
    });
    Ok(Answer::ok())
}

/// Whether a broker's topics differ from those that are known here. Counts as a sign of life.
pub(super) fn query_version(shared: &Shared, request: &Request<'_>) -> Handled {
    let who = identity(request)?;
    let id: i64 = request.command.required("brokerId")?;
    let theirs: DataVersion = match body::decode(request.body) {
        Ok(version) => version,
        Err(error) => {
            return Ok(Answer::error(
                response_code::SYSTEM_ERROR,
                error.to_string(),
            ));
        }
    };
    let known = shared.directory.change_brokers(|_, brokers, now_ms| {
        let known = brokers.version(&who.name, id, &who.address);
        brokers.heartbeat(&who.name, id, &who.address, now_ms);
        known
    });
    let answer = match &known {
        Some(known) => Answer::json(known),
        None => Answer::ok(),
    };
    Ok(answer.field("changed", known != Some(theirs)))
}
