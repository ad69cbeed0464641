//! Connections: one to each shard, one to a name server.

mod backoff;
mod call;
mod connection;
mod io;
mod link;

pub(crate) use backoff::Backoff;
pub(crate) use call::Call;
pub(crate) use connection::{Connection, Identity};
pub(crate) use link::Links;
