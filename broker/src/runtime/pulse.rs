//! Wakes every executor from outside, over and over.
//!
//! glommio: an executor that lost its core between arming its preemption timer and running its first task takes that
//! for "nothing to run" and may sleep although tasks are ready. No timer of its own helps, being such a task; any event
//! from outside does. A pulse bounds the stall, and costs an idle executor a wake-up each.

use std::thread;
use std::time::Duration;

/// Longest stall of an executor that went to sleep by mistake.
const EVERY: Duration = Duration::from_millis(50);

/// One executor's end.
pub(super) type Pulse = flume::Receiver<()>;

/// Ends for `executors` executors. The thread behind them ends when all of them are gone.
pub(super) fn start(executors: usize) -> std::io::Result<Vec<Pulse>> {
    let (senders, pulses): (Vec<_>, Vec<_>) = (0..executors).map(|_| flume::bounded(1)).unzip();
    thread::Builder::new()
        .name("pulse".to_owned())
        .spawn(move || {
            while senders.iter().any(|sender| !sender.is_disconnected()) {
                thread::sleep(EVERY);
                for sender in &senders {
                    // A full one has been sent and not been seen: its executor is at work.
                    let _ = sender.try_send(());
                }
            }
        })?;
    Ok(pulses)
}

/// Takes pulses for as long as the executor lives.
pub(super) async fn take(pulse: Pulse) {
    while pulse.recv_async().await.is_ok() {}
}
