//! Moments in a broker's life, taken from its metrics while a run goes on: a stall that falls on one is explained.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

const EVERY: Duration = Duration::from_millis(200);
/// Counters whose steps are worth a mark, and what a step means.
const WATCHED: [(&str, &str); 3] = [
    ("ringmq_segments_sealed_total", "segment sealed"),
    ("ringmq_segments_retired_total", "segment retired"),
    ("ringmq_snapshots_written_total", "snapshot"),
];

/// Something happened at about this time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    pub(super) unix_ms: u64,
    pub(super) what: String,
}

/// Looks at the metrics until told to stop.
#[derive(Debug)]
pub(super) struct Watcher {
    task: JoinHandle<Vec<Mark>>,
    stop: watch::Sender<bool>,
}

impl Watcher {
    /// None without an address.
    pub(super) fn start(admin: Option<SocketAddr>) -> Option<Self> {
        let admin = admin?;
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(watch_until(admin, stopped));
        Some(Self { task, stop })
    }

    /// The marks in order.
    pub(super) async fn finish(self) -> Vec<Mark> {
        self.stop.send_replace(true);
        self.task.await.unwrap_or_default()
    }
}

async fn watch_until(admin: SocketAddr, mut stopped: watch::Receiver<bool>) -> Vec<Mark> {
    let mut marks = Vec::new();
    let mut before: Option<BTreeMap<&str, f64>> = None;
    while !*stopped.borrow() {
        // A broker under load may be late with an answer; the next look sees the same counters.
        if let Ok(Ok(text)) = tokio::time::timeout(Duration::from_secs(2), get(admin)).await {
            let now = counters(&text);
            if let Some(before) = &before {
                marks.extend(steps(before, &now, unix_ms()));
            }
            before = Some(now);
        }
        tokio::select! {
            // An error: the run failed, and nobody will ask for the marks.
            changed = stopped.changed() => if changed.is_err() { break },
            () = tokio::time::sleep(EVERY) => {}
        }
    }
    marks
}

async fn get(admin: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(admin).await?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

/// The watched counters, all shards together.
fn counters(text: &str) -> BTreeMap<&'static str, f64> {
    let mut sums = BTreeMap::new();
    for line in text.lines() {
        let Some((series, value)) = line.rsplit_once(' ') else {
            continue;
        };
        let name = series.split('{').next().unwrap_or_default();
        let watched = WATCHED.iter().find(|(counter, _)| *counter == name);
        if let Some(((_, what), value)) = watched.zip(value.parse::<f64>().ok()) {
            *sums.entry(*what).or_default() += value;
        }
    }
    sums
}

fn steps(
    before: &BTreeMap<&str, f64>,
    now: &BTreeMap<&'static str, f64>,
    unix_ms: u64,
) -> Vec<Mark> {
    let rose = now.iter().filter(|(what, count)| {
        let earlier = before.get(*what).copied().unwrap_or(0.0);
        **count > earlier
    });
    rose.map(|(what, _)| Mark {
        unix_ms,
        what: (*what).to_owned(),
    })
    .collect()
}

pub(super) fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_of_a_counter_is_a_mark() {
        let text = |sealed: u32| {
            format!(
                "ringmq_segments_sealed_total{{shard=\"s00-a\"}} {sealed}\n\
                 ringmq_segments_sealed_total{{shard=\"s01-a\"}} 1\n\
                 ringmq_snapshots_written_total{{shard=\"s00-a\"}} 4\n\
                 ringmq_log_bytes{{shard=\"s00-a\"}} 7\n"
            )
        };
        let (before, now) = (counters(&text(1)), counters(&text(3)));
        assert_eq!(before["segment sealed"], 2.0);
        assert_eq!(steps(&before, &before, 5), []);
        let marks = steps(&before, &now, 5);
        assert_eq!(marks.len(), 1);
        assert_eq!(marks[0].what, "segment sealed");
    }
}
