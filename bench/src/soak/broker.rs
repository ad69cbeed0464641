//! The broker under test, as a process that is started, stopped and killed.

use super::args::Arguments;
use crate::BenchError;
use crate::process::{free_port, terminate};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// Longer than a start or a clean stop takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// How a life of the broker ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum End {
    /// SIGTERM: it stops cleanly.
    Stopped,
    /// SIGKILL.
    Killed,
}

/// A broker with a name server of its own. Killed when dropped.
#[derive(Debug)]
pub(super) struct Broker {
    command: Vec<String>,
    program: PathBuf,
    log: PathBuf,
    child: Child,
}

impl Broker {
    /// Starts it. The second value is its name server, which keeps its address over restarts.
    pub(super) async fn start(
        program: &Path,
        data_dir: &Path,
        arguments: &Arguments,
    ) -> Result<(Self, String), BenchError> {
        let port = free_port().map_err(|e| failed("find a port for", e))?;
        let mut command: Vec<String> = ["dev", "--port", "0", "--admin-port", "0"]
            .map(String::from)
            .into();
        let mut flag = |name: &str, value: String| command.extend([name.to_owned(), value]);
        flag("--namesrv-port", port.to_string());
        flag("--data-dir", data_dir.display().to_string());
        flag("--shards", arguments.shards.to_string());
        let retention_ms = arguments.retention.as_millis();
        flag("--set", format!("storage.retention_ms={retention_ms}"));
        // The smallest segments and frequent snapshots: the more often they change, the more is tested.
        flag("--set", "storage.segment_bytes=67108864".to_owned());
        flag("--set", "storage.snapshot_every_bytes=67108864".to_owned());
        for setting in &arguments.set {
            flag("--set", setting.clone());
        }
        let log = data_dir.with_extension("log");
        let child = spawn(program, &command, &log).await?;
        let broker = Self {
            command,
            program: program.to_owned(),
            log,
            child,
        };
        Ok((broker, format!("127.0.0.1:{port}")))
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Whether it ended without being asked to.
    pub(super) fn has_ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok().flatten()?;
        Some(format!(
            "the broker ended by itself: {status}; see {}",
            self.log.display()
        ))
    }

    /// Ends this life.
    pub(super) async fn end(&mut self, how: End) -> Result<(), BenchError> {
        match how {
            End::Killed => self.child.start_kill().map_err(|e| failed("kill", e))?,
            End::Stopped => terminate(&mut self.child).map_err(|e| failed("stop", e))?,
        }
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let status = ended
            .map_err(|_| BenchError::Cluster("the broker does not stop".into()))?
            .map_err(|e| failed("wait for", e))?;
        if how == End::Stopped && !status.success() {
            let log = self.log.display();
            return Err(BenchError::Cluster(format!(
                "the broker did not stop cleanly: {status}; see {log}"
            )));
        }
        Ok(())
    }

    /// Begins the next life, on the same directory.
    pub(super) async fn again(&mut self) -> Result<(), BenchError> {
        self.child = spawn(&self.program, &self.command, &self.log).await?;
        Ok(())
    }
}

async fn spawn(program: &Path, command: &[String], log: &Path) -> Result<Child, BenchError> {
    let log_file = std::fs::File::options()
        .create(true)
        .append(true)
        .open(log)
        .map_err(|e| failed("open the log of", e))?;
    let mut child = Command::new(program)
        .args(command)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log_file)
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| failed("start", e))?;
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    match tokio::time::timeout(PATIENCE, lines.next_line()).await {
        Ok(Ok(Some(line))) if line.starts_with("ready ") => Ok(child),
        _ => Err(BenchError::Cluster(format!(
            "the broker is not ready; see {}",
            log.display()
        ))),
    }
}

fn failed(operation: &'static str, source: std::io::Error) -> BenchError {
    BenchError::Io {
        operation,
        address: "the broker".into(),
        source,
    }
}
