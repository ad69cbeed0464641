//! RingMQ's own protocol.

pub(crate) mod batch;
mod connection;
mod fetcher;
pub(crate) mod route;
mod sending;

pub(crate) use fetcher::Fetcher;
pub(crate) use sending::Native;
