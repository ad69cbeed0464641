//! What starting and stopping servers for a run takes.

use std::io;
use std::net::TcpListener;
use tokio::process::Child;

/// A port that is free now. Somebody else may take it before it is used.
pub(crate) fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Asks a process to end, by SIGTERM. One whose end was waited for is left alone.
#[cfg(unix)]
pub(crate) fn terminate(child: &mut Child) -> io::Result<()> {
    use rustix::process::{Pid, Signal, kill_process};
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    match pid.and_then(Pid::from_raw) {
        Some(pid) => Ok(kill_process(pid, Signal::TERM)?),
        None => Ok(()),
    }
}

/// Asks a process to end; where there are no signals it is killed.
#[cfg(not(unix))]
pub(crate) fn terminate(child: &mut Child) -> io::Result<()> {
    child.start_kill()
}
