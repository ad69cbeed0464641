//! What an operator can set: one table of keys, each with type, unit, default, bounds and reason.
//!
//! A value comes from the default, then the file, then the environment (`RINGMQ_` + the key in capitals, dots as
//! underscores), then flags; the later one wins. Every key is read once, at start: a change needs a restart.
//! Unknown keys of the file and of `--set` are refused by name; unknown `RINGMQ_` variables are only reported, because
//! Kubernetes invents such names for a service called `ringmq`.

mod derive;
mod keys;
mod load;
mod print;
mod value;

pub use keys::{
    AdminSettings, Config, DevSettings, GroupSettings, LimitSettings, LogSettings, NodeSettings,
    StorageSettings, TopicSettings, all_keys,
};
pub use load::{ConfigError, Sources, load};
pub use print::{print, print_defaults};
pub use value::{LogFormat, SettingValue};

/// What can be said about a key without having a value of it.
#[derive(Debug, Clone)]
pub struct KeyInfo {
    /// As in the file, with dots.
    pub name: &'static str,
    /// In words.
    pub type_name: &'static str,
    /// Of numbers; empty otherwise.
    pub unit: &'static str,
    /// Of numbers, both ends included.
    pub bounds: Option<(i128, i128)>,
    /// As it would be written in the file.
    pub default: String,
    /// What it does and why one would change it.
    pub reason: &'static str,
}

impl KeyInfo {
    /// The environment variable that sets it.
    pub fn variable(&self) -> String {
        format!("RINGMQ_{}", self.name.replace('.', "_").to_uppercase())
    }
}

#[cfg(test)]
mod tests;
