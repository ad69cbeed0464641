//! Every key.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use ringmq_storage_engine::store::WriteMode;

use super::value::{LogFormat, SettingValue};
use super::{ConfigError, KeyInfo};

/// Declares a section: a struct, its defaults, and the table of its keys.
macro_rules! section {
    (
        $(#[$section_doc:meta])*
        $name:ident, $prefix:literal {
            $( $(#[doc = $reason:literal])+ $key:ident: $ty:ty = $default:expr, $unit:literal $(, $low:literal ..= $high:literal)?; )*
        }
    ) => {
        $(#[$section_doc])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name {
            $( $(#[doc = $reason])+ pub $key: $ty, )*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $key: $default, )* }
            }
        }

        impl $name {
            fn keys(into: &mut Vec<KeyInfo>) {
                let defaults = Self::default();
                $( into.push(KeyInfo {
                    name: concat!($prefix, stringify!($key)),
                    type_name: <$ty as SettingValue>::TYPE,
                    unit: $unit,
                    bounds: section!(@bounds $($low, $high)?),
                    default: defaults.$key.to_toml().to_string(),
                    reason: concat!($($reason, "\n"),+),
                }); )*
            }

            /// Sets a key from the value that `read` finds; `false`: not a key of this section.
            fn set(&mut self, key: &str, source: &super::load::RawValue) -> Result<bool, ConfigError> {
                match key {
                    $( concat!($prefix, stringify!($key)) => {
                        self.$key = source.read(key, section!(@bounds $($low, $high)?))?;
                        Ok(true)
                    } )*
                    _ => Ok(false),
                }
            }

            fn values(&self, into: &mut Vec<(&'static str, toml::Value)>) {
                $( into.push((concat!($prefix, stringify!($key)), self.$key.to_toml())); )*
            }
        }
    };
    (@bounds) => { None };
    (@bounds $low:literal, $high:literal) => { Some(($low, $high)) };
}

section! {
    /// The node as a whole.
    NodeSettings, "" {
        /// Name of the cluster, shown in listings. Brokers of different clusters may share name servers.
        cluster: String = "ringmq".to_owned(), "";
        /// Name of this node, `[A-Za-z0-9_-]{1,60}`, unique in the cluster; shards are called `sNN-<node>`. Kept in the
        /// data directory. Empty: the host name.
        node: String = String::new(), "";
        /// Where everything is stored. Needs a file system with O_DIRECT (ext4, xfs; not tmpfs). One process at a time.
        data_dir: PathBuf = PathBuf::from("ringmq-data"), "";
        /// Shards, each with an executor, a port and a log of its own. 0: one a core, at most 8. Kept in the data directory;
        /// may be raised, never lowered. Every shard costs every client a connection, so fewer and busier is better.
        shards: u32 = 0, "shards", 0 ..= 64;
        /// Address to bind the shards' ports to.
        listen: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED), "";
        /// Port of shard 0; shard i has this + 10 x i. 0: any free ports. (Not called `port`, because Kubernetes sets
        /// RINGMQ_PORT for a service called `ringmq`.)
        base_port: u16 = 10911, "port", 0 ..= 65535;
        /// What clients are told to connect to: HOST, or HOST:PORT of shard 0 if ports are mapped. Empty: the address in
        /// `listen`, and if that is 0.0.0.0, the address of the interface that the default route uses.
        advertise: String = String::new(), "";
        /// Name servers, HOST:PORT each. The broker registers with all of them at once.
        namesrv: Vec<String> = vec!["127.0.0.1:9876".to_owned()], "";
        /// How long to go on serving at SIGTERM after write permission was withdrawn from the routes. RocketMQ clients look
        /// at routes every 30 s. A second SIGTERM skips the wait.
        drain_ms: u64 = 35_000, "milliseconds", 0 ..= 3_600_000;
    }
}

section! {
    /// The HTTP side.
    AdminSettings, "admin." {
        /// Address to bind `/healthz`, `/readyz` and `/metrics` to. They have no access control.
        listen: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST), "";
        /// Port of the HTTP side. 0: any free port.
        port: u16 = 9680, "port", 0 ..= 65535;
    }
}

section! {
    /// Logs, to stderr.
    LogSettings, "log." {
        /// For people, or one JSON object a line.
        format: LogFormat = LogFormat::Human, "";
        /// What to log: a level (error, warn, info, debug, trace) or directives such as `info,ringmq_broker=debug`.
        filter: String = "info".to_owned(), "";
    }
}

section! {
    /// Topics.
    TopicSettings, "topics." {
        /// Whether the first message to an unknown topic makes it, on all shards of the node. Off: topics are made by tools.
        auto_create: bool = true, "";
        /// Queues of such a topic, over all shards of the node.
        auto_create_queues: u32 = 8, "queues", 1 ..= 65536;
        /// Largest message, unless the topic has its own limit. Clients are told at connect.
        message_bytes_max: u32 = 4_194_304, "bytes", 1024 ..= 15_728_640;
        /// Delays that RocketMQ clients choose by level, from level 1 on; units s, m, h, d. RocketMQ's `messageDelayLevel`.
        /// Messages that wait already keep their time.
        delay_levels: String = crate::delay::levels::DEFAULT.to_owned(), "";
    }
}

section! {
    /// The log of each shard.
    StorageSettings, "storage." {
        /// Size of a segment file. Fixed when the data directory is made. Retention removes whole segments.
        segment_bytes: u64 = 268_435_456, "bytes", 67_108_864 ..= 4_294_967_296;
        /// Bytes of a shard that may be between "received" and "durable"; above it producers are told to wait.
        in_flight_bytes_max: u64 = 33_554_432, "bytes", 33_554_432 ..= 1_073_741_824;
        /// Newest bytes of a shard's log kept in memory for readers at the tail. O_DIRECT has no page cache, so this is all.
        cache_bytes: u64 = 67_108_864, "bytes", 1_048_576 ..= 1_099_511_627_776;
        /// Messages are kept at least this long while the disk has room; a topic's own retention may only be shorter.
        retention_ms: u64 = 259_200_000, "milliseconds", 60_000 ..= 315_360_000_000;
        /// Size of a shard's log above which the oldest segments go before their time. 0: no such limit.
        retention_bytes: u64 = 0, "bytes", 0 ..= 1_152_921_504_606_846_976;
        /// Used share of the file system from which segments go early and are not kept for reuse.
        disk_early_percent: u32 = 75, "percent", 10 ..= 99;
        /// Used share from which segments go without regard to their age.
        disk_forced_percent: u32 = 85, "percent", 10 ..= 99;
        /// Used share from which new messages are refused until space returns.
        disk_refuse_percent: u32 = 90, "percent", 10 ..= 99;
        /// Log bytes after which a snapshot is written. A start reads one snapshot and about this much log.
        snapshot_every_bytes: u64 = 536_870_912, "bytes", 1_048_576 ..= 1_099_511_627_776;
        /// How a frame of the log is made durable: by one write with O_DSYNC, or by a write and a sync behind it. The first
        /// is faster on most devices and never less safe.
        write_mode: WriteMode = WriteMode::DurableWrite, "";
    }
}

section! {
    /// Bounds of what clients may take.
    LimitSettings, "limits." {
        /// Connections of a shard; one more is closed with `Busy`.
        connections_max: u32 = 4_096, "connections", 16 ..= 1_000_000;
        /// Request and answer bytes of one connection that may be under way; above it the broker stops reading from it.
        connection_in_flight_bytes: u64 = 33_554_432, "bytes", 33_554_432 ..= 1_073_741_824;
        /// The same for all connections of a shard.
        shard_in_flight_bytes: u64 = 268_435_456, "bytes", 67_108_864 ..= 1_099_511_627_776;
        /// A connection that is silent for longer is closed. Clients send pings.
        connection_idle_ms: u32 = 120_000, "milliseconds", 5_000 ..= 86_400_000;
    }
}

section! {
    /// Consumer groups.
    GroupSettings, "groups." {
        /// Whether a group that RocketMQ clients name, and nobody made, comes into being. Off: groups are made by tools.
        auto_create: bool = true, "";
        /// Members of all groups of the node.
        members_max: u32 = 20_000, "members", 16 ..= 1_000_000;
        /// Members of one group.
        group_members_max: u32 = 1_024, "members", 2 ..= 65_536;
        /// The shortest session timeout that a member may ask for; a shorter wish is raised to it.
        session_timeout_ms_min: u32 = 1_000, "milliseconds", 100 ..= 3_600_000;
        /// The longest one; a longer wish is lowered to it.
        session_timeout_ms_max: u32 = 300_000, "milliseconds", 100 ..= 3_600_000;
        /// A RocketMQ client that sent no heartbeat for longer leaves its groups. Its clients send one every 30 s.
        client_expiry_ms: u32 = 120_000, "milliseconds", 1_000 ..= 3_600_000;
    }
}

section! {
    /// The `dev` command only.
    DevSettings, "dev." {
        /// Port of the name server that `dev` runs in the same process. 0: any free port.
        namesrv_port: u16 = 9876, "port", 0 ..= 65535;
    }
}

/// All settings.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Config {
    /// Keys without a section.
    pub node: NodeSettings,
    /// `[admin]`.
    pub admin: AdminSettings,
    /// `[log]`.
    pub log: LogSettings,
    /// `[topics]`.
    pub topics: TopicSettings,
    /// `[storage]`.
    pub storage: StorageSettings,
    /// `[limits]`.
    pub limits: LimitSettings,
    /// `[groups]`.
    pub groups: GroupSettings,
    /// `[dev]`.
    pub dev: DevSettings,
}

/// Every key, in the order of the file.
pub fn all_keys() -> Vec<KeyInfo> {
    let mut keys = Vec::new();
    NodeSettings::keys(&mut keys);
    AdminSettings::keys(&mut keys);
    LogSettings::keys(&mut keys);
    TopicSettings::keys(&mut keys);
    StorageSettings::keys(&mut keys);
    LimitSettings::keys(&mut keys);
    GroupSettings::keys(&mut keys);
    DevSettings::keys(&mut keys);
    keys
}

impl Config {
    /// What `dev` starts from: one shard, this machine only, no waiting.
    pub fn dev() -> Self {
        let mut config = Self::default();
        config.node.node = "dev".to_owned();
        config.node.shards = 1;
        config.node.listen = IpAddr::V4(Ipv4Addr::LOCALHOST);
        config.node.namesrv = Vec::new();
        config.node.drain_ms = 0;
        config
    }

    /// Sets one key; `false`: there is no such key.
    pub(super) fn set(
        &mut self,
        key: &str,
        value: &super::load::RawValue,
    ) -> Result<bool, ConfigError> {
        Ok(self.node.set(key, value)?
            || self.admin.set(key, value)?
            || self.log.set(key, value)?
            || self.topics.set(key, value)?
            || self.storage.set(key, value)?
            || self.limits.set(key, value)?
            || self.groups.set(key, value)?
            || self.dev.set(key, value)?)
    }

    /// All values, in the order of [`all_keys`].
    pub fn values(&self) -> Vec<(&'static str, toml::Value)> {
        let mut values = Vec::new();
        self.node.values(&mut values);
        self.admin.values(&mut values);
        self.log.values(&mut values);
        self.topics.values(&mut values);
        self.storage.values(&mut values);
        self.limits.values(&mut values);
        self.groups.values(&mut values);
        self.dev.values(&mut values);
        values
    }
}
