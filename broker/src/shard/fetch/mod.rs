//! Fetch sessions: which queues a consumer reads, and which of them have something to read.

mod registry;
#[cfg(test)]
mod tests;

pub use registry::{FetchRegistry, Outcome, SessionId, SlotError, Subscription, Turn};
