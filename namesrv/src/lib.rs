//! RingMQ's name server: which shard serves which queue, kept in memory.
//!
//! Brokers register every shard with every name server; clients ask any of them, or watch. Name servers do not know
//! of each other and keep no routes on disk: whatever one of them forgets, the next registration or heartbeat brings
//! back.
//!
//! Clients, tools and brokers of Apache RocketMQ are served in their own protocol on the same port.
//!
//! Decisions are pure and take the time as an argument: [`route_table`] (what is registered, by whom, since when),
//! [`broker_table`] (the same for brokers of RocketMQ),
//! [`liveness`] (who is silent for too long), [`watch`] (who must be told what), [`answers`] (in which bytes). [`Server`] is the glue around them:
//! sockets, timers, limits. It needs a tokio runtime of any kind, so a broker can embed it.
#![forbid(unsafe_code)]

pub mod answers;
pub mod broker_table;
mod config;
mod connection;
mod directory;
pub mod foreign;
mod kv;
pub mod liveness;
mod reader;
mod remoting;
mod requests;
pub mod route_table;
mod server;
pub mod watch;

pub use config::{Config, ConfigError, FileConfig};
pub use server::Server;
