//! Where a connection's bytes come from: a socket, or a pipe of the simulator.

use std::cell::RefCell;
use std::io;

/// The receiving end of a session.
pub trait Receive {
    /// Where the next bytes go; never empty.
    fn unfilled(&mut self) -> &mut [u8];
    /// `count` bytes are there.
    fn filled(&mut self, count: usize, now_ms: u64);
    /// Throws away what was received: the session is closed.
    fn discard_received(&mut self);
}

/// See the module.
#[allow(
    async_fn_in_trait,
    reason = "single-threaded executors: no Send bound wanted"
)]
pub trait Source {
    /// Receives once into [`Receive::unfilled`] and says how much; 0 at the end of the stream. The caller reports it
    /// with [`Receive::filled`].
    async fn receive<S: Receive>(&self, session: &RefCell<S>) -> io::Result<usize>;
    /// Lets other tasks run if this one has run for long.
    async fn breathe(&self);
}
