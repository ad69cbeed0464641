//! RingMQ's broker: one executor a core, one shard a log, one port a shard.
//!
//! - [`handler`]: one file a request kind; every protocol translates to these.
//! - [`shard`]: what one shard owns, as its sessions and handlers see it.
//! - [`state`]: what a shard's log says, and the decisions on it.
//! - [`limits`]: every bound of a broker process, in one place.
#![deny(unsafe_code)]

pub mod handler;
pub mod limits;
pub mod shard;
pub mod state;
