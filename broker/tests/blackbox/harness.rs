//! Starts `ringmq-broker`, waits for what it says, and ends it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Longer than anything here takes; a broker that needs it is broken.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A directory on a disk that knows O_DIRECT, removed at the end.
pub fn scratch() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the target directory can be written")
}

/// The program, with no settings of the caller's environment.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmq-broker"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("RINGMQ_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs the program to its end.
pub fn run(arguments: &[&str]) -> Output {
    program()
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the program can be run")
}

/// What it wrote to stderr.
pub fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A broker that serves. Killed when dropped.
pub struct Broker {
    child: Child,
    log: PathBuf,
    pub shards: Vec<SocketAddr>,
    pub namesrv: String,
    pub admin: SocketAddr,
}

impl Broker {
    /// `dev` in that directory, on free ports.
    pub fn dev(directory: &Path, more: &[&str]) -> Self {
        let mut arguments = vec!["dev", "--namesrv-port", "0"];
        arguments.extend(more);
        Self::start(directory, &arguments)
    }

    /// Any command in that directory, on free ports unless the arguments name one, with small segments.
    pub fn start(directory: &Path, arguments: &[&str]) -> Self {
        let log = directory.with_extension("log");
        Self::launch(&mut program(), directory, &log, arguments)
    }

    /// The same with a command of the caller's making, and its log elsewhere.
    pub fn launch(command: &mut Command, directory: &Path, log: &Path, arguments: &[&str]) -> Self {
        let log = log.to_owned();
        let stderr = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&log)
            .expect("a log beside the directory");
        let mut child = command
            .args(arguments)
            .args(if arguments.contains(&"--port") {
                &[][..]
            } else {
                &["--port", "0"]
            })
            .args(["--admin-port", "0", "--data-dir"])
            .arg(directory)
            .args(["--set", "storage.segment_bytes=67108864"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .expect("the program can be started");
        let stdout = child.stdout.take().expect("piped");
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let Ok(line) = lines.recv_timeout(PATIENCE) else {
            let _ = child.kill();
            let _ = child.wait();
            panic!("not ready: {}", read(&log));
        };
        let value = |key: &str| {
            line.split(' ')
                .find_map(|word| word.strip_prefix(key))
                .unwrap_or_else(|| panic!("no {key} in {line:?}"))
                .to_owned()
        };
        assert!(line.starts_with("ready "), "{line:?}");
        let address = |text: &str| {
            text.parse()
                .unwrap_or_else(|_| panic!("{text:?} in {line:?}"))
        };
        Self {
            child,
            log,
            shards: value("broker=").split(',').map(address).collect(),
            namesrv: value("namesrv="),
            admin: address(&value("admin=")),
        }
    }

    /// SIGKILL, and gone.
    pub fn kill(mut self) {
        self.child.kill().expect("it ran");
        self.child.wait().expect("it was ours");
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("it runs");
    }

    /// Waits for the end.
    pub fn wait(mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("it was ours") {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "does not end: {}",
                read(&self.log)
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// SIGTERM, and the exit code must be 0.
    pub fn stop(self) {
        self.signal(Signal::TERM);
        let log = self.log.clone();
        let status = self.wait();
        assert_eq!(status.code(), Some(0), "{}", read(&log));
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Memory that it holds, in bytes.
    pub fn resident_bytes(&self) -> u64 {
        let status = read(Path::new(&format!("/proc/{}/status", self.pid())));
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kib.expect("the process lives") * 1024
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        read(&self.log)
    }

    /// Status and body of a GET to the admin port.
    pub fn http(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.admin).expect("the admin port listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
        )
        .expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (status.expect("a status line"), body.to_owned())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Gone already when it was killed or waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// Waits until something holds.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Random bits from a seed that is printed, and can be given by RINGMQ_SEED.
pub struct Random(u64);

impl Random {
    pub fn new() -> Self {
        let seed: u64 = std::env::var("RINGMQ_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok())
            .unwrap_or_else(rand::random);
        #[allow(clippy::print_stderr, reason = "shown by the test runner on failure")]
        {
            eprintln!("RINGMQ_SEED={seed}");
        }
        Self::seeded(seed)
    }

    pub fn seeded(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}
