//! Servers as processes: started for a run, told apart by how durable they are, gone afterwards.

mod peers;

use super::scenario::{Entrant, Kind, Sync};
use crate::BenchError;
use crate::process::terminate;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// Longer than a start or a clean stop takes.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// Where the programs are, and where the data goes.
#[derive(Debug, Clone)]
pub(super) struct Places {
    pub(super) ringmq_broker: PathBuf,
    pub(super) redis_server: PathBuf,
    pub(super) nats_server: PathBuf,
    /// Kafka's distribution, unpacked.
    pub(super) kafka_dir: Option<PathBuf>,
    pub(super) iggy_server: PathBuf,
    /// A server that somebody else started: nothing is started or stopped.
    pub(super) address: Option<String>,
    /// Name servers of RocketMQ brokers that somebody else started, by how they flush.
    pub(super) rocketmq_sync: Option<String>,
    pub(super) rocketmq_async: Option<String>,
    /// This program.
    pub(super) this: PathBuf,
    pub(super) data_dir: PathBuf,
}

/// A server that is ready. Killed when dropped.
#[derive(Debug)]
pub(super) struct Server {
    /// None: somebody else's.
    process: Option<Child>,
    /// Kept open: a server that cannot write to it may end.
    _output: Option<Lines<BufReader<ChildStdout>>>,
    /// Flags that lead a command of this program to the server.
    pub(super) flags: Vec<String>,
    pub(super) command: String,
    pub(super) ready_ms: f64,
    /// HTTP address of the metrics, if there is one.
    pub(super) admin: Option<SocketAddr>,
}

/// Durability of an entrant's acknowledgements, in words.
pub(super) fn durability(entrant: &Entrant) -> &'static str {
    match (entrant.server, entrant.sync) {
        (Kind::Ringmq, _) => "on disk (O_DIRECT + O_DSYNC) before the answer",
        (Kind::Null, _) => "none: nothing is stored",
        (Kind::Limit, _) => "the bare loop writes with O_DIRECT + O_DSYNC; no server",
        (Kind::Redis, Sync::Always) => "append-only file, appendfsync always",
        (Kind::Redis, Sync::Never) => "append-only file, appendfsync no: page cache",
        (Kind::Nats, Sync::Always) => "JetStream file store, sync_interval always",
        (Kind::Nats, Sync::Never) => "JetStream file store, sync every 2 minutes: page cache",
        (Kind::Kafka, Sync::Always) => "log.flush.interval.messages 1: synced before the answer",
        (Kind::Kafka, Sync::Never) => "no flush of its own, its default: page cache",
        (Kind::Iggy, Sync::Always) => {
            "messages_required_to_save 1 with enforce_fsync: synced before the answer"
        }
        (Kind::Iggy, Sync::Never) => {
            "its defaults: in memory until there are 1,024 messages or 1 MiB, then page cache"
        }
        (Kind::Rocketmq, Sync::Always) => "as the server at this address was set: synced",
        (Kind::Rocketmq, Sync::Never) => "as the server at this address was set: page cache",
    }
}

impl Places {
    /// What the program says of itself; empty without a program.
    pub(super) fn version(&self, kind: Kind) -> String {
        if kind == Kind::Kafka {
            return self.kafka_version().unwrap_or_default();
        }
        let Some(program) = self.program(kind) else {
            return String::new();
        };
        let said = std::process::Command::new(program)
            .arg("--version")
            .output();
        let said = said.map(|output| output.stdout).unwrap_or_default();
        let text = String::from_utf8_lossy(&said);
        text.lines().next().unwrap_or_default().to_owned()
    }

    /// Size of the program as it is, and without what only debuggers read, if `strip` is here.
    pub(super) fn binary_mib(&self, kind: Kind) -> serde_json::Value {
        let Some(program) = self.program(kind) else {
            return serde_json::Value::Null;
        };
        let mib = |path: &Path| {
            let bytes = std::fs::metadata(path).ok()?.len();
            Some(bytes as f64 / f64::from(1 << 20))
        };
        let stripped = self.data_dir.join("stripped");
        let strip = std::process::Command::new("strip")
            .arg("-o")
            .arg(&stripped)
            .arg(program)
            .status();
        let without = strip.ok().filter(std::process::ExitStatus::success);
        let without = without.and_then(|_| mib(&stripped));
        // Not there if strip is not.
        let _ = std::fs::remove_file(&stripped);
        serde_json::json!({ "file": mib(program), "stripped": without })
    }

    fn program(&self, kind: Kind) -> Option<&Path> {
        match kind {
            Kind::Ringmq => Some(&self.ringmq_broker),
            Kind::Null | Kind::Limit => Some(&self.this),
            Kind::Redis => Some(&self.redis_server),
            Kind::Nats => Some(&self.nats_server),
            Kind::Iggy => Some(&self.iggy_server),
            Kind::Kafka | Kind::Rocketmq => None,
        }
    }
}

impl Server {
    /// Starts the entrant's server on `directory`, which may hold data of an earlier start.
    pub(super) async fn start(
        places: &Places,
        entrant: &Entrant,
        directory: &Path,
    ) -> Result<Self, BenchError> {
        let given = match (entrant.server, entrant.sync) {
            (Kind::Rocketmq, Sync::Always) => &places.rocketmq_sync,
            (Kind::Rocketmq, Sync::Never) => &places.rocketmq_async,
            _ => &places.address,
        };
        if let Some(address) = given {
            return Ok(Self::elsewhere(entrant.server, address));
        }
        // The log lies beside the data: some servers refuse a directory with foreign files.
        let data = directory.join("data");
        std::fs::create_dir_all(&data).map_err(|e| failed("make the directory of", e))?;
        match entrant.server {
            Kind::Ringmq => Self::ringmq(places, entrant, directory).await,
            Kind::Null => Self::null(places, directory).await,
            Kind::Redis => Self::redis(places, entrant, directory).await,
            Kind::Nats => Self::nats(places, entrant, directory).await,
            Kind::Kafka => Self::kafka(places, entrant, directory).await,
            Kind::Iggy => Self::iggy(places, entrant, directory).await,
            Kind::Limit | Kind::Rocketmq => Err(BenchError::Cluster(
                "the rig does not start such a server: start it and say where it is".to_owned(),
            )),
        }
    }

    fn elsewhere(kind: Kind, address: &str) -> Self {
        let flags = match kind {
            Kind::Null => vec!["--shard".to_owned(), address.to_owned()],
            Kind::Rocketmq => protocol("remoting", address),
            Kind::Redis => protocol("redis", address),
            Kind::Nats => protocol("nats", address),
            Kind::Kafka => protocol("kafka", address),
            Kind::Iggy => protocol("iggy", address),
            Kind::Ringmq | Kind::Limit => {
                vec!["--namesrv".to_owned(), address.to_owned()]
            }
        };
        Self {
            process: None,
            _output: None,
            flags,
            command: format!("started by somebody else at {address}"),
            ready_ms: 0.0,
            admin: None,
        }
    }

    async fn ringmq(
        places: &Places,
        entrant: &Entrant,
        directory: &Path,
    ) -> Result<Self, BenchError> {
        let mut line = Line::new(&places.ringmq_broker);
        line.put(&[
            "dev",
            "--port",
            "0",
            "--admin-port",
            "0",
            "--namesrv-port",
            "0",
        ]);
        line.put(&[
            "--log",
            "warn",
            "--data-dir",
            &directory.join("data").display().to_string(),
        ]);
        line.put(&["--shards", &entrant.shards.to_string()]);
        for setting in &entrant.set {
            line.put(&["--set", setting]);
        }
        let (mut server, ready) = line.spawn_until_ready(directory).await?;
        let part = |key: &str| {
            let parts = ready.split_whitespace();
            parts.filter_map(|part| part.strip_prefix(key)).next()
        };
        let Some(namesrv) = part("namesrv=") else {
            return Err(BenchError::Cluster(format!("the broker said {ready:?}")));
        };
        server.flags = vec!["--namesrv".to_owned(), namesrv.to_owned()];
        server.admin = part("admin=").and_then(|address| address.parse().ok());
        Ok(server)
    }

    async fn null(places: &Places, directory: &Path) -> Result<Self, BenchError> {
        let mut line = Line::new(&places.this);
        line.put(&["null"]);
        let (mut server, ready) = line.spawn_until_ready(directory).await?;
        let address = ready.trim_start_matches("ready broker=").trim().to_owned();
        server.flags = vec!["--shard".to_owned(), address];
        Ok(server)
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.process.as_ref()?.id()
    }

    /// Stops it cleanly; one that does not end is killed.
    pub(super) async fn stop(mut self) -> Result<(), BenchError> {
        let Some(process) = &mut self.process else {
            return Ok(());
        };
        // Gone already is as good.
        let _ = terminate(process);
        if tokio::time::timeout(PATIENCE, process.wait())
            .await
            .is_err()
        {
            process.kill().await.map_err(|e| failed("kill", e))?;
        }
        Ok(())
    }
}

fn protocol(name: &str, address: &str) -> Vec<String> {
    ["--protocol", name, "--namesrv", address]
        .map(str::to_owned)
        .into()
}

/// A command line that is being put together.
struct Line {
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(&'static str, PathBuf)>,
}

impl Line {
    fn new(program: &Path) -> Self {
        Self {
            program: program.to_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
        }
    }

    fn put(&mut self, arguments: &[&str]) {
        self.arguments
            .extend(arguments.iter().map(|a| (*a).to_owned()));
    }

    /// The process writes its errors to the log.
    fn spawn(&self, stdout: Stdio, log: File) -> Result<Child, BenchError> {
        Command::new(&self.program)
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| BenchError::Io {
                operation: "start",
                address: self.program.display().to_string(),
                source,
            })
    }

    /// For servers whose first line says that they are ready, and where.
    async fn spawn_until_ready(&self, directory: &Path) -> Result<(Server, String), BenchError> {
        let begun = Instant::now();
        let mut child = self.spawn(Stdio::piped(), log(directory)?)?;
        let stdout = child.stdout.take().expect("piped");
        let mut output = BufReader::new(stdout).lines();
        let ready = match tokio::time::timeout(PATIENCE, output.next_line()).await {
            Ok(Ok(Some(line))) if line.starts_with("ready ") => line,
            _ => return Err(self.not_ready(directory)),
        };
        let ready_ms = begun.elapsed().as_secs_f64() * 1e3;
        Ok((self.server(child, Some(output), ready_ms), ready))
    }

    /// For servers that are ready when their port answers.
    async fn spawn_until_port(
        &self,
        directory: &Path,
        port: u16,
        name: &str,
    ) -> Result<Server, BenchError> {
        let (begun, log) = (Instant::now(), log(directory)?);
        let stdout = log.try_clone().map_err(|e| failed("share the log of", e))?;
        let mut child = self.spawn(stdout.into(), log)?;
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = child.try_wait().ok().flatten().is_some();
            if ended || begun.elapsed() > PATIENCE {
                return Err(self.not_ready(directory));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        let ready_ms = begun.elapsed().as_secs_f64() * 1e3;
        let mut server = self.server(child, None, ready_ms);
        server.flags = protocol(name, &format!("127.0.0.1:{port}"));
        Ok(server)
    }

    fn server(
        &self,
        child: Child,
        output: Option<Lines<BufReader<ChildStdout>>>,
        ready_ms: f64,
    ) -> Server {
        Server {
            process: Some(child),
            _output: output,
            flags: Vec::new(),
            command: format!("{} {}", self.program.display(), self.arguments.join(" ")),
            ready_ms,
            admin: None,
        }
    }

    fn not_ready(&self, directory: &Path) -> BenchError {
        // The log goes with the directory: its last line is all that is left of it.
        let log = std::fs::read_to_string(directory.join("server.log")).unwrap_or_default();
        let last = log.lines().last().unwrap_or("it said nothing");
        BenchError::Cluster(format!("{} is not ready: {last}", self.program.display()))
    }
}

/// Where what a server says goes.
fn log(directory: &Path) -> Result<File, BenchError> {
    let file = File::options()
        .create(true)
        .append(true)
        .open(directory.join("server.log"));
    file.map_err(|e| failed("open the log of", e))
}

fn failed(operation: &'static str, source: std::io::Error) -> BenchError {
    BenchError::Io {
        operation,
        address: "the server under test".into(),
        source,
    }
}
