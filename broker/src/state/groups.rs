//! Groups as a whole. A group exists on a shard while it has a committed offset or a lease there.

use super::leases::Deadlines;
use super::record::ControlRecord;
use super::system::SCHEDULE_GROUP;
use super::{Refuse, ShardState};
use ringmq_wire::codes::ErrorCode;
use ringmq_wire::limits::{CLIENT_ID_BYTES_MAX, is_valid_name};
use std::time::Duration;

/// Checks a group name from outside. The broker's own groups are not for clients.
pub fn check_name(group: &str) -> Result<(), Refuse> {
    if group == SCHEDULE_GROUP {
        return Err(Refuse::new(
            ErrorCode::InvalidName,
            format!("group {SCHEDULE_GROUP} is the broker's own"),
        ));
    }
    if is_valid_name(group) {
        return Ok(());
    }
    Err(Refuse::new(
        ErrorCode::InvalidName,
        "a group name has 1 to 127 of the characters A-Z a-z 0-9 % | _ -",
    ))
}

/// Checks a member name from outside.
pub fn check_member(member: &str) -> Result<(), Refuse> {
    if (1..=CLIENT_ID_BYTES_MAX).contains(&member.len()) {
        return Ok(());
    }
    Err(Refuse::new(
        ErrorCode::InvalidRequest,
        format!("a member name has 1 to {CLIENT_ID_BYTES_MAX} bytes"),
    ))
}

/// Removes a group's offsets and leases. `None`: there are none. That it has no members is the caller's to check;
/// running leases are looked at here.
pub fn delete(
    state: &ShardState,
    deadlines: &Deadlines,
    name: &str,
    now: Duration,
) -> Result<Option<ControlRecord>, Refuse> {
    let Some(group) = state.group(name) else {
        return Ok(None);
    };
    let leases = group.queues().filter_map(|(_, queue)| queue.lease.as_ref());
    for lease in leases {
        if !deadlines.remaining(name, lease, now).is_zero() {
            return Err(Refuse::new(
                ErrorCode::GroupNotEmpty,
                format!("member {} of group {name} is consuming", lease.member),
            ));
        }
    }
    Ok(Some(ControlRecord::GroupRemove { group: name.into() }))
}
