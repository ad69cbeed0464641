//! Whether topics and groups come into being by use, as an operator said while the node runs. Until the next start.

use std::sync::atomic::{AtomicU8, Ordering};

/// See the module.
#[derive(Debug, Default)]
pub struct Automatic {
    pub topics: Switch,
    pub groups: Switch,
}

/// A setting that may be overruled.
#[derive(Debug, Default)]
pub struct Switch(AtomicU8);

const OFF: u8 = 1;
const ON: u8 = 2;

impl Switch {
    /// Overrules the setting.
    pub fn set(&self, on: bool) {
        self.0.store(if on { ON } else { OFF }, Ordering::Relaxed);
    }

    /// What was said last, or else the setting.
    pub fn or(&self, setting: bool) -> bool {
        match self.0.load(Ordering::Relaxed) {
            OFF => false,
            ON => true,
            _ => setting,
        }
    }
}
