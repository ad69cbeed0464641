//! From the sources to a checked [`Config`].

use crate::delay::DelayLevels;
use std::path::PathBuf;

use ringmq_wire::limits::is_valid_node_name;

use super::keys::{Config, all_keys};
use super::value::SettingValue;

/// Where values come from, later ones winning.
#[derive(Debug, Default)]
pub struct Sources {
    /// The file and its text.
    pub file: Option<(PathBuf, String)>,
    /// Environment variables, all of them; others than `RINGMQ_…` are ignored.
    pub environment: Vec<(String, String)>,
    /// From flags: key, value, and how the operator wrote it.
    pub flags: Vec<(String, String, String)>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{file}: {error}")]
    Syntax {
        file: String,
        error: toml::de::Error,
    },
    #[error("{source_name}: unknown key `{key}`{}", hint(.nearest))]
    UnknownKey {
        source_name: String,
        key: String,
        nearest: Option<&'static str>,
    },
    #[error("{source_name}: `{key}` must be {expected}, not {found}")]
    WrongType {
        source_name: String,
        key: String,
        expected: &'static str,
        found: String,
    },
    #[error("{source_name}: `{key}` = {found} is outside {low} to {high}")]
    OutOfBounds {
        source_name: String,
        key: String,
        found: i128,
        low: i128,
        high: i128,
    },
    #[error("`{key}`: {problem}")]
    Invalid { key: &'static str, problem: String },
}

fn hint(nearest: &Option<&'static str>) -> String {
    nearest.map_or_else(
        || "; --print-config lists all keys".to_owned(),
        |key| format!("; did you mean `{key}`?"),
    )
}

/// A value as its source has it.
pub struct RawValue<'a> {
    pub(super) source_name: &'a str,
    pub(super) form: RawForm<'a>,
}

pub(super) enum RawForm<'a> {
    Toml(&'a toml::Value),
    Text(&'a str),
}

impl RawValue<'_> {
    /// The value in the key's type and inside its bounds.
    pub(super) fn read<T: SettingValue>(
        &self,
        key: &str,
        bounds: Option<(i128, i128)>,
    ) -> Result<T, ConfigError> {
        let (value, found, number) = match self.form {
            RawForm::Toml(value) => (
                T::from_toml(value),
                value.to_string(),
                value.as_integer().map(i128::from),
            ),
            RawForm::Text(text) => (
                T::from_text(text),
                format!("{text:?}"),
                text.trim().parse().ok(),
            ),
        };
        // Bounds first: 70000 for a port is out of bounds, not of the wrong type.
        if let (Some((low, high)), Some(found)) = (bounds, number)
            && !(low..=high).contains(&found)
        {
            return Err(ConfigError::OutOfBounds {
                source_name: self.source_name.to_owned(),
                key: key.to_owned(),
                found,
                low,
                high,
            });
        }
        value.ok_or_else(|| ConfigError::WrongType {
            source_name: self.source_name.to_owned(),
            key: key.to_owned(),
            expected: T::TYPE,
            found,
        })
    }
}

/// Applies the sources to `base`. Also returns what the operator should be told, once there is a log.
pub fn load(base: Config, sources: &Sources) -> Result<(Config, Vec<String>), ConfigError> {
    let mut config = base;
    if let Some((path, text)) = &sources.file {
        apply_file(&mut config, &path.display().to_string(), text)?;
    }
    let notes = apply_environment(&mut config, &sources.environment)?;
    for (key, value, written) in &sources.flags {
        let raw = RawValue {
            source_name: written,
            form: RawForm::Text(value),
        };
        set(&mut config, key, &raw)?;
    }
    check(&config)?;
    Ok((config, notes))
}

fn set(config: &mut Config, key: &str, value: &RawValue<'_>) -> Result<(), ConfigError> {
    if config.set(key, value)? {
        return Ok(());
    }
    Err(ConfigError::UnknownKey {
        source_name: value.source_name.to_owned(),
        key: key.to_owned(),
        nearest: nearest_key(key),
    })
}

fn apply_file(config: &mut Config, file: &str, text: &str) -> Result<(), ConfigError> {
    let table: toml::Table = text.parse().map_err(|error| ConfigError::Syntax {
        file: file.to_owned(),
        error,
    })?;
    for (name, value) in &table {
        match value {
            toml::Value::Table(section) => {
                for (key, value) in section {
                    let raw = RawValue {
                        source_name: file,
                        form: RawForm::Toml(value),
                    };
                    set(config, &format!("{name}.{key}"), &raw)?;
                }
            }
            value => {
                let raw = RawValue {
                    source_name: file,
                    form: RawForm::Toml(value),
                };
                set(config, name, &raw)?;
            }
        }
    }
    Ok(())
}

fn apply_environment(
    config: &mut Config,
    environment: &[(String, String)],
) -> Result<Vec<String>, ConfigError> {
    let keys = all_keys();
    let mut notes = Vec::new();
    for (name, value) in environment {
        if !name.starts_with("RINGMQ_") {
            continue;
        }
        match keys.iter().find(|key| key.variable() == *name) {
            Some(key) => {
                let raw = RawValue {
                    source_name: &format!("environment variable {name}"),
                    form: RawForm::Text(value),
                };
                set(config, key.name, &raw)?;
            }
            None => notes.push(format!(
                "environment variable {name} is not a setting; ignored"
            )),
        }
    }
    Ok(notes)
}

/// The known key that was probably meant.
fn nearest_key(key: &str) -> Option<&'static str> {
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    all_keys()
        .iter()
        .map(|known| {
            // The right key in the wrong section is near, too.
            let whole = strsim::damerau_levenshtein(key, known.name);
            let part = 1 + strsim::damerau_levenshtein(&last(key), &last(known.name));
            (whole.min(part), known.name)
        })
        .min()
        .filter(|(distance, name)| *distance <= 2.max(name.len() / 4))
        .map(|(_, name)| name)
}

/// What no single key's bounds can say.
fn check(config: &Config) -> Result<(), ConfigError> {
    let invalid = |key, problem: String| Err(ConfigError::Invalid { key, problem });
    let node = &config.node;
    if !node.node.is_empty() && !is_valid_node_name(&node.node) {
        return invalid(
            "node",
            format!(
                "{:?} is not a node name; allowed are 1 to 60 of A-Z a-z 0-9 _ -",
                node.node
            ),
        );
    }
    if !is_valid_node_name(&node.cluster) {
        return invalid(
            "cluster",
            format!(
                "{:?} is not a cluster name; allowed are 1 to 60 of A-Z a-z 0-9 _ -",
                node.cluster
            ),
        );
    }
    if let Err(problem) = crate::address::parse_advertise(&node.advertise) {
        return invalid("advertise", problem);
    }
    for server in &node.namesrv {
        if let Err(problem) = crate::address::parse_host_port(server) {
            return invalid("namesrv", problem);
        }
    }
    let last_port = u32::from(node.base_port) + 10 * node.shards.saturating_sub(1);
    if last_port > 65_535 {
        return invalid(
            "base_port",
            format!(
                "the last of {} shards would have port {last_port}",
                node.shards
            ),
        );
    }
    if let Err(problem) = DelayLevels::parse(&config.topics.delay_levels) {
        return invalid("topics.delay_levels", problem);
    }
    let storage = &config.storage;
    if !(storage.disk_early_percent <= storage.disk_forced_percent
        && storage.disk_forced_percent <= storage.disk_refuse_percent)
    {
        return invalid(
            "storage.disk_early_percent",
            format!(
                "watermarks must rise: early {} <= forced {} <= refuse {}",
                storage.disk_early_percent,
                storage.disk_forced_percent,
                storage.disk_refuse_percent
            ),
        );
    }
    if config.limits.connection_in_flight_bytes > config.limits.shard_in_flight_bytes {
        return invalid(
            "limits.connection_in_flight_bytes",
            "is above limits.shard_in_flight_bytes, so one connection could take all".to_owned(),
        );
    }
    if config.groups.session_timeout_ms_min > config.groups.session_timeout_ms_max {
        return invalid(
            "groups.session_timeout_ms_min",
            "is above groups.session_timeout_ms_max".to_owned(),
        );
    }
    Ok(())
}
