//! The real program, on a real disk, killed and started again; spoken to with sockets and the wire codecs alone.
//!
//! A killed process leaves the page cache and the device's cache alone, so this is about process crashes; power cuts
//! are the simulated disk's business.

#![cfg(target_os = "linux")]

mod crowds;
mod descriptors;
mod durability;
mod groups;
mod harness;
mod process;
mod refusals;
mod remoting;
mod topics;
mod wire;
