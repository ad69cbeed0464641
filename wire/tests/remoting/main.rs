//! RocketMQ's remoting protocol: captured bytes, properties, and resistance to foreign bytes.

mod bodies;
mod captured;
mod captures;
mod commands;
mod fields;
mod frames;
mod headers;
mod messages;
mod properties;
mod registrations;
