//! Topics. The client chooses where the queues of a new topic live: over all writable shards, starting at one that
//! depends on the topic's name, so that small topics spread over the cluster.

use super::Admin;
use crate::{
    core::{deadline_passed, pause},
    error::{Error, ErrorKind},
    route::Route,
};
use ringmq_wire::{
    batch::key_hash,
    codes::ErrorCode,
    limits::{TOPIC_QUEUES_MAX, is_valid_name},
    native::schema,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// A topic to create.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct TopicSpec {
    /// `[%|A-Za-z0-9_-]{1,127}`.
    pub name: String,
    /// In all, dealt over the shards.
    pub queues: u32,
    /// How long messages are kept; `None`: as long as the broker keeps them. Can only be shorter.
    pub retention: Option<Duration>,
    /// Largest message; `None`: the broker's limit.
    pub message_bytes_max: Option<u32>,
}

/// A change to a topic; what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use]
pub struct TopicUpdate {
    /// May only grow.
    pub queues: Option<u32>,
    /// `Some(None)`: as long as the broker keeps them.
    pub retention: Option<Option<Duration>>,
    /// `Some(None)`: the broker's limit.
    pub message_bytes_max: Option<Option<u32>>,
    /// Whether messages may be read.
    pub readable: Option<bool>,
    /// Whether messages may be sent.
    pub writable: Option<bool>,
}

/// A topic's settings and place.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicSummary {
    /// Its name.
    pub name: String,
    /// In all.
    pub queues: u32,
    /// Queue q lives on `placement[q % placement.len()]`.
    pub placement: Vec<String>,
    /// `None`: the broker's.
    pub retention: Option<Duration>,
    /// `None`: the broker's.
    pub message_bytes_max: Option<u32>,
    /// Whether messages may be read.
    pub readable: bool,
    /// Whether messages may be sent.
    pub writable: bool,
    /// Raised by each update.
    pub version: u64,
    /// Tells apart topics that had the same name at different times.
    pub incarnation: u128,
}

/// A topic and the state of its queues.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicDescription {
    /// Settings and place.
    pub topic: TopicSummary,
    /// By queue number. Queues of shards that did not answer are missing.
    pub queues: Vec<QueueDescription>,
    /// Shards that did not answer, and why.
    pub unreachable: Vec<(String, String)>,
}

/// One queue.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueDescription {
    /// Its number.
    pub queue: u32,
    /// Where it lives.
    pub shard: String,
    /// Oldest offset that is still there.
    pub min_offset: u64,
    /// End of what consumers may read.
    pub visible_offset: u64,
    /// The offset of the next message.
    pub next_offset: u64,
    /// When the last message was stored, Unix time; 0: never.
    pub last_store_time_ms: i64,
}

impl TopicSpec {
    /// A topic with the broker's settings.
    pub fn new(name: impl Into<String>, queues: u32) -> Self {
        Self {
            name: name.into(),
            queues,
            retention: None,
            message_bytes_max: None,
        }
    }

    /// Keeps messages for this long at most.
    pub fn retention(mut self, retention: Duration) -> Self {
        self.retention = Some(retention);
        self
    }

    /// Refuses larger messages.
    pub fn message_bytes_max(mut self, bytes: u32) -> Self {
        self.message_bytes_max = Some(bytes);
        self
    }

    fn check(&self) -> Result<(), Error> {
        if !is_valid_name(&self.name) {
            let why = "a topic name has 1 to 127 of the characters A-Z a-z 0-9 _ - % |";
            return Err(Error::invalid("create topic", &self.name, why));
        }
        if self.queues == 0 || self.queues > TOPIC_QUEUES_MAX {
            let why = format!("a topic has 1 to {TOPIC_QUEUES_MAX} queues");
            return Err(Error::invalid("create topic", &self.name, why));
        }
        Ok(())
    }

    fn settings(&self) -> schema::TopicSettingsT {
        schema::TopicSettingsT {
            retention_ms: self
                .retention
                .map_or(-1, |retention| retention.as_millis() as i64),
            message_bytes_max: self.message_bytes_max.unwrap_or(0),
            ..Default::default()
        }
    }
}

impl TopicSummary {
    fn read(record: &schema::TopicRecordT) -> Self {
        let settings = record.settings.as_deref().cloned().unwrap_or_default();
        let kept = settings.retention_ms;
        Self {
            name: record.name.clone(),
            queues: record.queues,
            placement: record.placement.clone().unwrap_or_default(),
            retention: (kept >= 0).then(|| Duration::from_millis(kept as u64)),
            message_bytes_max: Some(settings.message_bytes_max).filter(|bytes| *bytes > 0),
            readable: settings.readable,
            writable: settings.writable,
            version: record.version,
            incarnation: u128::from(record.incarnation_high) << 64
                | u128::from(record.incarnation_low),
        }
    }
}

impl Admin {
    /// Creates a topic over all writable shards. Where it exists with as many queues, missing shares are completed and
    /// it is returned as it is; with another number of queues that is an error.
    pub async fn create_topic(&self, spec: &TopicSpec) -> Result<TopicSummary, Error> {
        spec.check()?;
        let deadline = self.core.deadline();
        let record = match self.core.fresh_route(&spec.name, deadline).await {
            Ok(route) => self.topic_record(&route, deadline).await?,
            Err(error) if error.is_topic_not_found() => self.new_record(spec, deadline).await?,
            Err(error) => return Err(error),
        };
        if record.queues != spec.queues {
            let text = format!("exists with {} queues", record.queues);
            let refusal = crate::error::Refusal::from_number(ErrorCode::TopicExists.number(), text);
            return Err(Error::new("create topic", &spec.name, refusal));
        }
        let created = self.create_shares(record, deadline).await;
        let created = created.map_err(|e| e.during("create topic", &spec.name))?;
        self.wait_for_route(&created, deadline).await?;
        Ok(TopicSummary::read(&created))
    }

    async fn new_record(
        &self,
        spec: &TopicSpec,
        deadline: Instant,
    ) -> Result<schema::TopicRecordT, Error> {
        let shards = self.core.cluster_shards(deadline).await?;
        let writable = shards
            .into_iter()
            .filter(|s| s.writable)
            .map(|s| s.shard)
            .collect();
        let placement = place(writable, &spec.name);
        if placement.is_empty() {
            return Err(Error::new("create topic", &spec.name, ErrorKind::NoRoute));
        }
        Ok(schema::TopicRecordT {
            name: spec.name.clone(),
            incarnation_high: rand::random(),
            incarnation_low: rand::random_range(1..=u64::MAX),
            queues: spec.queues,
            placement: Some(placement),
            settings: Some(Box::new(spec.settings())),
            version: 1,
        })
    }

    /// Queue 0's home first: it is the lock that settles which of two concurrent creations counts.
    async fn create_shares(
        &self,
        mut record: schema::TopicRecordT,
        deadline: Instant,
    ) -> Result<schema::TopicRecordT, Error> {
        let home = record
            .placement
            .as_deref()
            .unwrap_or_default()
            .first()
            .cloned();
        let home =
            home.ok_or_else(|| Error::new("create topic", &record.name, ErrorKind::NoRoute))?;
        record = self.create_share(&home, record, deadline).await?;
        let others: Vec<String> = record.placement.clone().unwrap_or_default();
        for shard in others.iter().filter(|shard| **shard != home) {
            self.create_share(shard, record.clone(), deadline).await?;
        }
        Ok(record)
    }

    /// Creates one share; the answer is the record that holds at that shard.
    async fn create_share(
        &self,
        shard: &str,
        record: schema::TopicRecordT,
        deadline: Instant,
    ) -> Result<schema::TopicRecordT, Error> {
        let queues = record.queues;
        let name = record.name.clone();
        let request = schema::TopicCreateRequestT {
            topic: Box::new(record.clone()),
            automatic: false,
        };
        match self.core.call_shard_until(shard, &request, deadline).await {
            Ok(response) => Ok(response.topic.map_or(record, |topic| *topic)),
            Err(error) if error.code() == Some(ErrorCode::TopicExists) => {
                // Another client was quicker. With as many queues its topic is as good as ours.
                let request = schema::TopicDescribeRequestT { name };
                let described = self
                    .core
                    .call_shard_until(shard, &request, deadline)
                    .await?;
                let theirs = described.topic.map(|topic| *topic);
                theirs.filter(|theirs| theirs.queues == queues).ok_or(error)
            }
            Err(error) => Err(error),
        }
    }

    /// A created topic is of use once the name server routes to all of it.
    async fn wait_for_route(
        &self,
        record: &schema::TopicRecordT,
        deadline: Instant,
    ) -> Result<(), Error> {
        let started = Instant::now();
        let incarnation = (record.incarnation_high, record.incarnation_low);
        loop {
            match self.core.fresh_route(&record.name, deadline).await {
                Ok(route)
                    if route.incarnation == incarnation
                        && route.queues >= record.queues
                        && route
                            .shards()
                            .iter()
                            .all(|shard| route.live.contains(shard)) =>
                {
                    return Ok(());
                }
                Ok(_) => {}
                Err(error) if error.is_topic_not_found() => {}
                Err(error) => return Err(error),
            }
            if Instant::now() >= deadline {
                return Err(deadline_passed(
                    "wait for route of topic",
                    &record.name,
                    started,
                    None,
                ));
            }
            pause(deadline).await;
        }
    }

    /// The record as the topic's first shard that answers holds it.
    async fn topic_record(
        &self,
        route: &Route,
        deadline: Instant,
    ) -> Result<schema::TopicRecordT, Error> {
        let mut last = None;
        for shard in route.shards() {
            let request = schema::TopicDescribeRequestT {
                name: route.topic.to_string(),
            };
            match self.core.call_shard(&shard, &request, deadline).await {
                Ok(response) => {
                    if let Some(record) = response.topic {
                        return Ok(*record);
                    }
                }
                Err(error) => last = Some(error),
            }
        }
        let last = last.unwrap_or_else(|| {
            Error::new("describe topic", &*route.topic, ErrorKind::TopicNotFound)
        });
        Err(last.during("describe topic", &*route.topic))
    }

    /// All topics, by name.
    pub async fn list_topics(&self) -> Result<Vec<TopicSummary>, Error> {
        let deadline = self.core.deadline();
        let request = schema::ClusterTopicsRequestT::default();
        let answer = self.core.ask_name_server(&request, deadline).await?;
        let mut topics: Vec<_> = answer
            .topics
            .unwrap_or_default()
            .iter()
            .map(TopicSummary::read)
            .collect();
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(topics)
    }

    /// One topic and the state of its queues, asked from all its shards.
    pub async fn describe_topic(&self, topic: &str) -> Result<TopicDescription, Error> {
        let deadline = self.core.deadline();
        let route = self.core.fresh_route(topic, deadline).await?;
        let answers = self.ask_shards_of(&route, deadline).await;
        let mut described = None;
        let mut queues = Vec::new();
        let mut unreachable = Vec::new();
        let mut last = None;
        for (shard, answer) in answers {
            match answer {
                Ok(answer) => {
                    described = described.or(answer.topic);
                    let states = answer.queues.unwrap_or_default();
                    queues.extend(states.iter().map(|state| describe_queue(state, &shard)));
                }
                Err(error) => {
                    unreachable.push((shard.to_string(), error.to_string()));
                    last = Some(error);
                }
            }
        }
        let Some(record) = described else {
            let kind = ErrorKind::TopicNotFound;
            let error = last.unwrap_or_else(|| Error::new("describe topic", topic, kind));
            return Err(error.during("describe topic", topic));
        };
        queues.sort_by_key(|queue| queue.queue);
        Ok(TopicDescription {
            topic: TopicSummary::read(&record),
            queues,
            unreachable,
        })
    }

    async fn ask_shards_of(
        &self,
        route: &Route,
        deadline: Instant,
    ) -> Vec<(Arc<str>, Result<schema::TopicDescribeResponseT, Error>)> {
        let asking = route.shards().into_iter().map(|shard| async move {
            let request = schema::TopicDescribeRequestT {
                name: route.topic.to_string(),
            };
            let answer = self.core.call_shard(&shard, &request, deadline).await;
            (shard, answer)
        });
        futures_util::future::join_all(asking).await
    }

    /// Changes a topic on all its shards, queue 0's home first.
    pub async fn update_topic(
        &self,
        topic: &str,
        update: &TopicUpdate,
    ) -> Result<TopicSummary, Error> {
        let deadline = self.core.deadline();
        let route = self.core.fresh_route(topic, deadline).await?;
        let record = self.topic_record(&route, deadline).await?;
        let settings = record.settings.as_deref().cloned().unwrap_or_default();
        let request = schema::TopicUpdateRequestT {
            name: topic.to_owned(),
            queues: update.queues.unwrap_or(0),
            settings: Some(Box::new(update.applied_to(settings))),
        };
        let mut updated = record;
        for shard in &route.placement {
            let answer = self.core.call_shard_until(shard, &request, deadline).await;
            let answer = answer.map_err(|e| e.during("update topic", topic))?;
            updated = answer.topic.map_or(updated, |topic| *topic);
        }
        Ok(TopicSummary::read(&updated))
    }

    /// Deletes a topic from all its shards; `false`: there was none.
    pub async fn delete_topic(&self, topic: &str) -> Result<bool, Error> {
        let deadline = self.core.deadline();
        let route = match self.core.fresh_route(topic, deadline).await {
            Ok(route) => route,
            Err(error) if error.is_topic_not_found() => return Ok(false),
            Err(error) => return Err(error),
        };
        let request = schema::TopicDeleteRequestT {
            name: topic.to_owned(),
            incarnation_high: route.incarnation.0,
            incarnation_low: route.incarnation.1,
        };
        let mut existed = false;
        // Queue 0's home first: once it denies the incarnation, no other share is registered again.
        for shard in &route.placement {
            match self.core.call_shard_until(shard, &request, deadline).await {
                Ok(answer) => existed |= answer.existed,
                Err(error) if error.is_topic_not_found() => {}
                Err(error) => return Err(error.during("delete topic", topic)),
            }
        }
        self.core.routes.table().forget(topic);
        self.core.routes.announce_change();
        Ok(existed)
    }
}

impl TopicUpdate {
    fn applied_to(&self, mut settings: schema::TopicSettingsT) -> schema::TopicSettingsT {
        if let Some(retention) = self.retention {
            settings.retention_ms = retention.map_or(-1, |kept| kept.as_millis() as i64);
        }
        if let Some(bytes) = self.message_bytes_max {
            settings.message_bytes_max = bytes.unwrap_or(0);
        }
        settings.readable = self.readable.unwrap_or(settings.readable);
        settings.writable = self.writable.unwrap_or(settings.writable);
        settings
    }
}

/// All shards, sorted and then rotated by the topic's name. Shards without a queue get a share too: the topic may grow.
fn place(mut shards: Vec<String>, topic: &str) -> Vec<String> {
    shards.sort();
    if !shards.is_empty() {
        let first = key_hash(topic) as usize % shards.len();
        shards.rotate_left(first);
    }
    shards
}

fn describe_queue(state: &schema::QueueStateT, shard: &str) -> QueueDescription {
    QueueDescription {
        queue: state.queue,
        shard: shard.to_owned(),
        min_offset: state.min_offset,
        visible_offset: state.visible_offset,
        next_offset: state.next_offset,
        last_store_time_ms: state.last_store_time_ms,
    }
}
