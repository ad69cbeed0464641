//! What every shard knows of its node: names, addresses, who is in which group, and the mailboxes.
//!
//! Invariants:
//! - A shard never waits for another shard's executor except through a bounded mailbox; a full one is
//!   [`ControlError::busy`], which the client sees as the retryable `Busy`.
//! - [`NodeHandle`] is cheap to clone and may be used from any thread. Its locks are held for a pointer copy or one
//!   table entry, never across an await, and are not on the path of messages.
//! - Everything behind a lock here is small and changes rarely: group membership and the topics of a shard.

mod automatic;
mod clients;
mod command;
mod shares;

use std::net::TcpListener;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use tokio::sync::watch;

use ringmq_wire::native::schema::{
    GroupJoinResponseT, GroupMemberT, SubscriptionT, TopicCreateResponseT, TopicRecordT,
};

pub use automatic::Automatic;
pub use command::{
    CallError, ClientAnswer, ControlCommand, ControlError, Join, Reply, ShardCommand, reply,
};
pub use shares::{ShareChanges, ShareTable};

use crate::directory::{DirectorySnapshot, GroupView};

/// Commands that may wait in a shard's mailbox.
pub const SHARD_MAILBOX_MAX: usize = 256;
/// Commands that may wait for the control task.
pub const CONTROL_MAILBOX_MAX: usize = 4096;

/// Who this node is.
#[derive(Debug, Clone)]
pub struct NodeIdentity {
    /// Name of the cluster.
    pub cluster: String,
    /// Name of the node, the last part of its shards' names.
    pub node: String,
    /// Id of the data directory.
    pub directory_id: u128,
    /// Raised at every start; wall clock in milliseconds is enough, the directory is locked.
    pub epoch: u64,
    /// Whether a first message makes its topic.
    pub auto_create: bool,
    /// Queues of such a topic, all shards together.
    pub auto_create_queues: u32,
}

/// One shard as its node sees it.
#[derive(Debug, Clone)]
pub struct ShardLink {
    /// `sNN-node`.
    pub name: String,
    /// `host:port` that clients are told.
    pub address: String,
    /// To the shard's executor.
    pub mailbox: flume::Sender<ShardCommand>,
}

/// What a shard's executor is given at start: its place, its socket and its mailbox.
#[derive(Debug)]
pub struct ShardSeat {
    /// 0, 1, …
    pub index: usize,
    /// `sNN-node`.
    pub name: String,
    /// Bound and listening, non-blocking.
    pub listener: TcpListener,
    /// The same two ports below, where old RocketMQ clients and its dashboard send; `None` on free ports.
    pub second: Option<TcpListener>,
    /// From the control plane.
    pub commands: flume::Receiver<ShardCommand>,
}

/// Name of shard `index` of `node`. Clients sort queues by it and retry on the next name, so neighbours in that
/// order must be different nodes: the shard number comes first.
pub fn shard_name(index: usize, node: &str) -> String {
    format!("s{index:02}-{node}")
}

/// The node, as seen from any thread.
#[derive(Debug, Clone)]
pub struct NodeHandle {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    identity: NodeIdentity,
    shards: Vec<ShardLink>,
    control: flume::Sender<ControlCommand>,
    directory: RwLock<Arc<DirectorySnapshot>>,
    /// Raised when `directory` was replaced.
    directory_generation: AtomicU64,
    shares: Vec<Mutex<ShareTable>>,
    /// Raised with every change of a share table.
    shares_generation: watch::Sender<u64>,
    /// Which shards have loaded their topics.
    loaded: watch::Sender<Vec<bool>>,
    automatic: Automatic,
    started: Instant,
}

impl NodeHandle {
    /// The handle and the other end of the control mailbox.
    pub fn new(
        identity: NodeIdentity,
        shards: Vec<ShardLink>,
    ) -> (Self, flume::Receiver<ControlCommand>) {
        let (control, commands) = flume::bounded(CONTROL_MAILBOX_MAX);
        let shares = shards.iter().map(|_| Mutex::default()).collect();
        let loaded = watch::Sender::new(vec![false; shards.len()]);
        let inner = Inner {
            identity,
            shards,
            control,
            directory: RwLock::default(),
            directory_generation: AtomicU64::new(0),
            shares,
            shares_generation: watch::Sender::new(0),
            loaded,
            automatic: Automatic::default(),
            started: Instant::now(),
        };
        (
            Self {
                inner: Arc::new(inner),
            },
            commands,
        )
    }

    /// A node of one shard whose mailboxes nobody reads: for tests of handlers.
    pub fn detached(node: &str) -> (Self, flume::Receiver<ShardCommand>) {
        let (mailbox, commands) = flume::bounded(SHARD_MAILBOX_MAX);
        let identity = NodeIdentity {
            cluster: "test".to_owned(),
            node: node.to_owned(),
            directory_id: 1,
            epoch: 1,
            auto_create: true,
            auto_create_queues: 8,
        };
        let link = ShardLink {
            name: shard_name(0, node),
            address: "127.0.0.1:0".to_owned(),
            mailbox,
        };
        (Self::new(identity, vec![link]).0, commands)
    }

    /// Who this node is.
    pub fn identity(&self) -> &NodeIdentity {
        &self.inner.identity
    }

    /// What was said while the node runs about things that come into being by use.
    pub fn automatic(&self) -> &Automatic {
        &self.inner.automatic
    }

    /// All shards, by index.
    pub fn shards(&self) -> &[ShardLink] {
        &self.inner.shards
    }

    /// Milliseconds since the process started.
    pub fn uptime_ms(&self) -> u64 {
        u64::try_from(self.inner.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    // ---- topics ----

    /// The shard serves this share from now on: called when the record is durable, and for each topic at start.
    pub fn share_put(&self, shard: usize, topic: TopicRecordT) {
        self.shares(shard, |table| table.put(topic));
        self.shares_changed();
    }

    /// The shard serves the topic no more.
    pub fn share_removed(&self, shard: usize, topic: &str) {
        self.shares(shard, |table| table.remove(topic));
        self.shares_changed();
    }

    /// The shard has called [`Self::share_put`] for every topic that it found in its log, and serves. Once all shards
    /// of the node do, they are registered with name servers.
    pub fn shares_loaded(&self, shard: usize) {
        self.inner.loaded.send_modify(|loaded| loaded[shard] = true);
    }

    /// Returns when all shards have loaded their topics and serve.
    pub async fn all_loaded(&self) {
        let mut loaded = self.inner.loaded.subscribe();
        // The sender lives in self.
        let _ = loaded
            .wait_for(|loaded| loaded.iter().all(|loaded| *loaded))
            .await;
    }

    /// Gives or withdraws write permission in the routes, and tells the shards.
    pub fn set_writable(&self, writable: bool) {
        for (index, link) in self.inner.shards.iter().enumerate() {
            self.shares(index, |table| table.set_writable(writable));
            // A shard that is too busy to hear it loses its writers a little later, by the routes.
            let _ = link.mailbox.try_send(ShardCommand::SetWritable(writable));
        }
        self.shares_changed();
    }

    /// Raised with every change of any share table.
    pub fn shares_generation(&self) -> watch::Receiver<u64> {
        self.inner.shares_generation.subscribe()
    }

    /// To be called after a share table was changed in place.
    pub fn shares_changed(&self) {
        self.inner
            .shares_generation
            .send_modify(|generation| *generation += 1);
    }

    /// What the shard registers with name servers. Borrowed for one look, so that no lock is held over an await.
    pub fn shares<T>(&self, shard: usize, look: impl FnOnce(&mut ShareTable) -> T) -> T {
        // A panic inside the table's few lines cannot leave it half changed in a way that matters more than going on.
        look(
            &mut self.inner.shares[shard]
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Creates the topic on all shards of this node, queue 0's home first, and registers it with the name servers
    /// before answering. `queues` 0: the configured number. A topic that is there already is returned with its
    /// missing shares completed.
    pub async fn create_topic_everywhere(
        &self,
        topic: TopicRecordT,
    ) -> Result<TopicCreateResponseT, ControlError> {
        let (reply, answer) = reply();
        self.control(ControlCommand::CreateTopic { topic, reply })?;
        answer
            .recv_async()
            .await
            .map_err(|_| ControlError::stopping())?
    }

    /// Returns when every reachable name server has the shares that `shard` has now, or after two seconds.
    pub async fn registered(&self, shard: usize) -> Result<(), ControlError> {
        let version = self.shares(shard, |table| table.version());
        let (reply, answer) = reply();
        self.control(ControlCommand::Registered {
            shard,
            version,
            reply,
        })?;
        answer
            .recv_async()
            .await
            .map_err(|_| ControlError::stopping())?
    }

    // ---- groups ----

    /// The members of all groups at this node, as of the last change.
    pub fn directory(&self) -> Arc<DirectorySnapshot> {
        self.inner
            .directory
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Changes when [`Self::directory`] does, and costs less to look at.
    pub fn directory_generation(&self) -> u64 {
        self.inner.directory_generation.load(Ordering::Acquire)
    }

    /// The members of one group, as of the last change.
    pub fn group(&self, group: &str) -> Option<Arc<GroupView>> {
        self.directory().group(group).cloned()
    }

    /// Whether `member` is in `group` at this node now.
    pub fn is_member(&self, group: &str, member: &str) -> bool {
        self.group(group).is_some_and(|view| view.has(member))
    }

    /// Joins or refreshes a membership. The answer is given after all shards can see it.
    pub async fn join(&self, join: Join) -> Result<GroupJoinResponseT, ControlError> {
        let (reply, answer) = reply();
        self.control(ControlCommand::Join { join, reply })?;
        answer
            .recv_async()
            .await
            .map_err(|_| ControlError::stopping())?
    }

    /// Keeps a membership alive and returns the group's version; `None`: join again. Does not wait.
    pub fn heartbeat(&self, group: &str, member: &str) -> Result<Option<u64>, ControlError> {
        let Some(view) = self.group(group).filter(|view| view.has(member)) else {
            return Ok(None);
        };
        self.control(ControlCommand::Heartbeat {
            group: group.to_owned(),
            member: member.to_owned(),
        })?;
        Ok(Some(view.version))
    }

    /// Ends a membership; no error if it is not there. The answer is given after all shards can see it.
    pub async fn leave(&self, group: &str, member: &str) -> Result<(), ControlError> {
        let (reply, answer) = reply();
        self.control(ControlCommand::Leave {
            group: group.to_owned(),
            member: member.to_owned(),
            reply,
        })?;
        answer
            .recv_async()
            .await
            .map_err(|_| ControlError::stopping())
    }

    /// The members of a group with their last heartbeats, for people to look at.
    pub async fn members(&self, group: &str) -> Result<(u64, Vec<GroupMemberT>), ControlError> {
        let (reply, answer) = reply();
        self.control(ControlCommand::Members {
            group: group.to_owned(),
            reply,
        })?;
        answer
            .recv_async()
            .await
            .map_err(|_| ControlError::stopping())
    }

    /// Makes a new copy of the directory visible to all shards; for the control task alone.
    pub fn publish(&self, snapshot: Arc<DirectorySnapshot>) {
        *self
            .inner
            .directory
            .write()
            .unwrap_or_else(PoisonError::into_inner) = snapshot;
        self.inner
            .directory_generation
            .fetch_add(1, Ordering::Release);
    }

    fn control(&self, command: ControlCommand) -> Result<(), ControlError> {
        self.inner
            .control
            .try_send(command)
            .map_err(|error| match error {
                flume::TrySendError::Full(_) => ControlError::busy("the node's control task"),
                flume::TrySendError::Disconnected(_) => ControlError::stopping(),
            })
    }
}

/// Subscriptions of one member, in the form that answers carry.
pub type Subscriptions = Vec<SubscriptionT>;
