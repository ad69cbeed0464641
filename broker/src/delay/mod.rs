//! Messages that are delivered later: RocketMQ's delay levels.
//!
//! ```text
//! send, retry ─ park ─▶ SCHEDULE_TOPIC_XXXX, queue level-1 ─ deliver ─▶ the message's own topic and queue
//!                                    (in the order of arrival)   └── one frame ──▶ the level's offset advances
//! ```
//! - A message waits in its level's queue with the wall time at which it is due. All messages of a level wait equally
//!   long, so the queue is in order of time, and only its head is looked at: nothing is kept in memory for the rest.
//! - Delivery appends the message to its own queue and advances the level's committed offset (group
//!   `CID_RMQ_SYS_SCHEDULE`) in one frame. A crash leaves both or neither, so each message is delivered exactly once.
//! - Due is a matter of the wall clock, and never early: see [`due`].
//! - What waits keeps its segments from retention, however full the disk is; delivering goes on above the watermark
//!   that refuses other messages, because it is what lets segments go.

pub mod bell;
mod deliver;
mod due;
pub mod levels;
mod park;

#[cfg(test)]
mod tests;

pub use bell::Bell;
pub use deliver::{run, waiting};
pub use levels::DelayLevels;
pub use park::{Stored, park, store};

/// Property of a parked message: when it is due, in wall-clock milliseconds. Beside RocketMQ's own properties, which
/// stay within their bound and as they were; gone at delivery.
const DUE: &str = "ringmq.due";
