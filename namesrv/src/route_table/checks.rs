//! What a registration must be, and what it must fit. Pure.

use super::{Refusal, Shard, ShardIdentity};
use ringmq_wire::codes::ErrorCode;
use ringmq_wire::limits::{TOPIC_QUEUES_MAX, is_valid_name, is_valid_node_name};
use ringmq_wire::native::schema::{ShardRegisterRequestT, TopicRecordT};

const HEARTBEAT_TIMEOUT_MS: std::ops::RangeInclusive<u32> = 100..=600_000;
/// Shards of one topic.
pub const PLACEMENT_MAX: usize = 512;
const ADDRESS_BYTES_MAX: usize = 261; // a host name of 255 bytes, a colon, a port

fn invalid(message: String) -> Refusal {
    Refusal::new(ErrorCode::InvalidRequest, message)
}

pub(super) fn check_owner(shard: &Shard, identity: &ShardIdentity<'_>) -> Result<(), Refusal> {
    if shard.directory != identity.directory && shard.live {
        return Err(Refusal::new(
            ErrorCode::ShardNameTaken,
            format!(
                "shard {} is live at {} with another data directory: give one of the two nodes another name",
                shard.name, shard.address
            ),
        ));
    }
    if shard.directory == identity.directory && identity.epoch < shard.epoch {
        return Err(invalid(format!(
            "a later start of shard {} is registered (epoch {}, this is {})",
            shard.name, shard.epoch, identity.epoch
        )));
    }
    Ok(())
}

/// A change, and a heartbeat, must fit what is held.
pub(super) fn check_base(
    shard: Option<&Shard>,
    identity: &ShardIdentity<'_>,
    base_version: u64,
) -> Result<(), Refusal> {
    let stale = |what: String| {
        Err(Refusal::new(
            ErrorCode::StaleRegistration,
            format!("{what}: register with base version 0"),
        ))
    };
    let Some(shard) = shard else {
        return stale(format!("shard {} is not known here", identity.shard));
    };
    check_owner(shard, identity)?;
    if !shard.live || !shard.is_same_start(identity) {
        return stale(format!(
            "this start of shard {} is not registered here",
            identity.shard
        ));
    }
    if shard.version != base_version {
        return stale(format!(
            "version {} of shard {} is held here, not {base_version}",
            shard.version, identity.shard
        ));
    }
    Ok(())
}

/// A whole table that is older than the one held was overtaken on its way.
pub(super) fn check_not_older(shard: &Shard, version: u64) -> Result<(), Refusal> {
    if version < shard.version {
        return Err(Refusal::new(
            ErrorCode::StaleRegistration,
            format!(
                "version {} of shard {} is held here, newer than {version}",
                shard.version, shard.name
            ),
        ));
    }
    Ok(())
}

pub(super) fn check_registration(request: &ShardRegisterRequestT) -> Result<(), Refusal> {
    let invalid_name = |what: &str, name: &str| {
        Err(Refusal::new(
            ErrorCode::InvalidName,
            format!("{name:?} is not a valid {what} name"),
        ))
    };
    if !is_valid_name(&request.shard) {
        return invalid_name("shard", &request.shard);
    }
    if !is_valid_node_name(&request.node) {
        return invalid_name("node", &request.node);
    }
    if !is_valid_name(&request.cluster) {
        return invalid_name("cluster", &request.cluster);
    }
    let address = &request.address;
    let port = address
        .rsplit_once(':')
        .and_then(|(_, port)| port.parse::<u16>().ok());
    if address.len() > ADDRESS_BYTES_MAX || port.is_none_or(|port| port == 0) {
        return Err(invalid(format!("address {address:?} is not HOST:PORT")));
    }
    let timeout_ms = request.heartbeat_timeout_ms;
    if timeout_ms != 0 && !HEARTBEAT_TIMEOUT_MS.contains(&timeout_ms) {
        return Err(invalid(format!(
            "heartbeat timeout of {timeout_ms} ms is not within {HEARTBEAT_TIMEOUT_MS:?}"
        )));
    }
    if request.version == 0 || request.version < request.base_version {
        return Err(invalid(format!(
            "version {} must be above 0 and not below base version {}",
            request.version, request.base_version
        )));
    }
    let shares = request.shares.iter().flatten();
    shares
        .map(|share| share.topic.as_ref())
        .try_for_each(|record| check_share(&request.shard, record))
}

fn check_share(shard: &str, record: &TopicRecordT) -> Result<(), Refusal> {
    if !is_valid_name(&record.name) {
        return Err(Refusal::new(
            ErrorCode::InvalidName,
            format!("{:?} is not a valid topic name", record.name),
        ));
    }
    if !(1..=TOPIC_QUEUES_MAX).contains(&record.queues) {
        return Err(invalid(format!(
            "topic {} has {} queues: must be 1 to {TOPIC_QUEUES_MAX}",
            record.name, record.queues
        )));
    }
    let mut placement = record.placement.iter().flatten();
    let shards = placement.clone().count();
    if shards > PLACEMENT_MAX || placement.clone().any(|home| !is_valid_name(home)) {
        return Err(invalid(format!(
            "topic {} is placed on {shards} shards: at most {PLACEMENT_MAX} with valid names",
            record.name
        )));
    }
    if !placement.any(|home| home == shard) {
        return Err(invalid(format!(
            "topic {} is not placed on shard {shard}, which registers it",
            record.name
        )));
    }
    Ok(())
}
