//! Single messages, by position, by queue and offset, by key.

use super::Admin;
use crate::{
    consumer::{Queue, decode},
    error::{Error, ErrorKind},
};
use bytes::Bytes;
use ringmq_wire::{codes::ErrorCode, native::schema};
use std::{sync::Arc, time::Instant};

/// A stored message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FoundMessage {
    /// Topic and queue.
    pub queue: Queue,
    /// Offset within the queue.
    pub offset: u64,
    /// Position in the shard's log.
    pub position: u64,
    /// The shard that stores it.
    pub shard: String,
    /// When it came into being, Unix time.
    pub born_time_ms: i64,
    /// When it was stored, Unix time.
    pub store_time_ms: i64,
    /// Names under which it can be found.
    pub keys: Vec<String>,
    /// Its class.
    pub tag: Option<String>,
    /// Anything else.
    pub properties: Vec<(String, String)>,
    /// What it says.
    pub body: Bytes,
}

/// What to look for and how many messages of it.
struct Search {
    request: schema::MessageQueryRequestT,
    key: Option<String>,
}

impl Admin {
    /// The message at an offset of a queue; `None`: there is none (any more).
    pub async fn message_at_offset(
        &self,
        topic: &str,
        queue: u32,
        offset: u64,
    ) -> Result<Option<FoundMessage>, Error> {
        let deadline = self.core.deadline();
        let route = self.core.route(topic, deadline).await?;
        if queue >= route.queues {
            let why = format!("the topic has queues 0 to {}", route.queues - 1);
            return Err(Error::invalid("get message", topic, why));
        }
        let request = schema::MessageQueryRequestT {
            by: schema::MessageQueryBy::Offset,
            topic: Some(topic.to_owned()),
            queue,
            offset,
            max_messages: 1,
            ..Default::default()
        };
        let search = Search { request, key: None };
        Ok(self
            .search(route.shard_of(queue), &search, deadline)
            .await?
            .pop())
    }

    /// The message at a log position of a shard; without a shard, all shards are asked.
    pub async fn messages_at_position(
        &self,
        shard: Option<&str>,
        position: u64,
    ) -> Result<Vec<FoundMessage>, Error> {
        let deadline = self.core.deadline();
        let shards: Vec<Arc<str>> = match shard {
            Some(shard) => vec![Arc::from(shard)],
            None => {
                let shards = self.core.cluster_shards(deadline).await?;
                shards
                    .into_iter()
                    .map(|shard| Arc::from(shard.shard))
                    .collect()
            }
        };
        let request = schema::MessageQueryRequestT {
            by: schema::MessageQueryBy::Position,
            position,
            max_messages: 1,
            ..Default::default()
        };
        self.search_all(&shards, &Search { request, key: None }, deadline)
            .await
    }

    /// Messages of a topic with this key, newest first.
    pub async fn messages_by_key(
        &self,
        topic: &str,
        key: &str,
        max_messages: u32,
    ) -> Result<Vec<FoundMessage>, Error> {
        let deadline = self.core.deadline();
        let route = self.core.route(topic, deadline).await?;
        let request = schema::MessageQueryRequestT {
            by: schema::MessageQueryBy::Key,
            topic: Some(topic.to_owned()),
            key: Some(key.to_owned()),
            max_messages,
            ..Default::default()
        };
        let search = Search {
            request,
            key: Some(key.to_owned()),
        };
        let mut found = self.search_all(&route.shards(), &search, deadline).await?;
        found.sort_by_key(|message| std::cmp::Reverse(message.store_time_ms));
        found.truncate(max_messages as usize);
        Ok(found)
    }

    async fn search_all(
        &self,
        shards: &[Arc<str>],
        search: &Search,
        deadline: Instant,
    ) -> Result<Vec<FoundMessage>, Error> {
        let asking = shards
            .iter()
            .map(|shard| self.search(shard, search, deadline));
        let mut found = Vec::new();
        for answer in futures_util::future::join_all(asking).await {
            found.extend(answer?);
        }
        Ok(found)
    }

    async fn search(
        &self,
        shard: &str,
        search: &Search,
        deadline: Instant,
    ) -> Result<Vec<FoundMessage>, Error> {
        let connection = self.core.shard(shard, deadline).await?;
        let left = deadline.saturating_duration_since(Instant::now());
        let missing = [ErrorCode::MessageNotFound, ErrorCode::OffsetOutOfRange];
        let (answer, payload) = match connection.call_with_payload(&search.request, left).await {
            Ok(answer) => answer,
            Err(error) if error.code().is_some_and(|code| missing.contains(&code)) => {
                return Ok(Vec::new());
            }
            Err(error) => return Err(error.during("get message", shard)),
        };
        let mut rest = payload;
        let mut found = Vec::new();
        for entry in answer.messages.unwrap_or_default() {
            if entry.length as usize > rest.len() {
                let cause = "the payload is shorter than announced".to_owned();
                return Err(Error::new("get message", shard, ErrorKind::Protocol(cause)));
            }
            let batch = rest.split_to(entry.length as usize);
            let message = find_in_batch(&batch, &entry, shard)
                .map_err(|cause| damaged(shard, entry.offset, cause))?;
            // The index knows only hashes of keys.
            let wanted = |m: &FoundMessage| search.key.as_ref().is_none_or(|k| m.keys.contains(k));
            found.extend(message.filter(wanted));
        }
        Ok(found)
    }
}

fn damaged(shard: &str, offset: u64, cause: String) -> Error {
    Error::new("get message", shard, ErrorKind::Damaged { offset, cause })
}

fn find_in_batch(
    batch: &Bytes,
    entry: &schema::FoundMessageT,
    shard: &str,
) -> Result<Option<FoundMessage>, String> {
    let decoded = decode::batch(batch).map_err(|error| error.to_string())?;
    let header = decoded.header;
    let found = decoded
        .messages
        .into_iter()
        .find(|message| message.offset == entry.offset);
    Ok(found.map(|message| FoundMessage {
        queue: Queue::new(entry.topic.clone().unwrap_or_default(), entry.queue),
        offset: message.offset,
        position: entry.position,
        shard: shard.to_owned(),
        born_time_ms: message.born_time_ms,
        store_time_ms: header.store_time_ms,
        keys: message.keys().map(str::to_owned).collect(),
        tag: message.tag().map(str::to_owned),
        properties: message
            .properties()
            .map(|(n, v)| (n.to_owned(), v.to_owned()))
            .collect(),
        body: message.body,
    }))
}
