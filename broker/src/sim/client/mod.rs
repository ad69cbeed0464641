//! Simulated clients: what the native client library and RocketMQ clients do, on simulated time and connections.
//!
//! - [`connection`]: frames over a stream, with deadlines; [`routes`], [`watch`]: asking name servers, and being told by
//!   them.
//! - [`producer`]: idempotent producers; their order, retries and verdicts are the client library's own state machine.
//! - [`member`]: members of consumer groups: leases, fetch sessions, commits; [`admin`]: topics come and go.
//! - [`remoting`]: clients of RocketMQ's protocol.

pub mod admin;
pub mod connection;
pub mod member;
pub mod producer;
pub mod remoting;
pub mod routes;
pub mod watch;

/// The client library's state machine of a queue's producer, compiled here from its own file: it is pure, and the
/// broker must not depend on the client library.
#[path = "../../../../client/src/producer/lane.rs"]
#[allow(dead_code, reason = "the library uses more of it")]
mod lane;

/// The client library's table of what name servers told, by the same means and for the same reason.
#[path = "../../../../client/src/route/table.rs"]
#[allow(dead_code, reason = "the library uses more of it")]
mod route_table;
