//! The task of one lane: batches what waits, sends what the lane allows, and tells outcomes.

use super::{
    encode::{self, Encoded},
    lane::{Answer, BatchId, Effect, Lane, Verdict},
    outcome::Receipt,
    queue::{LaneQueue, Pending},
    settings::{Acks, Settings},
};
use crate::{
    core::Core,
    error::{Error, ErrorKind, Refusal},
    route::Route,
    transport::{Backoff, Connection},
};
use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use ringmq_wire::{batch::BatchBuilder, codes::ErrorCode, native::schema};
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

/// Bound on one attempt to reach the shard; messages whose deadline passes meanwhile are looked after in between.
const CONNECT_PATIENCE: Duration = Duration::from_secs(1);

type Answered = (BatchId, Result<schema::ProduceResponseT, Error>);

/// Everything one lane's task owns.
pub(super) struct LaneTask {
    core: Arc<Core>,
    settings: Arc<Settings>,
    line: Arc<LaneQueue>,
    producer_id: u64,
    lane: Lane,
    builder: BatchBuilder,
    batches: HashMap<BatchId, Encoded>,
    answers: FuturesUnordered<BoxFuture<'static, Answered>>,
    connection: Option<Connection>,
    route: Arc<Route>,
    /// The shard said that the route is wrong.
    route_is_stale: bool,
    backoff: Backoff,
    not_before: Option<Instant>,
    last_error: Option<Error>,
}

impl LaneTask {
    pub(super) fn new(
        core: Arc<Core>,
        settings: Arc<Settings>,
        line: Arc<LaneQueue>,
        producer_id: u64,
        route: Arc<Route>,
    ) -> Self {
        // Without answers there is nothing to be idempotent about.
        let producer_id = if settings.acks == Acks::None {
            0
        } else {
            producer_id
        };
        Self {
            lane: Lane::new(settings.in_flight),
            core,
            settings,
            line,
            producer_id,
            builder: BatchBuilder::new(),
            batches: HashMap::new(),
            answers: FuturesUnordered::new(),
            connection: None,
            route,
            route_is_stale: false,
            backoff: Backoff::new(20, 1000),
            not_before: None,
            last_error: None,
        }
    }

    /// Runs until the producer is closed and every message has its outcome.
    pub(super) async fn run(mut self) {
        let line = Arc::clone(&self.line);
        loop {
            self.give_up_expired();
            self.fill();
            self.send_ready().await;
            if self.is_done() {
                return;
            }
            let wake = self.next_wake();
            tokio::select! {
                Some((id, answer)) = self.answers.next(), if !self.answers.is_empty() => {
                    self.answered(id, answer);
                }
                () = line.changed.notified() => {}
                () = sleep_until(wake) => {}
            }
        }
    }

    fn is_done(&self) -> bool {
        let waiting = self.line.waiting();
        waiting.closed && waiting.messages.is_empty() && self.lane.is_empty()
    }

    /// Encodes waiting messages while the lane has room and it is time.
    fn fill(&mut self) {
        while self.lane.has_room() {
            let taken = {
                let mut waiting = self.line.waiting();
                if self.due(&waiting).is_none_or(|due| due > Instant::now()) {
                    return;
                }
                encode::take_batch(&mut waiting, &self.settings)
            };
            let (messages, failed) = encode::build(&mut self.builder, taken);
            self.settled(failed);
            if messages.is_empty() {
                continue;
            }
            let (id, stamp) = self.lane.push(messages.len() as u32);
            let producer_id = self.producer_id;
            match encode::finish(
                &mut self.builder,
                messages,
                &self.settings,
                producer_id,
                stamp,
            ) {
                Ok(encoded) => drop(self.batches.insert(id, encoded)),
                Err((messages, error)) => {
                    let effects = self.lane.give_up(id);
                    self.fail(messages, &error, false);
                    self.perform(effects);
                }
            }
        }
    }

    /// When the first waiting message may go: at once, unless company may come while others are in flight.
    fn due(&self, waiting: &super::queue::Waiting) -> Option<Instant> {
        let first = waiting.messages.front()?;
        let full = waiting.bytes >= self.settings.batch_bytes
            || waiting.messages.len() >= self.settings.batch_messages;
        let flushed = waiting.accepted - (waiting.messages.len() as u64) < waiting.flush_through;
        if self.lane.is_empty() || full || flushed || waiting.closed {
            return Some(first.accepted);
        }
        Some(first.accepted + self.settings.linger)
    }

    fn next_wake(&self) -> Option<Instant> {
        let due = if self.lane.has_room() {
            self.due(&self.line.waiting())
        } else {
            None
        };
        let expires = self.batches.values().map(|batch| batch.deadline).min();
        let waiting_expires = self
            .line
            .waiting()
            .messages
            .front()
            .map(|first| first.deadline);
        let retry = self
            .not_before
            .filter(|_| self.lane.next_to_send().is_some());
        [due, expires, waiting_expires, retry]
            .into_iter()
            .flatten()
            .min()
    }

    /// Sends everything that may be sent now.
    async fn send_ready(&mut self) {
        if self.not_before.is_some_and(|at| at > Instant::now()) {
            return;
        }
        self.not_before = None;
        while let Some(id) = self.lane.next_to_send() {
            let connection = match self.connect().await {
                Ok(connection) => connection,
                Err(error) => {
                    // Nothing was sent: the batch is not in doubt.
                    let answer = classify(&error);
                    let answer = if answer == Answer::Rejected {
                        answer
                    } else {
                        Answer::Refused
                    };
                    self.take_answer(id, answer, error);
                    return;
                }
            };
            self.send(id, connection).await;
        }
    }

    /// The connection to the queue's shard, after a look at the route if need be.
    async fn connect(&mut self) -> Result<Connection, Error> {
        let live = self.connection.as_ref().filter(|c| c.is_open());
        if let Some(connection) = live.filter(|_| !self.route_is_stale) {
            return Ok(connection.clone());
        }
        let deadline = Instant::now() + CONNECT_PATIENCE;
        let topic = Arc::clone(&self.line.topic);
        if self.route_is_stale {
            let fresh = self.core.fresh_route(&topic, deadline).await;
            self.route = match fresh {
                Err(error) if error.is_topic_not_found() && self.settings.create_topics => {
                    self.core.routes.table().forget(&topic);
                    self.core.route_or_create(&topic, deadline).await?
                }
                fresh => fresh?,
            };
            self.route_is_stale = false;
        } else if let Some(route) = self.core.routes.cached(&topic) {
            self.route = route;
        }
        if self.line.queue >= self.route.queues {
            let why = format!("queue {} is not in the topic", self.line.queue);
            return Err(Error::invalid("send message", &topic, why));
        }
        let shard = Arc::clone(self.route.shard_of(self.line.queue));
        let connection = self.core.shard(&shard, deadline).await?;
        self.connection = Some(connection.clone());
        Ok(connection)
    }

    async fn send(&mut self, id: BatchId, connection: Connection) {
        let Some(batch) = self.batches.get_mut(&id) else {
            return;
        };
        let payload = batch.bytes.clone();
        let timeout = batch.deadline.saturating_duration_since(Instant::now());
        let timeout = timeout.min(self.settings.request_timeout);
        let request = schema::ProduceRequestT {
            topic: self.line.topic.to_string(),
            queue: self.line.queue,
            acks: self.settings.acks.into(),
            incarnation: self.route.incarnation.1,
        };
        self.lane.sent(id);
        if self.settings.acks == Acks::None {
            let written = connection.notify(&request, payload).await;
            return self.answered(id, written.map(|()| schema::ProduceResponseT::default()));
        }
        match connection.submit(&request, payload).await {
            Ok(reply) => self.answers.push(Box::pin(async move {
                (
                    id,
                    reply
                        .answer_within(timeout)
                        .await
                        .map(|(response, _)| response),
                )
            })),
            Err(error) => self.answered(id, Err(error)),
        }
    }

    fn answered(&mut self, id: BatchId, answer: Result<schema::ProduceResponseT, Error>) {
        match answer {
            Ok(response) => {
                self.backoff.reset();
                self.not_before = None;
                let known = self.settings.acks != Acks::None;
                self.stored(id, known.then_some(&response));
            }
            Err(error) if error.code() == Some(ErrorCode::DuplicateForgotten) => {
                self.stored(id, None)
            }
            Err(error) => {
                let answer = classify(&error);
                self.note_failure(&error);
                self.take_answer(id, answer, error);
            }
        }
    }

    fn stored(&mut self, id: BatchId, response: Option<&schema::ProduceResponseT>) {
        let messages = self
            .batches
            .remove(&id)
            .map(|batch| batch.messages)
            .unwrap_or_default();
        let count = messages.len() as u64;
        for (index, pending) in messages.into_iter().enumerate() {
            let receipt = Receipt {
                topic: Arc::clone(&self.line.topic),
                queue: self.line.queue,
                offset: response.map(|r| r.base_offset + index as u64),
                position: response.map(|r| r.position + index as u64),
                store_time_ms: response.map(|r| r.store_time_ms),
            };
            pending.stored(receipt);
        }
        self.settled(count);
        let effects = self.lane.answered(id, Answer::Stored);
        self.perform(effects);
    }

    /// What a failure says about connection and route.
    fn note_failure(&mut self, error: &Error) {
        tracing::debug!(topic = %self.line.topic, queue = self.line.queue, %error, "batch not stored");
        match error.code() {
            Some(
                ErrorCode::WrongShard
                | ErrorCode::StaleIncarnation
                | ErrorCode::TopicNotFound
                | ErrorCode::QueueNotFound,
            ) => self.route_is_stale = true,
            Some(_) => {}
            // A shard that does not answer may have moved.
            None => self.connection = None,
        }
    }

    fn take_answer(&mut self, id: BatchId, answer: Answer, error: Error) {
        if let Some(batch) = self.batches.get_mut(&id) {
            batch.last_error = Some(error.clone());
        }
        self.last_error = Some(error);
        let effects = self.lane.answered(id, answer);
        self.perform(effects);
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Settle(_, Verdict::Stored) => {}
                Effect::Settle(id, verdict) => {
                    if let Some(batch) = self.batches.remove(&id) {
                        let error = batch.last_error.or_else(|| self.last_error.clone());
                        let error = error.unwrap_or_else(|| self.deadline_error(None));
                        self.fail(batch.messages, &error, verdict == Verdict::Maybe);
                    }
                }
                Effect::Restamp => self.restamp(),
                Effect::BackOff => {
                    let refusal = self.last_error.as_ref().and_then(Error::refusal);
                    let advice = refusal.map_or(0, |refusal| refusal.retry_after_ms);
                    let advice =
                        Duration::from_millis(u64::from(advice)).min(Duration::from_secs(5));
                    let rest = self.backoff.next_random().max(advice);
                    self.not_before = Some(Instant::now() + rest);
                }
            }
        }
    }

    fn restamp(&mut self) {
        for (id, batch) in &mut self.batches {
            if let Some(stamp) = self.lane.stamp(*id) {
                batch.restamp(stamp);
            }
        }
    }

    fn fail(&mut self, messages: Vec<Pending>, error: &Error, maybe_stored: bool) {
        let count = messages.len() as u64;
        for pending in messages {
            let object = format!("{}/{}", self.line.topic, self.line.queue);
            let error = error.clone().during("send message to", object);
            pending.failed(error, maybe_stored);
        }
        self.settled(count);
    }

    fn settled(&self, count: u64) {
        if count > 0 {
            self.line.settled.send_modify(|settled| *settled += count);
        }
    }

    /// Ends what has tried for long enough.
    fn give_up_expired(&mut self) {
        let now = Instant::now();
        let expired = |batch: &Encoded| batch.deadline <= now;
        let mut late: Vec<_> = self
            .batches
            .iter()
            .filter(|(_, b)| expired(b))
            .map(|(id, _)| *id)
            .collect();
        late.sort_unstable();
        for id in late {
            let error = self.deadline_error(self.batches.get(&id).and_then(|b| b.messages.first()));
            if let Some(batch) = self.batches.get_mut(&id) {
                batch.last_error = Some(error);
            }
            let effects = self.lane.give_up(id);
            self.perform(effects);
        }
        loop {
            let late = {
                let mut waiting = self.line.waiting();
                let is_late = waiting
                    .messages
                    .front()
                    .is_some_and(|first| first.deadline <= now);
                let late = if is_late {
                    waiting.messages.pop_front()
                } else {
                    None
                };
                waiting.bytes -= late.as_ref().map_or(0, |late| late.reservation.bytes);
                late
            };
            let Some(late) = late else { return };
            let error = self.deadline_error(Some(&late));
            self.fail(vec![late], &error, false);
        }
    }

    fn deadline_error(&self, message: Option<&Pending>) -> Error {
        let waited = message.map_or(Duration::ZERO, |m| m.accepted.elapsed());
        let cause = self.last_error.clone().map(Box::new);
        let kind = ErrorKind::TimedOut {
            waited_ms: waited.as_millis() as u64,
            cause,
        };
        Error::new("send message to", &*self.line.topic, kind)
    }
}

/// What a failure means for the order of the lane.
fn classify(error: &Error) -> Answer {
    let Some(code) = error.code() else {
        return match error.kind() {
            ErrorKind::InvalidInput(_) | ErrorKind::Refused(_) => Answer::Rejected,
            _ => Answer::Lost,
        };
    };
    match code {
        ErrorCode::OutOfOrderSequence => Answer::Gap,
        ErrorCode::UnknownProducer => Answer::Unknown,
        ErrorCode::StaleEpoch => Answer::Stale {
            epoch: error.refusal().map_or(0, |refusal: &Refusal| refusal.epoch),
        },
        // Done or not done, the server does not say.
        ErrorCode::TimedOut | ErrorCode::LogFailed | ErrorCode::Internal => Answer::Lost,
        ErrorCode::StaleIncarnation | ErrorCode::TopicNotFound | ErrorCode::QueueNotFound => {
            Answer::Refused
        }
        code if code.is_retryable() => Answer::Refused,
        _ => Answer::Rejected,
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
