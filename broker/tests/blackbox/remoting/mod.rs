//! RocketMQ's remoting protocol, spoken by sockets and the wire codecs alone.

pub mod client;
mod consumers;
mod replay;
mod replies;
