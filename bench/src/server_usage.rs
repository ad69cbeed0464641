//! What the server processes used, when they run on this machine: CPU, memory, bytes written. Linux only; elsewhere
//! nothing is reported.

use crate::BenchError;
use crate::args::Common;
use crate::schedule::Window;
use serde::Serialize;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::sleep_until;

/// Ticks of the CPU times in /proc; the kernel fixes this for programs (USER_HZ).
const TICKS_A_SECOND: f64 = 100.0;

/// One process over the measured window.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ProcessUsage {
    pub(crate) pid: u32,
    pub(crate) name: String,
    pub(crate) cpu_seconds: f64,
    pub(crate) rss_bytes: u64,
    pub(crate) rss_peak_bytes: u64,
    /// Not readable for processes of other users.
    pub(crate) disk_write_bytes: Option<u64>,
}

/// A reading at one moment.
#[derive(Debug, Clone)]
struct Reading {
    usage: ProcessUsage,
}

/// Reads server and generator at both ends of the measured window, while the run goes on.
#[derive(Debug)]
pub(crate) struct Watch(
    JoinHandle<(Vec<ProcessUsage>, Vec<ProcessUsage>)>,
    Arc<Notify>,
);

impl Watch {
    pub(crate) fn start(
        common: &Common,
        shards: &[SocketAddr],
        started: Instant,
        window: Window,
    ) -> Self {
        let (pids, shards) = (common.server_pid.clone(), shards.to_vec());
        let over = Arc::new(Notify::new());
        let ended = over.clone();
        let task = tokio::spawn(async move {
            sleep_until((started + window.begin).into()).await;
            let servers = read(&pids, &shards);
            let generator = read(&[std::process::id()], &[]);
            tokio::select! {
                () = sleep_until((started + window.end).into()) => {}
                () = ended.notified() => {}
            }
            (since(&servers), since(&generator))
        });
        Self(task, over)
    }

    /// What servers and generator used; ends the window if it is still open.
    pub(crate) async fn finish(self) -> Result<(Vec<ProcessUsage>, Vec<ProcessUsage>), BenchError> {
        self.1.notify_one();
        Ok(self.0.await?)
    }
}

/// Reads the processes given by pid, or else those that listen on these addresses.
fn read(pids: &[u32], shards: &[SocketAddr]) -> Vec<Reading> {
    let pids: BTreeSet<u32> = if pids.is_empty() {
        listeners(shards)
    } else {
        pids.iter().copied().collect()
    };
    pids.into_iter()
        .filter_map(|pid| {
            Some(Reading {
                usage: process(pid)?,
            })
        })
        .collect()
}

/// The same processes later: what they used in between.
fn since(before: &[Reading]) -> Vec<ProcessUsage> {
    let later = before
        .iter()
        .filter_map(|reading| Some((reading, process(reading.usage.pid)?)));
    later
        .map(|(Reading { usage: before }, now)| ProcessUsage {
            cpu_seconds: now.cpu_seconds - before.cpu_seconds,
            disk_write_bytes: now
                .disk_write_bytes
                .zip(before.disk_write_bytes)
                .map(|(now, before)| now.saturating_sub(before)),
            ..now
        })
        .collect()
}

/// Reads a process now.
pub(crate) fn process(pid: u32) -> Option<ProcessUsage> {
    let directory = Path::new("/proc").join(pid.to_string());
    let stat = std::fs::read_to_string(directory.join("stat")).ok()?;
    // The name is in parentheses and may hold anything; fields are counted behind it.
    let (head, fields) = stat.rsplit_once(')')?;
    let name = head.split_once('(')?.1.to_string();
    let field = |n: usize| fields.split_whitespace().nth(n)?.parse::<f64>().ok();
    let status = std::fs::read_to_string(directory.join("status")).ok()?;
    let io = std::fs::read_to_string(directory.join("io")).unwrap_or_default();
    Some(ProcessUsage {
        pid,
        name,
        cpu_seconds: (field(11)? + field(12)?) / TICKS_A_SECOND,
        rss_bytes: number_after(&status, "VmRSS:")? * 1024,
        rss_peak_bytes: number_after(&status, "VmHWM:")? * 1024,
        disk_write_bytes: number_after(&io, "write_bytes:"),
    })
}

fn number_after(text: &str, label: &str) -> Option<u64> {
    // At the start of a line: "write_bytes:" also ends "cancelled_write_bytes:".
    let line = text.lines().find_map(|line| line.strip_prefix(label))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Processes that listen on one of the ports, if the address is this machine's loopback or an address bound here.
fn listeners(shards: &[SocketAddr]) -> BTreeSet<u32> {
    let ports: BTreeSet<u16> = shards
        .iter()
        .filter(|shard| is_local(shard.ip()))
        .map(SocketAddr::port)
        .collect();
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let tables = tables
        .iter()
        .filter_map(|path| std::fs::read_to_string(path).ok());
    let sockets: BTreeSet<String> = tables
        .flat_map(|table| {
            table
                .lines()
                .filter_map(|l| listening(l, &ports))
                .collect::<Vec<_>>()
        })
        .collect();
    if sockets.is_empty() {
        return BTreeSet::new();
    }
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return BTreeSet::new();
    };
    processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| holds_one_of(*pid, &sockets))
        .collect()
}

fn is_local(ip: IpAddr) -> bool {
    // Only an address of this machine can be bound.
    ip.is_loopback() || std::net::UdpSocket::bind((ip, 0)).is_ok()
}

/// The socket's name under /proc/PID/fd, if this line of /proc/net/tcp is a listener on one of the ports.
fn listening(line: &str, ports: &BTreeSet<u16>) -> Option<String> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let port = u16::from_str_radix(fields.get(1)?.rsplit_once(':')?.1, 16).ok()?;
    let listens = *fields.get(3)? == "0A";
    (listens && ports.contains(&port)).then(|| format!("socket:[{}]", fields.get(9).unwrap_or(&"")))
}

fn holds_one_of(pid: u32, sockets: &BTreeSet<String>) -> bool {
    let Ok(descriptors) = std::fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    descriptors
        .flatten()
        .filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .any(|target| {
            target
                .to_str()
                .is_some_and(|target| sockets.contains(target))
        })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_found_by_its_port_and_uses_cpu() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let before = read(&[], &[address]);
        assert_eq!(before.len(), 1);
        assert_eq!(before[0].usage.pid, std::process::id());
        let mut spent = Vec::new();
        while spent
            .first()
            .is_none_or(|usage: &ProcessUsage| usage.cpu_seconds <= 0.0)
        {
            std::hint::black_box((0..1_000_000u64).sum::<u64>());
            spent = since(&before);
        }
        assert!(spent[0].rss_bytes > 0 && spent[0].rss_peak_bytes >= spent[0].rss_bytes / 2);
    }

    #[test]
    fn an_unused_port_belongs_to_nobody() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        drop(listener);
        assert!(read(&[], &[address]).is_empty());
    }
}
