//! Settings in the form that the parts of the broker take.

use super::keys::Config;
use crate::directory::DirectoryLimits;
use crate::limits::Limits;

impl Config {
    /// Bounds of a shard's sessions.
    pub fn session_limits(&self) -> Limits {
        let bytes = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        Limits {
            connections_max: self.limits.connections_max as usize,
            connection_bytes_max: bytes(self.limits.connection_in_flight_bytes),
            shard_bytes_max: bytes(self.limits.shard_in_flight_bytes),
            message_bytes_max: self.topics.message_bytes_max as usize,
            idle_ms: u64::from(self.limits.connection_idle_ms),
            ..Limits::DEFAULT
        }
    }

    /// Bounds of group membership.
    pub fn directory_limits(&self) -> DirectoryLimits {
        DirectoryLimits {
            members_max: self.groups.members_max as usize,
            group_members_max: self.groups.group_members_max as usize,
            session_timeout_ms_min: self.groups.session_timeout_ms_min,
            session_timeout_ms_max: self.groups.session_timeout_ms_max,
            ..DirectoryLimits::default()
        }
    }
}
