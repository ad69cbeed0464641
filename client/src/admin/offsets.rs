//! Where groups stand, and putting them elsewhere.

use super::Admin;
use crate::{
    consumer::Queue,
    error::{Error, Refusal},
    route::Route,
};
use ringmq_wire::native::schema;
use std::{sync::Arc, time::Instant};

/// Where to put a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetSpec {
    /// The oldest message that is still there.
    Earliest,
    /// The next message to come.
    Latest,
    /// The first message stored at or after this Unix time.
    TimeMs(i64),
    /// This offset, or the nearest one that is there.
    Offset(u64),
}

/// What a reset did to one queue.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct QueueReset {
    /// Topic and queue.
    pub queue: Queue,
    /// Where the group stands now, or why nothing changed.
    pub offset: Result<u64, Error>,
}

/// A queue's number and an offset in it, or why there is none.
pub(crate) type QueueOffset = (u32, Result<u64, Error>);

impl Admin {
    /// The offsets that lie at a point of each queue of a topic, in the order of the queues.
    pub async fn offsets_at(&self, topic: &str, at: OffsetSpec) -> Result<Vec<QueueOffset>, Error> {
        let deadline = self.core.deadline();
        let route = self.core.route(topic, deadline).await?;
        let mut found = Vec::new();
        for (shard, queues) in by_shard(&route, None) {
            found.extend(
                self.core
                    .offsets_at(&shard, &route.topic, queues, at, deadline)
                    .await?,
            );
        }
        found.sort_by_key(|(queue, _)| *queue);
        Ok(found)
    }

    /// Puts a group elsewhere in a topic: in all queues, or in those listed. Refused for queues that a member is
    /// reading, unless forced.
    pub async fn reset_offsets(
        &self,
        group: &str,
        topic: &str,
        queues: Option<&[u32]>,
        to: OffsetSpec,
        force: bool,
    ) -> Result<Vec<QueueReset>, Error> {
        let deadline = self.core.deadline();
        let route = self.core.route(topic, deadline).await?;
        let mut done = Vec::new();
        for (shard, queues) in by_shard(&route, queues) {
            done.extend(
                self.reset_share(group, &route, &shard, queues, to, force, deadline)
                    .await?,
            );
        }
        done.sort_by_key(|reset| reset.queue.queue);
        Ok(done)
    }

    #[allow(clippy::too_many_arguments, reason = "one call of the loop above")]
    async fn reset_share(
        &self,
        group: &str,
        route: &Route,
        shard: &Arc<str>,
        queues: Vec<u32>,
        to: OffsetSpec,
        force: bool,
        deadline: Instant,
    ) -> Result<Vec<QueueReset>, Error> {
        let topic = &route.topic;
        let asked = self
            .core
            .offsets_at(shard, topic, queues, to, deadline)
            .await?;
        let mut done = Vec::new();
        let mut resets = Vec::new();
        for (queue, offset) in asked {
            match offset {
                Ok(offset) => resets.push(schema::OffsetResetT { queue, offset }),
                Err(error) => {
                    done.push(QueueReset {
                        queue: Queue::new(topic.clone(), queue),
                        offset: Err(error),
                    });
                }
            }
        }
        let request = schema::OffsetResetRequestT {
            group: group.to_owned(),
            topic: topic.to_string(),
            resets: Some(resets.clone()),
            force,
        };
        let answer = self.core.call_shard_until(shard, &request, deadline).await;
        let answer = answer.map_err(|e| e.during("reset offsets of group", group))?;
        let errors = answer.errors.unwrap_or_default();
        for (index, reset) in resets.into_iter().enumerate() {
            let queue = Queue::new(topic.clone(), reset.queue);
            let offset = match errors.get(index).copied().unwrap_or(0) {
                0 => Ok(reset.offset),
                code => {
                    let refusal = Refusal::from_number(code, "");
                    Err(Error::new("reset offset of", queue.to_string(), refusal))
                }
            };
            done.push(QueueReset { queue, offset });
        }
        Ok(done)
    }
}

/// The queues of a topic (or those of them that are listed) by the shard that owns them.
pub(crate) fn by_shard(route: &Route, only: Option<&[u32]>) -> Vec<(Arc<str>, Vec<u32>)> {
    let wanted = |queue: &u32| only.is_none_or(|only| only.contains(queue));
    let shards = route.shards().into_iter();
    let shares = shards.map(|shard| {
        let queues = route
            .queues_of(&shard)
            .into_iter()
            .filter(wanted)
            .collect::<Vec<_>>();
        (shard, queues)
    });
    shares.filter(|(_, queues)| !queues.is_empty()).collect()
}

impl crate::core::Core {
    /// Asks the owning shard where a point lies in its queues.
    pub(crate) async fn offsets_at(
        &self,
        shard: &str,
        topic: &str,
        queues: Vec<u32>,
        at: OffsetSpec,
        deadline: Instant,
    ) -> Result<Vec<QueueOffset>, Error> {
        use schema::OffsetAt as At;
        let ask = |queues, at, ms| self.query_offsets(shard, topic, queues, at, ms, deadline);
        match at {
            OffsetSpec::Earliest => ask(queues, At::Earliest, 0).await,
            OffsetSpec::Latest => ask(queues, At::Latest, 0).await,
            OffsetSpec::TimeMs(time_ms) => ask(queues, At::Time, time_ms).await,
            OffsetSpec::Offset(wanted) => {
                let low = ask(queues.clone(), At::Earliest, 0).await?;
                let high = ask(queues, At::Latest, 0).await?;
                Ok(nearest(low, high, wanted))
            }
        }
    }

    async fn query_offsets(
        &self,
        shard: &str,
        topic: &str,
        queues: Vec<u32>,
        at: schema::OffsetAt,
        time_ms: i64,
        deadline: Instant,
    ) -> Result<Vec<QueueOffset>, Error> {
        let request = schema::OffsetQueryRequestT {
            topic: topic.to_owned(),
            queues: Some(queues),
            at,
            time_ms,
        };
        let answer = self.call_shard_until(shard, &request, deadline).await;
        let answer = answer.map_err(|e| e.during("look up offsets of topic", topic))?;
        let read = |found: schema::QueueOffsetT| match found.error {
            0 => (found.queue, Ok(found.offset)),
            code => {
                let refusal = Refusal::from_number(code, "");
                let object = format!("{topic}/{}", found.queue);
                (
                    found.queue,
                    Err(Error::new("look up offset of", object, refusal)),
                )
            }
        };
        Ok(answer
            .offsets
            .unwrap_or_default()
            .into_iter()
            .map(read)
            .collect())
    }
}

fn nearest(low: Vec<QueueOffset>, high: Vec<QueueOffset>, wanted: u64) -> Vec<QueueOffset> {
    let pairs = low.into_iter().zip(high);
    let clamped = pairs.map(|((queue, low), (_, high))| {
        (
            queue,
            low.and_then(|low| high.map(|high| wanted.clamp(low, high.max(low)))),
        )
    });
    clamped.collect()
}
