//! A configuration as a file that could be read back, with every key explained.

use std::fmt::Write;

use super::keys::{Config, all_keys};

/// The whole configuration.
pub fn print(config: &Config) -> String {
    let values = config.values();
    let mut text = String::new();
    let mut section = "";
    for (key, (name, value)) in all_keys().iter().zip(values) {
        debug_assert_eq!(key.name, name, "keys and values have one order");
        let (prefix, last) = name.rsplit_once('.').unwrap_or(("", name));
        if prefix != section {
            section = prefix;
            let _ = writeln!(text, "[{section}]");
        }
        for line in key.reason.lines() {
            let _ = writeln!(text, "#{line}");
        }
        let _ = write!(text, "# {}", key.type_name);
        if let Some((low, high)) = key.bounds {
            let _ = write!(text, ", {} ({low} to {high})", key.unit);
        }
        let _ = writeln!(text, "; default {}", key.default);
        let _ = writeln!(text, "{last} = {value}\n");
    }
    text
}

/// The defaults of `run`.
pub fn print_defaults() -> String {
    print(&Config::default())
}
