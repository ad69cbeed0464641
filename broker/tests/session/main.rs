//! A shard in this process, on a real disk, and clients that speak bytes.
#![cfg(target_os = "linux")]

mod broker;
mod client;
mod fetch;
mod hostile;
mod limits;
mod produce;
mod query;
mod remoting;
mod statistics;
