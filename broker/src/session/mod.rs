//! Connections: bytes in, requests out; answers in, bytes out.
//!
//! - [`opening`], [`inbox`], [`native`]: what arrives, as a state machine without IO.
//! - [`budget`]: bounded bytes, with waiting.

pub mod budget;
#[cfg(target_os = "linux")]
pub mod connection;
pub mod inbox;
pub mod link;
pub mod native;
#[cfg(test)]
mod native_tests;
pub mod opening;
pub mod outbox;
pub mod reader;
pub mod serve;
#[cfg(test)]
mod sim_tests;
pub mod watch;
