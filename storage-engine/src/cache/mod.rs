//! Bytes of the log that are in memory, and how readers hold on to them.

mod slice;
mod tail;

pub use slice::SharedSlice;
pub use tail::TailCache;

#[cfg(all(test, feature = "sim"))]
mod tests;
