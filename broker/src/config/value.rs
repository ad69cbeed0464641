//! The types a setting can have, each read from TOML or from text and written back.

use std::net::IpAddr;
use std::path::PathBuf;

use ringmq_storage_engine::store::WriteMode;

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// One setting's value.
pub trait SettingValue: Sized {
    /// In words, for listings and errors.
    const TYPE: &'static str;
    /// From the file.
    fn from_toml(value: &toml::Value) -> Option<Self>;
    /// From the environment or a flag.
    fn from_text(text: &str) -> Option<Self>;
    /// As the file would have it.
    fn to_toml(&self) -> toml::Value;
    /// The number to compare with bounds.
    fn number(&self) -> Option<i128> {
        None
    }
}

macro_rules! integer {
    ($($ty:ty),*) => { $(
        impl SettingValue for $ty {
            const TYPE: &'static str = "whole number";
            fn from_toml(value: &toml::Value) -> Option<Self> {
                value.as_integer().and_then(|number| Self::try_from(number).ok())
            }
            fn from_text(text: &str) -> Option<Self> {
                text.trim().replace('_', "").parse().ok()
            }
            fn to_toml(&self) -> toml::Value {
                // Bounds keep every setting inside TOML's 64-bit signed integers.
                toml::Value::Integer(i64::try_from(*self).unwrap_or(i64::MAX))
            }
            fn number(&self) -> Option<i128> {
                Some(i128::from(*self))
            }
        }
    )* };
}
integer!(u16, u32, u64);

impl SettingValue for bool {
    const TYPE: &'static str = "true or false";
    fn from_toml(value: &toml::Value) -> Option<Self> {
        value.as_bool()
    }
    fn from_text(text: &str) -> Option<Self> {
        text.trim().parse().ok()
    }
    fn to_toml(&self) -> toml::Value {
        toml::Value::Boolean(*self)
    }
}

impl SettingValue for String {
    const TYPE: &'static str = "text";
    fn from_toml(value: &toml::Value) -> Option<Self> {
        value.as_str().map(str::to_owned)
    }
    fn from_text(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
    fn to_toml(&self) -> toml::Value {
        toml::Value::String(self.clone())
    }
}

impl SettingValue for PathBuf {
    const TYPE: &'static str = "path";
    fn from_toml(value: &toml::Value) -> Option<Self> {
        value.as_str().map(Self::from)
    }
    fn from_text(text: &str) -> Option<Self> {
        Some(Self::from(text))
    }
    fn to_toml(&self) -> toml::Value {
        toml::Value::String(self.display().to_string())
    }
}

impl SettingValue for IpAddr {
    const TYPE: &'static str = "IP address";
    fn from_toml(value: &toml::Value) -> Option<Self> {
        value.as_str().and_then(Self::from_text)
    }
    fn from_text(text: &str) -> Option<Self> {
        text.trim().parse().ok()
    }
    fn to_toml(&self) -> toml::Value {
        toml::Value::String(self.to_string())
    }
}

impl SettingValue for Vec<String> {
    const TYPE: &'static str = "list of texts";
    fn from_toml(value: &toml::Value) -> Option<Self> {
        value
            .as_array()?
            .iter()
            .map(|entry| entry.as_str().map(str::to_owned))
            .collect()
    }
    fn from_text(text: &str) -> Option<Self> {
        // RocketMQ separates name servers by semicolons; both are taken.
        Some(
            text.split([',', ';'])
                .map(str::trim)
                .filter(|entry| !entry.is_empty())
                .map(str::to_owned)
                .collect(),
        )
    }
    fn to_toml(&self) -> toml::Value {
        toml::Value::Array(self.iter().cloned().map(toml::Value::String).collect())
    }
}

impl SettingValue for WriteMode {
    const TYPE: &'static str = "\"durable-write\" or \"write-then-sync\"";
    fn from_toml(value: &toml::Value) -> Option<Self> {
        value.as_str().and_then(Self::from_text)
    }
    fn from_text(text: &str) -> Option<Self> {
        match text.trim() {
            "durable-write" => Some(Self::DurableWrite),
            "write-then-sync" => Some(Self::WriteThenSync),
            _ => None,
        }
    }
    fn to_toml(&self) -> toml::Value {
        let name = match self {
            Self::DurableWrite => "durable-write",
            Self::WriteThenSync => "write-then-sync",
        };
        toml::Value::String(name.to_owned())
    }
}

impl SettingValue for LogFormat {
    const TYPE: &'static str = "\"human\" or \"json\"";
    fn from_toml(value: &toml::Value) -> Option<Self> {
        value.as_str().and_then(Self::from_text)
    }
    fn from_text(text: &str) -> Option<Self> {
        match text.trim() {
            "human" => Some(Self::Human),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
    fn to_toml(&self) -> toml::Value {
        let name = match self {
            Self::Human => "human",
            Self::Json => "json",
        };
        toml::Value::String(name.to_owned())
    }
}
