//! RingMQ's storage engine: one shard's CommitLog, its index, its cache and its snapshots.
#![deny(unsafe_code)]

#[macro_use]
pub mod marks;

pub mod cache;
pub mod commitlog;
pub mod data_dir;
pub mod disk;
pub mod examine;
#[cfg(all(test, feature = "sim"))]
mod fixture;
mod format;
pub mod index;
pub mod position;
#[cfg(target_os = "linux")]
pub mod preflight;
pub mod reader;
pub mod retention;
pub mod runtime;
pub mod shard_meta;
pub mod snapshot;
pub mod state_machine;
pub mod store;
mod sync;
