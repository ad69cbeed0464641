//! Connections: bytes in, requests out; answers in, bytes out.
//!
//! - [`opening`], [`inbox`], [`native`]: what arrives, as a state machine without IO.
//! - [`reader`]: the loop that takes its steps; [`serve`]: requests, begun in order, finished by tasks.
//! - [`acknowledgements`]: batches that wait for the disk.
//! - [`link`], [`outbox`]: answers on their way out, and what they hold until they are sent.
//! - [`remoting`]: the same for RocketMQ clients, from the moment when the opening shows one.
//! - [`budget`], [`pace`], [`watch`]: bounded bytes, with waiting; peers that take too long.
//! - [`guard`]: requests that panic.
//! - [`source`]: where bytes come from; [`connection`]: sockets; the only file here that names glommio.

pub mod acknowledgements;
pub mod budget;
#[cfg(target_os = "linux")]
pub mod connection;
pub mod guard;
pub mod inbox;
pub mod link;
pub mod native;
#[cfg(test)]
mod native_tests;
pub mod opening;
pub mod outbox;
pub mod pace;
pub mod reader;
pub mod receiving;
pub mod remoting;
pub mod serve;
#[cfg(test)]
mod sim_tests;
pub mod source;
pub mod watch;
