//! Connections of RocketMQ clients.
//!
//! - [`frames`]: received bytes in, frames out, as a state machine without IO.
//! - [`reader`]: the loop that takes its steps.
//! - [`serve`]: requests, begun in order, finished by tasks; answers.

pub mod frames;
#[cfg(test)]
mod frames_tests;
pub mod reader;
pub mod serve;

pub use frames::{Session, Step};
pub use reader::Reader;
pub use serve::Connection;
