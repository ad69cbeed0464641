//! Starting the broker's program and waiting until it serves.

use std::{future::Future, path::Path, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

/// A broker's process, killed when dropped, and its ready line. Its log is appended to a file beside the directory.
pub async fn start(directory: &Path, arguments: &[&str]) -> (Child, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmq-broker"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("RINGMQ_") {
            command.env_remove(name);
        }
    }
    let log_path = directory.with_extension("log");
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(&log_path)
        .expect("a log beside the directory");
    let mut child = command
        .args(arguments)
        .arg("--data-dir")
        .arg(directory)
        .args(["--set", "storage.segment_bytes=67108864"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .expect("the program can be started");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let ready = within(60, lines.next_line())
        .await
        .expect("readable")
        .unwrap_or_default();
    let log = || std::fs::read_to_string(&log_path).unwrap_or_default();
    assert!(ready.starts_with("ready "), "{ready:?} {}", log());
    (child, ready)
}

/// The future's outcome, or a failed test.
pub async fn within<T>(seconds: u64, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(seconds), future)
        .await
        .expect("finished in time")
}

/// A directory on a disk that knows O_DIRECT.
pub fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the target directory can be written")
}
