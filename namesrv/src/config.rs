//! What an operator may set, with bounds. Every limit of the name server is here.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// Settings of a [`crate::Server`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where to listen. Port 0 picks a free one.
    pub listen: SocketAddr,
    /// Connections served at once; further ones are closed at once, with a line in the log.
    pub connections_max: usize,
    /// A connection that sends nothing for this long is closed; clients send Ping.
    pub idle_timeout_ms: u64,
    /// Time for a started frame to arrive whole, and for an answer to be taken by its reader.
    pub transfer_timeout_ms: u64,
    /// Memory for frames over 64 KiB that are being received, all connections together.
    pub large_frame_bytes_max: usize,
    /// Shards registered at once.
    pub shards_max: usize,
    /// Topics registered at once.
    pub topics_max: usize,
    /// How long the topics of a shard that went away are still known, without a shard that serves them. Clients
    /// see "nobody serves it now" rather than "no such topic" while a broker restarts.
    pub absent_retention_ms: u64,
    /// For how long after its start the server answers `Busy` instead of `TopicNotFound`: brokers that its predecessor
    /// knew need a heartbeat to come back, and a client must not take their topics for missing.
    pub settle_ms: u64,
    /// Settled at once when this many shards have registered; 0: only time tells.
    pub expected_shards: usize,
    /// How long a stopping server waits for its connections.
    pub stop_timeout_ms: u64,
    /// Where pairs that RocketMQ's tools set are kept; nowhere: until the server stops.
    pub kv_file: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 9876),
            connections_max: 10_000,
            idle_timeout_ms: 120_000,
            transfer_timeout_ms: 10_000,
            large_frame_bytes_max: 64 << 20,
            shards_max: 4_096,
            topics_max: 200_000,
            absent_retention_ms: 300_000,
            settle_ms: 3_000,
            expected_shards: 0,
            stop_timeout_ms: 2_000,
            kv_file: None,
        }
    }
}

/// The TOML file: every key is optional, unknown keys are refused.
#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    /// Address to listen on.
    pub listen: Option<IpAddr>,
    pub port: Option<u16>,
    pub connections_max: Option<usize>,
    pub idle_timeout_ms: Option<u64>,
    pub transfer_timeout_ms: Option<u64>,
    pub large_frame_bytes_max: Option<usize>,
    pub shards_max: Option<usize>,
    pub topics_max: Option<usize>,
    pub absent_retention_ms: Option<u64>,
    pub settle_ms: Option<u64>,
    pub expected_shards: Option<usize>,
    pub stop_timeout_ms: Option<u64>,
    pub kv_file: Option<PathBuf>,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {path}")]
    Read {
        path: String,
        source: std::io::Error,
    },
    #[error("{path} is not a valid configuration: {source}")]
    Parse {
        path: String,
        source: toml::de::Error,
    },
    #[error("{key} is {value}: it must be {expected}")]
    Bounds {
        key: &'static str,
        value: u64,
        expected: &'static str,
    },
}

impl FileConfig {
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: shown.clone(),
            source,
        })?;
        toml::from_str(&text).map_err(|source| ConfigError::Parse {
            path: shown,
            source,
        })
    }

    /// Lays the file's keys over `config`.
    pub fn apply(self, config: &mut Config) {
        fn set<T>(target: &mut T, value: Option<T>) {
            if let Some(value) = value {
                *target = value;
            }
        }
        if let Some(ip) = self.listen {
            config.listen.set_ip(ip);
        }
        if let Some(port) = self.port {
            config.listen.set_port(port);
        }
        set(&mut config.connections_max, self.connections_max);
        set(&mut config.idle_timeout_ms, self.idle_timeout_ms);
        set(&mut config.transfer_timeout_ms, self.transfer_timeout_ms);
        set(
            &mut config.large_frame_bytes_max,
            self.large_frame_bytes_max,
        );
        set(&mut config.shards_max, self.shards_max);
        set(&mut config.topics_max, self.topics_max);
        set(&mut config.absent_retention_ms, self.absent_retention_ms);
        set(&mut config.settle_ms, self.settle_ms);
        set(&mut config.expected_shards, self.expected_shards);
        set(&mut config.stop_timeout_ms, self.stop_timeout_ms);
        config.kv_file = self.kv_file.or(config.kv_file.take());
    }
}

impl Config {
    /// Checks every bound.
    pub fn check(&self) -> Result<(), ConfigError> {
        bound(
            "connections_max",
            self.connections_max as u64,
            1..=1_000_000,
            "1 to 1000000",
        )?;
        bound(
            "idle_timeout_ms",
            self.idle_timeout_ms,
            100..=86_400_000,
            "100 to 86400000",
        )?;
        bound(
            "transfer_timeout_ms",
            self.transfer_timeout_ms,
            100..=600_000,
            "100 to 600000",
        )?;
        bound(
            "large_frame_bytes_max",
            self.large_frame_bytes_max as u64,
            17 << 20..=1 << 40,
            "at least 17825792 (one frame of 17 MiB)",
        )?;
        bound(
            "shards_max",
            self.shards_max as u64,
            1..=65_536,
            "1 to 65536",
        )?;
        bound(
            "topics_max",
            self.topics_max as u64,
            1..=10_000_000,
            "1 to 10000000",
        )?;
        bound(
            "absent_retention_ms",
            self.absent_retention_ms,
            0..=86_400_000,
            "0 to 86400000",
        )?;
        bound("settle_ms", self.settle_ms, 0..=600_000, "0 to 600000")?;
        bound(
            "stop_timeout_ms",
            self.stop_timeout_ms,
            0..=600_000,
            "0 to 600000",
        )
    }
}

fn bound(
    key: &'static str,
    value: u64,
    range: std::ops::RangeInclusive<u64>,
    expected: &'static str,
) -> Result<(), ConfigError> {
    if range.contains(&value) {
        Ok(())
    } else {
        Err(ConfigError::Bounds {
            key,
            value,
            expected,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_are_refused_by_name() {
        let error = toml::from_str::<FileConfig>("prot = 1").expect_err("a typo");
        assert!(error.to_string().contains("prot"), "{error}");
    }

    #[test]
    fn bounds_are_checked_by_name() {
        let config = Config {
            shards_max: 0,
            ..Config::default()
        };
        let error = config.check().expect_err("no shard could register");
        assert!(error.to_string().starts_with("shards_max is 0"), "{error}");
        Config::default().check().expect("defaults are valid");
    }
}
