//! RocketMQ's remoting protocol, spoken by sockets and the wire codecs alone.

mod captures;
pub mod client;
mod consumers;
mod kills;
mod messages;
mod replay;
mod replies;
mod routes;
