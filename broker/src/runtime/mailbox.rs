//! What a shard is asked from outside its executor.

use crate::handler::{Refusal, topic_create};
use crate::node::{CallError, ClientAnswer, ControlError, Reply, ShardCommand};
use crate::shard::Shard;
use ringmq_storage_engine::disk::Disk;
use ringmq_storage_engine::runtime::Runtime;
use ringmq_wire::remoting::Command;
use std::time::Duration;

/// How long a stop waits for connections to take their answers.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// Handles commands in order until one stops the shard, or nobody can send any more. Returns once the shard has
/// stopped. `stop_listening` ends the shard's connections with that much patience.
pub async fn run<D: Disk, R: Runtime>(
    shard: Shard<D, R>,
    stop_listening: impl AsyncFnOnce(Duration),
    commands: flume::Receiver<ShardCommand>,
) {
    let mut on_stopped = None;
    while let Ok(command) = commands.recv_async().await {
        match command {
            ShardCommand::TopicCreateShare { topic, reply } => {
                let creating = shard.clone();
                shard.runtime().spawn(async move {
                    let created = topic_create::create_share(&creating, topic).await;
                    reply.send(created.map_err(ControlError::from));
                });
            }
            ShardCommand::Metrics { reply } => reply.send(Box::new(shard.metrics())),
            ShardCommand::Status { reply } => reply.send(shard.status()),
            ShardCommand::ConsumersChanged { group, connections } => {
                shard.callers().consumers_changed(&group, &connections);
            }
            ShardCommand::CallClient {
                connection,
                command,
                body,
                reply,
            } => call_client(&shard, connection, command, body, reply),
            ShardCommand::SetWritable(writable) => shard.set_writable(writable),
            ShardCommand::Stop { reply } => {
                on_stopped = Some(reply);
                break;
            }
        }
    }
    shard.set_stopping();
    stop_listening(STOP_PATIENCE).await;
    shard.flush_commits();
    let stopped = shard.store().stop().await;
    if let Err(error) = &stopped {
        tracing::error!(
            shard = shard.name(),
            "the store did not stop cleanly: {error}"
        );
    }
    if let Some(reply) = on_stopped {
        reply.send(stopped.map_err(|error| error.to_string()));
    }
}

fn call_client<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    connection: u64,
    command: Command,
    body: Vec<u8>,
    reply: Option<(Duration, Reply<ClientAnswer>)>,
) {
    let Some((timeout, reply)) = reply else {
        shard.notify_client(shard.connection_id(connection), command, body);
        return;
    };
    let Some(channel) = shard.callers().find(connection) else {
        reply.send(Err(CallError::Closed));
        return;
    };
    let calling = channel.call(command, body, timeout);
    shard
        .runtime()
        .spawn(async move { reply.send(calling.await) });
}

impl From<Refusal> for ControlError {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code, refusal.message)
    }
}
