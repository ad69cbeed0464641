//! `ringmq topic`.

use crate::args::{Format, Retention, TopicCommand, TopicSettings};
use crate::error::CliError;
use crate::output::{Output, table};
use crate::time::format_utc;
use ringmq::{Admin, QueueDescription, TopicSpec, TopicSummary, TopicUpdate};
use serde::Serialize;
use std::time::Duration;

#[derive(Debug, Serialize)]
struct TopicView {
    name: String,
    queues: u32,
    placement: Vec<String>,
    /// Null: as the broker has it.
    retention_ms: Option<u64>,
    /// Null: as the broker has it.
    message_bytes_max: Option<u32>,
    readable: bool,
    writable: bool,
    version: u64,
    incarnation: String,
}

#[derive(Debug, Serialize)]
struct QueueView {
    queue: u32,
    shard: String,
    min_offset: u64,
    /// End of what can be read.
    max_offset: u64,
    messages: u64,
    last_stored: Option<String>,
}

#[derive(Debug, Serialize)]
struct DescriptionView {
    #[serde(flatten)]
    topic: TopicView,
    queue_states: Vec<QueueView>,
    unreachable: Vec<(String, String)>,
}

pub(crate) async fn run(
    admin: &Admin,
    command: TopicCommand,
    output: &Output,
) -> Result<(), CliError> {
    match command {
        TopicCommand::Create {
            name,
            queues,
            settings,
            format,
        } => {
            let spec = spec(name, queues, &settings);
            let topic = TopicView::from(&admin.create_topic(&spec).await?);
            output.show(format.output, &topic, |topic| {
                let shards = topic.placement.len();
                format!(
                    "topic {}: {} queues on {shards} shard(s)",
                    topic.name, topic.queues
                )
            })
        }
        TopicCommand::List { format } => list(admin, format.output, output).await,
        TopicCommand::Describe { name, format } => {
            describe(admin, &name, format.output, output).await
        }
        TopicCommand::Update {
            name,
            queues,
            settings,
            readable,
            writable,
            format,
        } => {
            let update = TopicUpdate {
                queues,
                retention: settings.retention.map(|Retention(kept)| kept),
                message_bytes_max: settings
                    .max_message_bytes
                    .map(|bytes| Some(bytes).filter(|b| *b > 0)),
                readable,
                writable,
            };
            let topic = TopicView::from(&admin.update_topic(&name, &update).await?);
            output.show(format.output, &topic, settings_table)
        }
        TopicCommand::Delete { name } => {
            if !admin.delete_topic(&name).await? {
                return Err(CliError::Failed(format!("topic {name} does not exist")));
            }
            output.remark(&format!("topic {name} deleted"));
            Ok(())
        }
    }
}

async fn list(admin: &Admin, format: Format, output: &Output) -> Result<(), CliError> {
    let topics: Vec<_> = admin
        .list_topics()
        .await?
        .iter()
        .map(TopicView::from)
        .collect();
    output.show(format, &topics, |topics| {
        let rows = topics.iter().map(|topic| {
            vec![
                topic.name.clone(),
                topic.queues.to_string(),
                topic.placement.len().to_string(),
                retention_text(topic.retention_ms),
            ]
        });
        table(&["name", "#queues", "#shards", "retention"], rows)
    })
}

async fn describe(
    admin: &Admin,
    name: &str,
    format: Format,
    output: &Output,
) -> Result<(), CliError> {
    let described = admin.describe_topic(name).await?;
    for (shard, why) in &described.unreachable {
        output.remark(&format!("shard {shard} did not answer: {why}"));
    }
    let view = DescriptionView {
        topic: TopicView::from(&described.topic),
        queue_states: described.queues.iter().map(QueueView::from).collect(),
        unreachable: described.unreachable,
    };
    output.show(format, &view, |view| {
        let rows = view.queue_states.iter().map(|queue| {
            vec![
                queue.queue.to_string(),
                queue.shard.clone(),
                queue.min_offset.to_string(),
                queue.max_offset.to_string(),
                queue.messages.to_string(),
                queue.last_stored.clone().unwrap_or_else(|| "-".to_string()),
            ]
        });
        let columns = [
            "#queue",
            "shard",
            "#min",
            "#max",
            "#messages",
            "last stored",
        ];
        format!(
            "{}\n\n{}",
            settings_table(&view.topic),
            table(&columns, rows)
        )
    })
}

fn spec(name: String, queues: u32, settings: &TopicSettings) -> TopicSpec {
    let mut spec = TopicSpec::new(name, queues);
    if let Some(Retention(Some(kept))) = settings.retention {
        spec = spec.retention(kept);
    }
    match settings.max_message_bytes {
        None | Some(0) => spec,
        Some(bytes) => spec.message_bytes_max(bytes),
    }
}

fn settings_table(topic: &TopicView) -> String {
    let bytes = topic
        .message_bytes_max
        .map_or("default".to_string(), |bytes| bytes.to_string());
    let rows = [
        ("topic", topic.name.clone()),
        ("queues", topic.queues.to_string()),
        ("shards", topic.placement.join(", ")),
        ("retention", retention_text(topic.retention_ms)),
        ("max message bytes", bytes),
        ("readable", topic.readable.to_string()),
        ("writable", topic.writable.to_string()),
        ("version", topic.version.to_string()),
        ("incarnation", topic.incarnation.clone()),
    ];
    rows.map(|(name, value)| format!("{name:<18}  {value}"))
        .join("\n")
}

fn retention_text(ms: Option<u64>) -> String {
    match ms {
        None => "default".to_string(),
        Some(ms) if ms % 3_600_000 == 0 => format!("{}h", ms / 3_600_000),
        Some(ms) if ms % 60_000 == 0 => format!("{}m", ms / 60_000),
        Some(ms) => format!("{}s", ms as f64 / 1e3),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl From<&TopicSummary> for TopicView {
    fn from(topic: &TopicSummary) -> Self {
        Self {
            name: topic.name.clone(),
            queues: topic.queues,
            placement: topic.placement.clone(),
            retention_ms: topic.retention.map(millis),
            message_bytes_max: topic.message_bytes_max,
            readable: topic.readable,
            writable: topic.writable,
            version: topic.version,
            incarnation: format!("{:032x}", topic.incarnation),
        }
    }
}

impl From<&QueueDescription> for QueueView {
    fn from(queue: &QueueDescription) -> Self {
        let stored = queue.last_store_time_ms;
        Self {
            queue: queue.queue,
            shard: queue.shard.clone(),
            min_offset: queue.min_offset,
            max_offset: queue.visible_offset,
            messages: queue.visible_offset.saturating_sub(queue.min_offset),
            last_stored: (stored != 0).then(|| format_utc(stored)),
        }
    }
}
