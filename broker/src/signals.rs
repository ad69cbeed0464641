//! SIGTERM and SIGINT: the first asks to stop, the second to stop without waiting, the third ends the process.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;

/// Exit code of a process that was told three times.
const EXIT_AT_ONCE: i32 = 130;

/// Counts requests to stop: one message each.
#[derive(Debug)]
pub struct StopRequests {
    pub received: flume::Receiver<()>,
}

/// Starts to listen. From here on a signal does not end the process by itself.
pub fn listen() -> std::io::Result<StopRequests> {
    // A file-size limit must come back as EFBIG from the write, not kill the process. Any handler does that.
    signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let (sender, received) = flume::bounded(2);
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            let mut count = 0;
            for signal in &mut signals {
                count += 1;
                tracing::info!(signal, count, "asked to stop");
                if count >= 3 {
                    // The log is crash-safe; whoever asks three times means it.
                    std::process::exit(EXIT_AT_ONCE);
                }
                let _ = sender.try_send(());
            }
        })?;
    Ok(StopRequests { received })
}
