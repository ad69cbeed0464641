//! Handlers on a whole shard over the simulated disk: what was answered holds, also after a power cut.

mod crash;
mod failed_log;
mod requests;
mod world;
