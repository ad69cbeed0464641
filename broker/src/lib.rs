//! RingMQ's broker: one executor a core, one shard a log, one port a shard.
//!
//! - [`process`]: the life of a broker process; [`doctor`], [`signals`], [`logging`], [`output`], [`ports`]
//!   serve it.
//! - [`admin`]: the thread beside the data path, with HTTP, control task and registrations.
//! - [`config`], [`cli`]: what an operator can set, from file, environment and flags.
//! - [`node`]: what every shard knows of its node; the only way between shards and the control plane.
//! - [`directory`]: who is in which group, decided in one place, published to all shards.
//! - [`control`], [`registration`]: what the node does beside its shards: groups, topics over shards, name servers.
//! - [`handler`]: one file a request kind; every protocol translates to these.
//! - [`runtime`]: executors, ports, mailboxes.
//! - [`delay`]: messages that are delivered later.
//! - [`session`]: connections and the protocols on them.
//! - [`shard`]: what one shard owns, as its sessions and handlers see it.
//! - `sim` (feature `sim`): a whole cluster on one thread in virtual time, for tests.
//! - [`state`]: what a shard's log says, and the decisions on it.
//! - [`offline`]: looking at and mending a data directory that nobody serves.
//! - [`limits`]: every bound of a broker process, in one place.
#![deny(unsafe_code)]

pub mod address;
pub mod admin;
pub mod cli;
pub mod config;
pub mod control;
pub mod delay;
pub mod directory;
pub mod doctor;
pub mod handler;
pub mod limits;
pub mod logging;
pub mod metrics;
pub mod node;
#[cfg(unix)]
pub mod offline;
pub mod output;
pub mod ports;
pub mod process;
pub mod registration;
#[cfg(target_os = "linux")]
pub mod runtime;
pub mod session;
pub mod shard;
pub mod signals;
#[cfg(all(target_os = "linux", any(test, feature = "sim")))]
pub mod sim;
pub mod state;

/// What this program calls itself in handshakes and listings.
pub const SOFTWARE: &str = concat!("ringmq-broker/", env!("CARGO_PKG_VERSION"));
