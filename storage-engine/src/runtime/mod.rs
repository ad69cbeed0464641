//! The seam between the engine (and the broker's loops above it) and an executor.
//!
//! One executor runs on one thread, so futures need not be `Send`. Production uses glommio; tests use a
//! deterministic executor with virtual time, where every source of time, order and randomness is seeded.

#[cfg(target_os = "linux")]
pub mod glommio;
#[cfg(feature = "sim")]
pub mod sim;

use std::future::Future;
use std::time::Duration;

/// A cheap handle to the executor that runs the calling task.
#[allow(
    async_fn_in_trait,
    reason = "single-threaded executors: no Send bound wanted"
)]
pub trait Runtime: Clone + 'static {
    /// Starts a task that runs until it ends; nobody waits for it.
    fn spawn(&self, task: impl Future<Output = ()> + 'static);
    /// Monotonic time since some fixed moment; for timeouts and durations.
    fn now(&self) -> Duration;
    /// Wall clock, Unix milliseconds; may jump.
    fn wall_ms(&self) -> i64;
    /// Waits.
    async fn sleep(&self, duration: Duration);
    /// Lets other tasks run.
    async fn yield_now(&self);
    /// Random bits: ids, jitter. Never part of a replayed decision.
    fn random_u64(&self) -> u64;
}
