//! The production runtime: the glommio executor of the calling thread.

use std::future::Future;
use std::io;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use glommio::{LocalExecutorBuilder, Placement};

use super::Runtime;

/// A handle to the glommio executor that runs the calling task; carries nothing, because the executor is
/// found through the thread.
#[derive(Debug, Clone, Copy, Default)]
pub struct GlommioRuntime;

/// One origin for the process, so that times of several executors compare.
fn origin() -> Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    *ORIGIN.get_or_init(Instant::now)
}

impl Runtime for GlommioRuntime {
    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        glommio::spawn_local(task).detach();
    }

    fn now(&self) -> Duration {
        origin().elapsed()
    }

    fn wall_ms(&self) -> i64 {
        // A clock before 1970 counts as 1970.
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| {
                i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
            })
    }

    async fn sleep(&self, duration: Duration) {
        glommio::timer::sleep(duration).await;
    }

    async fn yield_now(&self) {
        futures_lite::future::yield_now().await;
    }

    fn random_u64(&self) -> u64 {
        rand::random()
    }
}

/// Starts and drops an executor, to see whether one starts here. On a thread of its own: glommio panics on some
/// errors.
pub fn probe() -> io::Result<()> {
    let probe = || {
        let made = LocalExecutorBuilder::new(Placement::Unbound)
            .io_memory(256 << 10)
            .make();
        made.map(drop).map_err(|e| match e.raw_os_error() {
            Some(errno) => io::Error::from_raw_os_error(errno),
            None => io::Error::other(e.to_string()),
        })
    };
    let panicked = |_| Err(io::Error::other("the probe panicked"));
    std::thread::spawn(probe).join().unwrap_or_else(panicked)
}
