//! `ringmq group`.

use crate::args::{Format, GroupCommand};
use crate::error::CliError;
use crate::output::{Output, table};
use crate::time::{format_utc, now_ms};
use crate::values::Start;
use ringmq::{Admin, GroupDescription};
use serde::Serialize;

#[derive(Debug, Serialize)]
struct SummaryView {
    group: String,
    members: u32,
    queues_committed: u32,
}

#[derive(Debug, Serialize)]
struct GroupView {
    group: String,
    members: Vec<MemberView>,
    queues: Vec<QueueView>,
    lag: u64,
    unreachable: Vec<(String, String)>,
}

#[derive(Debug, Serialize)]
struct MemberView {
    member: String,
    client_address: String,
    topics: Vec<String>,
    last_heartbeat: String,
    last_heartbeat_ago_ms: i64,
}

#[derive(Debug, Serialize)]
struct QueueView {
    topic: String,
    queue: u32,
    committed: Option<u64>,
    min_offset: u64,
    max_offset: u64,
    lag: u64,
    holder: Option<String>,
    lease_remaining_ms: u32,
}

#[derive(Debug, Serialize)]
struct ResetView {
    topic: String,
    queue: u32,
    offset: Option<u64>,
    error: Option<String>,
}

pub(crate) async fn run(
    admin: &Admin,
    command: GroupCommand,
    output: &Output,
) -> Result<(), CliError> {
    match command {
        GroupCommand::List { format } => list(admin, format.output, output).await,
        GroupCommand::Describe { group, format } => {
            let view = GroupView::from(admin.describe_group(&group).await?);
            for (shard, why) in &view.unreachable {
                output.remark(&format!("shard {shard} did not answer: {why}"));
            }
            output.show(format.output, &view, describe_text)
        }
        GroupCommand::Delete { group } => {
            if !admin.delete_group(&group).await? {
                return Err(CliError::Failed(format!("group {group} does not exist")));
            }
            output.remark(&format!("group {group} deleted"));
            Ok(())
        }
        GroupCommand::ResetOffsets {
            group,
            topic,
            to,
            queue,
            force,
            format,
        } => {
            let reset = Reset {
                group,
                topic,
                to,
                queues: queue,
                force,
            };
            reset.run(admin, format.output, output).await
        }
    }
}

async fn list(admin: &Admin, format: Format, output: &Output) -> Result<(), CliError> {
    let groups = admin.list_groups().await?;
    let groups = groups.into_iter().map(|group| SummaryView {
        group: group.group,
        members: group.members,
        queues_committed: group.queues_committed,
    });
    output.show(format, &groups.collect::<Vec<_>>(), |groups| {
        let rows = groups.iter().map(|group| {
            vec![
                group.group.clone(),
                group.members.to_string(),
                group.queues_committed.to_string(),
            ]
        });
        table(&["group", "#members", "#queues committed"], rows)
    })
}

fn describe_text(view: &GroupView) -> String {
    let members = view.members.iter().map(|member| {
        vec![
            member.member.clone(),
            member.client_address.clone(),
            member.topics.join(", "),
            format!("{:.1}s ago", member.last_heartbeat_ago_ms as f64 / 1e3),
        ]
    });
    let queues = view.queues.iter().map(|queue| {
        vec![
            queue.topic.clone(),
            queue.queue.to_string(),
            queue
                .committed
                .map_or("-".to_string(), |offset| offset.to_string()),
            queue.max_offset.to_string(),
            queue.lag.to_string(),
            queue.holder.clone().unwrap_or_else(|| "-".to_string()),
        ]
    });
    format!(
        "{}\n\n{}\n\ngroup {}: lag {}",
        table(&["member", "address", "topics", "heartbeat"], members),
        table(
            &["topic", "#queue", "#committed", "#max", "#lag", "holder"],
            queues
        ),
        view.group,
        view.lag
    )
}

struct Reset {
    group: String,
    topic: String,
    to: Start,
    queues: Vec<u32>,
    force: bool,
}

impl Reset {
    async fn run(&self, admin: &Admin, format: Format, output: &Output) -> Result<(), CliError> {
        let queues = (!self.queues.is_empty()).then_some(&self.queues[..]);
        let resets = admin
            .reset_offsets(&self.group, &self.topic, queues, self.to.into(), self.force)
            .await?;
        let view = resets.iter().map(|reset| ResetView {
            topic: reset.queue.topic.to_string(),
            queue: reset.queue.queue,
            offset: reset.offset.as_ref().ok().copied(),
            error: reset.offset.as_ref().err().map(ToString::to_string),
        });
        output.show(format, &view.collect::<Vec<_>>(), |resets| {
            let rows = resets.iter().map(|reset| {
                let result = reset.error.clone().unwrap_or_else(|| "ok".to_string());
                let offset = reset
                    .offset
                    .map_or("-".to_string(), |offset| offset.to_string());
                vec![reset.topic.clone(), reset.queue.to_string(), offset, result]
            });
            table(&["topic", "#queue", "#offset", "result"], rows)
        })?;
        // The first refusal decides the exit code and its hint is shown.
        match resets.into_iter().find_map(|reset| reset.offset.err()) {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }
}

impl From<GroupDescription> for GroupView {
    fn from(group: GroupDescription) -> Self {
        let now_ms = now_ms();
        let members = group.members.into_iter().map(|member| MemberView {
            member: member.member,
            client_address: member.client_address,
            topics: member.topics,
            last_heartbeat: format_utc(member.last_heartbeat_ms),
            last_heartbeat_ago_ms: now_ms.saturating_sub(member.last_heartbeat_ms),
        });
        let queues: Vec<_> = group
            .queues
            .into_iter()
            .map(|queue| QueueView {
                lag: queue.lag(),
                topic: queue.queue.topic.to_string(),
                queue: queue.queue.queue,
                committed: queue.committed,
                min_offset: queue.min_offset,
                max_offset: queue.visible_offset,
                holder: queue.holder,
                lease_remaining_ms: queue.lease_remaining_ms,
            })
            .collect();
        Self {
            group: group.group,
            members: members.collect(),
            lag: queues.iter().map(|queue| queue.lag).sum(),
            queues,
            unreachable: group.unreachable,
        }
    }
}
