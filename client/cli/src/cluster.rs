//! `ringmq cluster`.

use crate::args::ClusterCommand;
use crate::error::CliError;
use crate::output::{Output, table};
use ringmq::{Admin, ShardStatus};
use serde::Serialize;

#[derive(Debug, Serialize)]
struct StatusView {
    topics: u32,
    shards: Vec<ShardView>,
}

#[derive(Debug, Serialize)]
struct ShardView {
    shard: String,
    node: String,
    cluster: String,
    address: String,
    writable: bool,
    /// "ok", what is wrong, or why it did not answer.
    health: String,
    #[serde(flatten)]
    state: Option<StateView>,
}

#[derive(Debug, Serialize)]
struct StateView {
    software: String,
    uptime_ms: u64,
    appended: u64,
    durable: u64,
    visible: u64,
    log_start: u64,
    disk_used_bytes: u64,
    disk_free_bytes: u64,
    connections: u32,
    topics: u32,
    queues: u32,
}

pub(crate) async fn run(
    admin: &Admin,
    command: ClusterCommand,
    output: &Output,
) -> Result<(), CliError> {
    let ClusterCommand::Status { format } = command;
    let status = admin.cluster_status().await?;
    let silent = status
        .shards
        .iter()
        .find_map(|shard| shard.state.as_ref().err());
    let silent = silent.map(ToString::to_string);
    let view = StatusView {
        topics: status.topics,
        shards: status.shards.into_iter().map(ShardView::from).collect(),
    };
    output.show(format.output, &view, |view| {
        let columns = [
            "shard",
            "address",
            "writable",
            "health",
            "#log bytes",
            "#disk used",
            "#disk free",
            "#conns",
            "#topics",
            "#queues",
            "uptime",
        ];
        let rows = view.shards.iter().map(ShardView::row);
        format!("{}\n\n{} topic(s)", table(&columns, rows), view.topics)
    })?;
    match silent {
        Some(why) => Err(CliError::Failed(format!("not all shards answered: {why}"))),
        None => Ok(()),
    }
}

impl From<ShardStatus> for ShardView {
    fn from(shard: ShardStatus) -> Self {
        let (health, state) = match shard.state {
            Err(error) => (format!("no answer: {error}"), None),
            Ok(state) => (
                state.health,
                Some(StateView {
                    software: state.software,
                    uptime_ms: state.uptime_ms,
                    appended: state.appended,
                    durable: state.durable,
                    visible: state.visible,
                    log_start: state.log_start,
                    disk_used_bytes: state.disk_used_bytes,
                    disk_free_bytes: state.disk_free_bytes,
                    connections: state.connections,
                    topics: state.topics,
                    queues: state.queues,
                }),
            ),
        };
        Self {
            shard: shard.shard,
            node: shard.node,
            cluster: shard.cluster,
            address: shard.address,
            writable: shard.writable,
            health,
            state,
        }
    }
}

impl ShardView {
    fn row(&self) -> Vec<String> {
        let state = |of: fn(&StateView) -> String| self.state.as_ref().map_or("-".to_string(), of);
        vec![
            self.shard.clone(),
            self.address.clone(),
            if self.writable { "yes" } else { "no" }.to_string(),
            self.health.clone(),
            state(|s| bytes_text(s.durable.saturating_sub(s.log_start))),
            state(|s| bytes_text(s.disk_used_bytes)),
            state(|s| bytes_text(s.disk_free_bytes)),
            state(|s| s.connections.to_string()),
            state(|s| s.topics.to_string()),
            state(|s| s.queues.to_string()),
            state(|s| uptime_text(s.uptime_ms)),
        ]
    }
}

fn bytes_text(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{bytes} B")
    } else {
        format!("{value:.1} {}", units[unit])
    }
}

fn uptime_text(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..=59 => format!("{seconds}s"),
        60..=3_599 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3_600..=86_399 => format!("{}h{:02}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}
