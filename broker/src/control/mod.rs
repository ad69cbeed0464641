//! The node's control task: owns the client directory, makes topics over all shards, waits for name servers.
//!
//! Runs on the admin thread. Shards reach it through one bounded mailbox and never wait for it on the way of a
//! message. What takes time (topics, name servers) runs as tasks beside it, bounded in number.

pub(crate) mod ambient;
pub(crate) mod clients;
pub(crate) mod topics;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ringmq_wire::native::schema::GroupJoinResponseT;
use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, interval};

use crate::directory::{Directory, DirectoryLimits, Now};
use crate::node::{ControlCommand, ControlError, Join, NodeHandle, Reply};
use crate::registration::Watcher;
use ambient::TokioAmbient;
use topics::TopicMaker;

/// How often silent members are looked for.
const EXPIRY_PERIOD: Duration = Duration::from_millis(250);
/// Commands that are taken before the directory is published once for all of them.
const BATCH_MAX: usize = 256;
/// Topics being made and confirmations being waited for at once; more are told `Busy`.
const TASKS_MAX: usize = 1024;

/// See the module.
pub struct Control {
    node: NodeHandle,
    watcher: Watcher,
    directory: Directory,
    topics: TopicMaker,
    tasks: Arc<Semaphore>,
    started: Instant,
}

impl Control {
    /// Nobody is in any group yet.
    pub fn new(node: NodeHandle, watcher: Watcher, limits: DirectoryLimits) -> Self {
        let started = Instant::now();
        Self {
            directory: Directory::new(limits, now(started)),
            topics: TopicMaker::new(node.clone(), watcher.clone(), TokioAmbient),
            tasks: Arc::new(Semaphore::new(TASKS_MAX)),
            node,
            watcher,
            started,
        }
    }

    /// Serves until every handle to the node is gone or the task is dropped. Must run within a tokio `LocalSet` or runtime.
    pub async fn run(mut self, commands: flume::Receiver<ControlCommand>) {
        let opening = self.topics.clone();
        tokio::spawn(async move { opening.open_node().await });
        let mut expiry = interval(EXPIRY_PERIOD);
        expiry.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                command = commands.recv_async() => match command {
                    Ok(command) => self.take(command, &commands),
                    Err(_) => return,
                },
                _ = expiry.tick() => self.expire(),
                () = clients::until(self.next_notice()) => self.tell(),
            }
        }
    }

    /// Takes what is waiting, publishes once, then answers: who is answered can be seen by all shards.
    fn take(&mut self, first: ControlCommand, commands: &flume::Receiver<ControlCommand>) {
        let mut changed = false;
        let mut joined = Vec::new();
        let mut left = Vec::new();
        let mut registered = Vec::new();
        let more = std::iter::from_fn(|| commands.try_recv().ok()).take(BATCH_MAX);
        for command in std::iter::once(first).chain(more) {
            match command {
                ControlCommand::Join { join, reply } => {
                    let group = join.group.clone();
                    let result = self.join(join);
                    changed |= result == Ok(true);
                    joined.push((group, result.map(|_| ()), reply));
                }
                ControlCommand::Heartbeat { group, member } => {
                    self.directory.heartbeat(now(self.started), &group, &member);
                }
                ControlCommand::Leave {
                    group,
                    member,
                    reply,
                } => {
                    if self.directory.leave(&group, &member) {
                        tracing::info!(%group, %member, "left group");
                        changed = true;
                    }
                    left.push(reply);
                }
                ControlCommand::Members { group, reply } => {
                    reply.send(self.directory.members(&group));
                }
                ControlCommand::ClientRegister { beat, reply } => {
                    let (new, result) = self.directory.register(now(self.started), beat);
                    changed |= new;
                    registered.push((result, reply));
                }
                ControlCommand::ClientBeat {
                    connection,
                    consumers,
                    producers,
                } => {
                    let now = now(self.started);
                    let clients = self.directory.clients();
                    clients.beat(now, connection, &consumers, &producers);
                }
                ControlCommand::ClientUnregister {
                    connection,
                    consumer_group,
                    producer_group,
                    reply,
                } => {
                    let (consumers, producers) = (&consumer_group, &producer_group);
                    changed |= self.directory.clients().unregister(
                        now(self.started),
                        connection,
                        consumers.as_deref(),
                        producers.as_deref(),
                    );
                    left.push(reply);
                }
                ControlCommand::ClientClosed { connection } => {
                    let now = now(self.started);
                    changed |= self.directory.clients().closed(now, connection);
                }
                ControlCommand::Producers { reply } => {
                    reply.send(self.directory.clients().producers());
                }
                ControlCommand::CreateTopic { topic, reply } => {
                    let topics = self.topics.clone();
                    self.task(reply, move || async move { topics.create(topic).await });
                }
                ControlCommand::Registered {
                    shard,
                    version,
                    reply,
                } => {
                    let watcher = self.watcher.clone();
                    self.task(reply, move || async move {
                        watcher.confirmed(shard, version).await;
                        Ok(())
                    });
                }
            }
        }
        if changed {
            self.node.publish(self.directory.snapshot());
        }
        for (group, result, reply) in joined {
            reply.send(result.map(|()| self.joined(&group)));
        }
        for reply in left {
            reply.send(());
        }
        for (result, reply) in registered {
            reply.send(result);
        }
    }

    fn join(&mut self, join: Join) -> Result<bool, ControlError> {
        let (group, member) = (join.group.clone(), join.member.clone());
        let known = self.node.is_member(&group, &member);
        let changed = self.directory.join(now(self.started), join)?;
        if changed && !known {
            tracing::info!(%group, %member, "joined group");
        }
        Ok(changed)
    }

    fn joined(&self, group: &str) -> GroupJoinResponseT {
        let (version, members) = self.directory.members(group);
        let mut response = GroupJoinResponseT::default();
        response.version = version;
        response.members = Some(members);
        response
    }

    fn expire(&mut self) {
        let now = now(self.started);
        let gone = self.directory.expire(now);
        let clients_gone = self.directory.clients().expire(now);
        if gone.is_empty() && clients_gone == 0 {
            return;
        }
        self.node.publish(self.directory.snapshot());
        for (group, member) in gone {
            tracing::info!(%group, %member, "dropped from group: no heartbeat");
        }
    }

    /// Runs what takes time beside the mailbox, if there is room for it.
    fn task<T, F>(
        &self,
        reply: Reply<Result<T, ControlError>>,
        work: impl FnOnce() -> F + Send + 'static,
    ) where
        T: Send + 'static,
        F: Future<Output = Result<T, ControlError>> + Send + 'static,
    {
        let Ok(permit) = self.tasks.clone().try_acquire_owned() else {
            reply.send(Err(ControlError::busy("the node's control task")));
            return;
        };
        tokio::spawn(async move {
            reply.send(work().await);
            drop(permit);
        });
    }
}

fn now(started: Instant) -> Now {
    let wall = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Now {
        ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        wall_ms: i64::try_from(wall.as_millis()).unwrap_or(i64::MAX),
    }
}

#[cfg(test)]
mod tests;
