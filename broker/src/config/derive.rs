//! Settings in the form that the parts of the broker take.

use super::keys::Config;
use crate::delay::DelayLevels;
use crate::directory::DirectoryLimits;
use crate::directory::clients::ClientLimits;
use crate::limits::Limits;
use ringmq_storage_engine::store::StoreOptions;

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

    /// How each shard stores. The format constants are those of a new directory.
    pub fn store_options(&self) -> StoreOptions {
        let storage = &self.storage;
        let bytes = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        // Bounded to 99 by the table of keys.
        let percent = |value: u32| u8::try_from(value).unwrap_or(100);
        StoreOptions {
            segment_bytes: storage.segment_bytes,
            in_flight_bytes_max: bytes(storage.in_flight_bytes_max),
            cache_bytes: bytes(storage.cache_bytes),
            retention_ms: i64::try_from(storage.retention_ms).unwrap_or(i64::MAX),
            retention_bytes: (storage.retention_bytes > 0).then_some(storage.retention_bytes),
            disk_early_percent: percent(storage.disk_early_percent),
            disk_forced_percent: percent(storage.disk_forced_percent),
            disk_refuse_percent: percent(storage.disk_refuse_percent),
            snapshot_every_bytes: storage.snapshot_every_bytes,
            write_mode: storage.write_mode,
            ..StoreOptions::default()
        }
    }

    /// Delays by level; checked when the configuration was loaded.
    pub fn delay_levels(&self) -> DelayLevels {
        DelayLevels::parse(&self.topics.delay_levels).unwrap_or_default()
    }

    /// Bounds of group membership.
    pub fn directory_limits(&self) -> DirectoryLimits {
        DirectoryLimits {
            members_max: self.groups.members_max as usize,
            group_members_max: self.groups.group_members_max as usize,
            session_timeout_ms_min: self.groups.session_timeout_ms_min,
            session_timeout_ms_max: self.groups.session_timeout_ms_max,
            clients: ClientLimits {
                expiry_ms: u64::from(self.groups.client_expiry_ms),
                ..ClientLimits::default()
            },
            ..DirectoryLimits::default()
        }
    }
}
