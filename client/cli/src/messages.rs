//! `ringmq message`.

use crate::args::MessageCommand;
use crate::error::CliError;
use crate::json::MessageView;
use crate::output::Output;
use ringmq::Admin;

pub(crate) async fn run(
    admin: &Admin,
    command: MessageCommand,
    output: &Output,
) -> Result<(), CliError> {
    let MessageCommand::Get {
        topic,
        offset,
        queue,
        key,
        max,
        position,
        shard,
        format,
    } = command;
    let (found, wanted) = match (topic, offset, queue, key, position) {
        (Some(topic), Some(offset), Some(queue), _, _) => {
            let found = admin.message_at_offset(&topic, queue, offset).await?;
            (
                found.into_iter().collect(),
                format!("offset {offset} of queue {topic}/{queue}"),
            )
        }
        (Some(topic), _, _, Some(key), _) => {
            let found = admin.messages_by_key(&topic, &key, max).await?;
            (found, format!("key {key} in topic {topic}"))
        }
        (_, _, _, _, Some(position)) => {
            let found = admin
                .messages_at_position(shard.as_deref(), position)
                .await?;
            (found, format!("position {position}"))
        }
        _ => {
            let usage = "give a topic with --queue and --offset or --key, or --position";
            return Err(CliError::Usage(usage.to_string()));
        }
    };
    if found.is_empty() {
        return Err(CliError::Failed(format!("no message at {wanted}")));
    }
    let views: Vec<_> = found.iter().map(MessageView::from).collect();
    output.show(format.output, &views, |views| {
        views
            .iter()
            .map(MessageView::text)
            .collect::<Vec<_>>()
            .join("\n\n")
    })
}
