//! RocketMQ's remoting protocol: captured bytes, properties, and resistance to foreign bytes.

mod captured;
mod captures;
mod commands;
mod frames;
mod headers;
