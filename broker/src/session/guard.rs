//! A request that panics must not take others with it.

use crate::shard::Shard;
use crate::shard::counters::count;
use futures_lite::FutureExt;
use ringmq_storage_engine::disk::Disk;
use ringmq_storage_engine::runtime::Runtime;
use std::fmt::Display;
use std::panic::AssertUnwindSafe;

/// What a client is told then.
pub const PANICKED: &str = "the broker failed inside; its log says more";

/// The outcome, or nothing if it panicked. Borrows of shared state last for one call, so a panic leaves none behind;
/// what it may have left half done is told to the client and the operator, and the process goes on serving the
/// others.
pub async fn guarded<D: Disk, R: Runtime, T>(
    shard: &Shard<D, R>,
    connection: u64,
    request: impl Display,
    answering: impl Future<Output = T>,
) -> Option<T> {
    let outcome = AssertUnwindSafe(answering).catch_unwind().await;
    if outcome.is_err() {
        count(&shard.counters().panics, 1);
        tracing::error!(
            shard = shard.name(),
            connection,
            %request,
            "a request panicked: this is a defect, please report it with the lines above"
        );
    }
    outcome.ok()
}
