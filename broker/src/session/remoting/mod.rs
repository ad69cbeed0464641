//! Connections of RocketMQ clients.
//!
//! - [`answering`]: answers, those that wait for the disk too.
//! - [`frames`]: received bytes in, frames out, as a state machine without IO.
//! - [`reader`]: the loop that takes its steps.
//! - [`serve`]: requests, begun in order; all but sends finished by tasks.

pub mod answering;
pub mod frames;
#[cfg(test)]
mod frames_tests;
pub mod reader;
pub mod serve;

pub use answering::Sending;
pub use frames::{Session, Step};
pub use reader::Reader;
pub use serve::Connection;
