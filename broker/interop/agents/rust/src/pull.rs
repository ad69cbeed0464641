//! Reads a topic with the pull consumer, from the first offset of every queue to its end.

use rocketmq_client_rust::{ClientConfig, ClientOptions, DefaultMQPullConsumer, PullStatus};
use serde_json::{Value, json};

use crate::{Agent, Outcome, output, text};

/// Messages asked for at a time.
const BATCH: i32 = 32;

pub async fn pull(agent: &Agent, command: &Value) -> Outcome {
    let topic = text(command, "topic")?;
    let tags = command["tags"].as_str().unwrap_or("*");
    let config = ClientConfig::builder()
        .namesrv_addr(agent.namesrv.clone())
        .instance_name(format!("{}-pull-{}", agent.instance, command["id"]))
        .build()?;
    let consumer = DefaultMQPullConsumer::builder(agent.client.clone())
        .client_options(ClientOptions::legacy(config))
        .consumer_group(text(command, "group")?)
        .build()?;
    consumer.start().await?;
    let mut found = Vec::new();
    for queue in consumer.fetch_subscribe_message_queues(topic).await? {
        let end = consumer.max_offset(&queue).await?;
        let mut offset = consumer.min_offset(&queue).await?;
        while offset < end {
            let result = consumer.pull(&queue, tags, offset, BATCH).await?;
            if matches!(result.pull_status(), PullStatus::Found) {
                found.extend(
                    result
                        .msg_found_list()
                        .into_iter()
                        .flatten()
                        .map(output::message),
                );
            }
            offset = result.next_begin_offset() as i64;
        }
    }
    // It waits for its last long poll, which is twenty seconds; we do not.
    tokio::spawn(async move { consumer.shutdown().await });
    Ok(json!(found))
}
