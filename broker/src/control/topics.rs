//! Topics over all shards of the node: made on demand, completed at start.
//!
//! Queue 0's home shard is the lock: the topic exists when its share exists there, and the incarnation there is the
//! true one. Shares that are missing elsewhere are completed by any repeated create and at start; shares of another
//! incarnation are left-overs of an interrupted delete and are never registered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_lite::future::or;
use ringmq_wire::codes::ErrorCode;
use ringmq_wire::native::schema::{TopicCreateResponseT, TopicRecordT};
use tokio::sync::Mutex;

use super::ambient::{Ambient, TokioAmbient};
use crate::node::{ControlError, NodeHandle, ShardCommand, reply};
use crate::registration::Watcher;

/// How long a shard may take for one durable record before the request is given up.
const SHARE_WAIT: Duration = Duration::from_secs(10);
/// Attempts at a shard whose mailbox is full, and the time between them.
const MAILBOX_ATTEMPTS: u32 = 200;
const MAILBOX_WAIT: Duration = Duration::from_millis(10);
/// How long a topic that the home shard says it has may take to appear in its table.
const APPEAR_ATTEMPTS: u32 = 100;

/// See the module.
#[derive(Clone)]
pub struct TopicMaker<A: Ambient = TokioAmbient> {
    node: NodeHandle,
    watcher: Watcher,
    ambient: A,
    /// One lock for each topic that is being made, so that two first sends make one topic.
    making: Arc<Mutex<BTreeMap<String, Arc<Mutex<()>>>>>,
}

impl<A: Ambient> TopicMaker<A> {
    pub fn new(node: NodeHandle, watcher: Watcher, ambient: A) -> Self {
        Self {
            node,
            watcher,
            ambient,
            making: Arc::default(),
        }
    }

    /// Makes the topic on all shards of the node and registers it, or completes the one that is there.
    pub async fn create(&self, wanted: TopicRecordT) -> Result<TopicCreateResponseT, ControlError> {
        let name = wanted.name.clone();
        let lock = self
            .making
            .lock()
            .await
            .entry(name.clone())
            .or_default()
            .clone();
        let result = {
            let _alone = lock.lock().await;
            self.create_alone(wanted).await
        };
        let mut making = self.making.lock().await;
        // Two: the map's and ours. Others that wait keep the entry alive.
        if Arc::strong_count(&lock) <= 2 {
            making.remove(&name);
        }
        result
    }

    async fn create_alone(
        &self,
        wanted: TopicRecordT,
    ) -> Result<TopicCreateResponseT, ControlError> {
        // A client that asks for the route in between must not be told of a part of the topic: it would stay with that
        // until it asks again, up to 30 s later.
        let held = Held::new(&self.node, &wanted.name);
        let made = self.make(wanted).await;
        drop(held);
        let (topic, existed) = made?;
        self.registered(&topic).await;
        let mut response = TopicCreateResponseT::default();
        response.topic = Some(Box::new(topic));
        response.existed = existed;
        Ok(response)
    }

    /// Makes the topic on all shards, or completes it; says whether it was there.
    async fn make(&self, wanted: TopicRecordT) -> Result<(TopicRecordT, bool), ControlError> {
        let (topic, existed) = match self.known(&wanted.name) {
            Some(topic) => (topic, true),
            None => {
                let topic = self.place(wanted);
                match self.share(0, &topic).await {
                    Ok(response) => {
                        let existed = response.existed;
                        (response.topic.map_or(topic, |topic| *topic), existed)
                    }
                    Err(error) if error.code == ErrorCode::TopicExists => {
                        (self.appears(&topic.name).await.ok_or(error)?, true)
                    }
                    Err(error) => return Err(error),
                }
            }
        };
        self.complete(&topic).await?;
        Ok((topic, existed))
    }

    /// Creates the missing shares of this node.
    async fn complete(&self, topic: &TopicRecordT) -> Result<(), ControlError> {
        let placement = topic.placement.as_deref().unwrap_or_default();
        for (place, shard) in placement.iter().enumerate() {
            let Some(index) = self.index_of(shard) else {
                continue;
            };
            let has = self.node.shares(index, |table| {
                let share = table.find(&topic.name);
                share.is_some_and(|share| incarnation(share) == incarnation(topic))
            });
            if !has {
                self.share(place, topic).await?;
            }
        }
        Ok(())
    }

    /// Waits until name servers know the shares of this node.
    async fn registered(&self, topic: &TopicRecordT) {
        let placement = topic.placement.as_deref().unwrap_or_default();
        for index in placement.iter().filter_map(|shard| self.index_of(shard)) {
            let version = self.node.shares(index, |table| table.version());
            self.watcher.confirmed(index, version).await;
        }
    }

    /// Asks the shard at `place` of the topic's placement to create its share.
    async fn share(
        &self,
        place: usize,
        topic: &TopicRecordT,
    ) -> Result<TopicCreateResponseT, ControlError> {
        let shard = topic
            .placement
            .as_deref()
            .and_then(|placement| placement.get(place))
            .ok_or_else(|| ControlError::new(ErrorCode::Internal, "a topic without placement"))?;
        let Some(index) = self.index_of(shard) else {
            return Err(ControlError::new(
                ErrorCode::WrongShard,
                format!("shard {shard} is not of this node"),
            ));
        };
        let mailbox = &self.node.shards()[index].mailbox;
        for _ in 0..MAILBOX_ATTEMPTS {
            let (reply, answer) = reply();
            let command = ShardCommand::TopicCreateShare {
                topic: topic.clone(),
                reply,
            };
            match mailbox.try_send(command) {
                Ok(()) => {
                    let answered = async {
                        let answer = answer.recv_async().await;
                        answer.map_err(|_| ControlError::stopping())?
                    };
                    let late = async {
                        self.ambient.sleep(SHARE_WAIT).await;
                        let message =
                            format!("shard {shard} did not create {} in time", topic.name);
                        Err(ControlError::new(ErrorCode::TimedOut, message))
                    };
                    return or(answered, late).await;
                }
                Err(flume::TrySendError::Full(_)) => self.ambient.sleep(MAILBOX_WAIT).await,
                Err(flume::TrySendError::Disconnected(_)) => return Err(ControlError::stopping()),
            }
        }
        Err(ControlError::busy(shard))
    }

    /// The topic as any shard of this node has it; as queue 0's home has it, if that is one of them.
    fn known(&self, name: &str) -> Option<TopicRecordT> {
        let count = self.node.shards().len();
        let shares: Vec<TopicRecordT> = (0..count)
            .filter_map(|index| self.node.shares(index, |table| table.find(name).cloned()))
            .collect();
        let at_home = shares
            .iter()
            .position(|share| self.home_denies(share) == Some(false));
        match at_home {
            Some(found) => shares.into_iter().nth(found),
            // Homes on other nodes are theirs to judge; a local home that does not know it means: it is not there.
            None => shares
                .into_iter()
                .find(|share| self.home_denies(share).is_none()),
        }
    }

    /// Whether queue 0's home says that this incarnation is not there; `None`: that home is on another node.
    fn home_denies(&self, share: &TopicRecordT) -> Option<bool> {
        let home = share.placement.as_deref()?.first()?;
        let index = self.index_of(home)?;
        Some(self.node.shares(index, |table| {
            let at_home = table.find(&share.name);
            at_home.is_none_or(|topic| incarnation(topic) != incarnation(share))
        }))
    }

    async fn appears(&self, name: &str) -> Option<TopicRecordT> {
        for _ in 0..APPEAR_ATTEMPTS {
            if let Some(topic) = self.known(name) {
                return Some(topic);
            }
            self.ambient.sleep(MAILBOX_WAIT).await;
        }
        None
    }

    /// Fills in what the request leaves to the node. The home of queue 0 depends on the name alone, so that two nodes
    /// or two attempts with the same shards agree on it.
    fn place(&self, wanted: TopicRecordT) -> TopicRecordT {
        let identity = self.node.identity();
        let mut topic = wanted;
        if topic.queues == 0 {
            topic.queues = identity.auto_create_queues;
        }
        if topic.incarnation_high == 0 && topic.incarnation_low == 0 {
            topic.incarnation_high = self.ambient.random();
            // Zero means "do not check" in requests.
            topic.incarnation_low = self.ambient.random().max(1);
        }
        topic.version = topic.version.max(1);
        let mut shards: Vec<String> = self
            .node
            .shards()
            .iter()
            .map(|shard| shard.name.clone())
            .collect();
        let first = crc32fast::hash(topic.name.as_bytes()) as usize % shards.len();
        shards.rotate_left(first);
        // A shard without a queue has nothing to hold.
        shards.truncate(topic.queues as usize);
        topic.placement = Some(shards);
        topic
    }

    fn index_of(&self, shard: &str) -> Option<usize> {
        self.node
            .shards()
            .iter()
            .position(|link| link.name == shard)
    }

    /// Once all shards have loaded: lets them be registered, without shares that their home denies, then completes
    /// topics that were made in part.
    pub async fn open_node(&self) {
        self.node.all_loaded().await;
        let mut incomplete = BTreeMap::new();
        for index in 0..self.node.shards().len() {
            let shares: Vec<TopicRecordT> = self
                .node
                .shares(index, |table| table.iter().cloned().collect());
            for share in shares {
                match self.home_denies(&share) {
                    Some(true) => {
                        let shard = &self.node.shards()[index].name;
                        tracing::warn!(topic = %share.name, %shard, "share of a topic that was deleted or made again elsewhere; not served");
                        self.node.shares(index, |table| table.remove(&share.name));
                    }
                    Some(false) if self.is_incomplete(&share) => {
                        incomplete.insert(share.name.clone(), share);
                    }
                    _ => {}
                }
            }
        }
        for index in 0..self.node.shards().len() {
            self.node.shares(index, |table| table.loaded());
        }
        self.node.shares_changed();
        for (name, topic) in incomplete {
            match self.complete(&topic).await {
                Ok(()) => tracing::info!(topic = %name, "missing shares completed"),
                Err(error) => {
                    tracing::warn!(topic = %name, %error, "missing shares not completed");
                }
            }
        }
    }

    fn is_incomplete(&self, topic: &TopicRecordT) -> bool {
        let placement = topic.placement.as_deref().unwrap_or_default();
        placement
            .iter()
            .filter_map(|shard| self.index_of(shard))
            .any(|index| {
                self.node
                    .shares(index, |table| table.find(&topic.name).is_none())
            })
    }
}

/// Keeps the shares of a topic from being registered while it lives; then they are all at once.
struct Held<'a> {
    node: &'a NodeHandle,
    name: String,
}

impl<'a> Held<'a> {
    fn new(node: &'a NodeHandle, name: &str) -> Self {
        for index in 0..node.shards().len() {
            node.shares(index, |table| table.hold(name));
        }
        Self {
            node,
            name: name.to_owned(),
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        for index in 0..self.node.shards().len() {
            self.node.shares(index, |table| table.release(&self.name));
        }
        self.node.shares_changed();
    }
}

fn incarnation(topic: &TopicRecordT) -> (u64, u64) {
    (topic.incarnation_high, topic.incarnation_low)
}
