//! The result: for people on stdout, for programs as JSON.

use crate::BenchError;
use crate::args::Common;
use crate::histogram::Summary;
use crate::schedule::Window;
use crate::sender::Sent;
use crate::server_usage::ProcessUsage;
use crate::timeline::Second;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

/// Everything about a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) command: &'static str,
    pub(crate) version: &'static str,
    /// Every parameter of the command line, defaults included.
    pub(crate) parameters: serde_json::Value,
    /// What was found or derived: not always what was asked for.
    pub(crate) queues: u32,
    pub(crate) connections: usize,
    pub(crate) processors: usize,
    pub(crate) throughput: Option<Throughput>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) acknowledged: Option<Summary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) delivered: Option<Summary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fetch_round_trip: Option<Summary>,
    /// How late sends were handed over; part of the times above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) send_delay: Option<Summary>,
    /// Messages acknowledged or read before, within and after the measured time.
    pub(crate) messages_in_all: u64,
    /// When the measured time began.
    pub(crate) began_unix_ms: u64,
    /// (quantile, µs) of the times to acknowledgement.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) distribution: Vec<(f64, f64)>,
    /// The times to acknowledgement by the second.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) timeline: Vec<Second>,
    pub(crate) errors: BTreeMap<String, u64>,
    pub(crate) server: Vec<ProcessUsage>,
    pub(crate) generator: Vec<ProcessUsage>,
    /// CPU seconds of all server processes for a million messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server_cpu_per_million: Option<f64>,
    /// The same of this program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) generator_cpu_per_million: Option<f64>,
}

#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Throughput {
    pub(crate) seconds: f64,
    pub(crate) messages: u64,
    /// Bytes of batches, as they cross the network.
    pub(crate) bytes: u64,
    pub(crate) messages_per_second: f64,
    /// 10^6 bytes.
    pub(crate) mb_per_second: f64,
    pub(crate) mib_per_second: f64,
}

impl Throughput {
    pub(crate) fn new(messages: u64, bytes: u64, time: Duration) -> Self {
        let seconds = time.as_secs_f64();
        let rate = |amount: f64| if seconds > 0.0 { amount / seconds } else { 0.0 };
        Self {
            seconds,
            messages,
            bytes,
            messages_per_second: rate(messages as f64),
            mb_per_second: rate(bytes as f64 / 1e6),
            mib_per_second: rate(bytes as f64 / f64::from(1 << 20)),
        }
    }
}

impl Report {
    pub(crate) fn new(
        command: &'static str,
        parameters: &impl Serialize,
        queues: u32,
        connections: usize,
    ) -> Self {
        Self {
            command,
            version: env!("CARGO_PKG_VERSION"),
            parameters: serde_json::to_value(parameters).unwrap_or_default(),
            queues,
            connections,
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            throughput: None,
            acknowledged: None,
            delivered: None,
            fetch_round_trip: None,
            send_delay: None,
            messages_in_all: 0,
            began_unix_ms: 0,
            distribution: Vec::new(),
            timeline: Vec::new(),
            errors: BTreeMap::new(),
            server: Vec::new(),
            generator: Vec::new(),
            server_cpu_per_million: None,
            generator_cpu_per_million: None,
        }
    }

    /// Enters what was acknowledged. To be called when the run has just ended.
    pub(crate) fn enter(&mut self, sent: &Sent, window: Window, ended: Duration) {
        self.acknowledged = sent.acknowledged.summary();
        self.distribution = sent.acknowledged.distribution();
        self.timeline = sent.timeline.seconds();
        self.messages_in_all = sent.messages_in_all;
        let now = UNIX_EPOCH.elapsed().unwrap_or_default();
        let began = now.saturating_sub(ended.saturating_sub(window.begin));
        self.began_unix_ms = began.as_millis() as u64;
    }

    /// Enters what the run cost, in whole and for each million messages of its throughput.
    pub(crate) fn charge(&mut self, server: Vec<ProcessUsage>, generator: Vec<ProcessUsage>) {
        let messages = self.throughput.as_ref().map_or(0, |t| t.messages);
        let per_million = |used: &[ProcessUsage]| {
            let seconds: f64 = used.iter().map(|process| process.cpu_seconds).sum();
            (messages > 0 && !used.is_empty()).then(|| seconds * 1e6 / messages as f64)
        };
        self.server_cpu_per_million = per_million(&server);
        self.generator_cpu_per_million = per_million(&generator);
        (self.server, self.generator) = (server, generator);
    }

    fn text(&self) -> String {
        let mut text = String::new();
        if let Some(t) = &self.throughput {
            let _ = writeln!(
                text,
                "{}: {:.0} messages/s, {:.1} MiB/s ({} messages in {:.1} s, {} queues, {} connections)",
                self.command,
                t.messages_per_second,
                t.mib_per_second,
                t.messages,
                t.seconds,
                self.queues,
                self.connections
            );
        }
        let times = [
            ("acknowledged", &self.acknowledged),
            ("delivered", &self.delivered),
            ("fetch round trip", &self.fetch_round_trip),
            ("send delay", &self.send_delay),
        ];
        for (name, summary) in times {
            if let Some(s) = summary {
                let _ = writeln!(
                    text,
                    "{name:>16} µs: p50 {:.0}  p90 {:.0}  p99 {:.0}  p99.9 {:.0}  p99.99 {:.0}  max {:.0}",
                    s.p50_us, s.p90_us, s.p99_us, s.p99_9_us, s.p99_99_us, s.max_us
                );
            }
        }
        for (role, processes) in [("server", &self.server), ("generator", &self.generator)] {
            for p in processes {
                let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
                let _ = writeln!(
                    text,
                    "{role:>16} {} ({}): {:.2} CPU s, RSS {:.0} MiB (peak {:.0})",
                    p.name,
                    p.pid,
                    p.cpu_seconds,
                    mib(p.rss_bytes),
                    mib(p.rss_peak_bytes)
                );
            }
        }
        if let Some((server, generator)) = self
            .server_cpu_per_million
            .zip(self.generator_cpu_per_million)
        {
            let _ = writeln!(
                text,
                "{:>16} for a million messages: server {server:.3}, generator {generator:.3}",
                "CPU seconds"
            );
        }
        for (name, count) in &self.errors {
            let _ = writeln!(text, "{name:>16}: {count} times");
        }
        text
    }
}

/// Writes the report where it is wanted.
pub(crate) fn publish(report: &Report, common: &Common) -> Result<(), BenchError> {
    write(report, &report.text(), common.json.as_deref())
}

/// Text to stdout, unless JSON goes there; JSON to the file, if there is one.
pub(crate) fn write(
    report: &impl Serialize,
    text: &str,
    json: Option<&Path>,
) -> Result<(), BenchError> {
    let Some(path) = json else {
        return print(text);
    };
    let failed = |source| BenchError::Json {
        path: path.display().to_string(),
        source,
    };
    let mut json = serde_json::to_string_pretty(report)
        .map_err(|error| failed(std::io::Error::other(error)))?;
    json.push('\n');
    if path == Path::new("-") {
        return print(&json);
    }
    std::fs::write(path, json).map_err(failed)?;
    print(text)
}

/// A closed pipe is the reader's decision, not a failure.
pub(crate) fn print(text: &str) -> Result<(), BenchError> {
    use std::io::Write as _;
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(BenchError::Json {
            path: "stdout".into(),
            source: error,
        }),
        _ => Ok(()),
    }
}

#[allow(clippy::print_stderr, reason = "why the program fails")]
pub(crate) fn complain(error: &BenchError) {
    eprintln!("ringmq-bench: {error}");
}
