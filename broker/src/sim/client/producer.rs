//! A simulated idempotent producer of one queue: numbered messages, in order, several batches in flight, everything
//! unanswered sent again. What to send, what an answer means and how a batch ends is decided by the client library's
//! [`Lane`].

use super::connection::{Connection, Failure, Frame, PATIENCE};
use super::lane::{Answer, BatchId, Effect, Lane, Verdict};
use super::routes::Routes;
use crate::sim::draw::Draw;
use crate::sim::message::Message;
use crate::sim::oracle::{Outcome, QueueId};
use crate::sim::world::World;
use ringmq_storage_engine::runtime::Runtime;
use ringmq_wire::batch::{BatchBuilder, BatchOptions, Record};
use ringmq_wire::codes::{ErrorCode, Kind};
use ringmq_wire::native;
use ringmq_wire::native::schema::{Acks, ProduceRequestT, ProduceResponse};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// Attempts at a topic that is said to be gone, before its producer gives up.
const GONE_ATTEMPTS: u32 = 20;

/// Who sends what where.
#[derive(Debug, Clone)]
pub struct ProducerPlan {
    /// Unique among producers; each queue of it is a lane.
    pub id: u64,
    pub topic: String,
    pub incarnation: u64,
    pub queue: u32,
    pub messages: u64,
    pub acks: Acks,
}

struct Batch {
    /// Numbers of its messages.
    numbers: std::ops::Range<u64>,
    begun: Duration,
    /// Gives up after this; the oracle is told what the lane then says.
    patience: Duration,
}

struct Producer {
    world: Rc<World>,
    plan: ProducerPlan,
    draw: Draw,
    routes: Routes,
    lane: Lane,
    next_number: u64,
    batches: BTreeMap<BatchId, Batch>,
    connection: Option<Connection>,
    /// Correlation id to batch, in order of sending.
    asked: BTreeMap<u64, BatchId>,
    backoff: Duration,
    gone: u32,
}

/// Sends everything of the plan, or until the topic is gone.
pub async fn run(world: Rc<World>, plan: ProducerPlan, draw: Draw) {
    world.busy_clients.set(world.busy_clients.get() + 1);
    let name = format!("producer-{}-{}", plan.id, plan.queue);
    let mut routes_draw = draw.clone();
    routes_draw.next();
    let mut producer = Producer {
        routes: Routes::new(&world, &plan.topic, &name, routes_draw),
        lane: Lane::new(world.plan.in_flight_max as usize),
        world: Rc::clone(&world),
        plan,
        draw,
        next_number: 0,
        batches: BTreeMap::new(),
        connection: None,
        asked: BTreeMap::new(),
        backoff: Duration::ZERO,
        gone: 0,
    };
    while !producer.is_done() && !world.is_over() {
        producer.fill();
        producer.send_all().await;
        producer.take_answers().await;
        producer.give_up_late();
        if !producer.backoff.is_zero() {
            let wait = producer.draw.duration(producer.backoff);
            world.runtime.sleep(wait).await;
        } else if producer.draw.one_in(8) {
            let wait = producer.draw.millis(1, 40);
            world.runtime.sleep(wait).await;
        }
    }
    world.busy_clients.set(world.busy_clients.get() - 1);
}

impl Producer {
    fn is_done(&self) -> bool {
        let all_sent = self.next_number >= self.plan.messages;
        self.gone > GONE_ATTEMPTS || (all_sent && self.lane.is_empty())
    }

    fn queue(&self) -> QueueId {
        (self.plan.incarnation, self.plan.queue)
    }

    fn fill(&mut self) {
        while self.next_number < self.plan.messages && self.lane.has_room() {
            let left = self.plan.messages - self.next_number;
            let count = self
                .draw
                .between(1, self.world.plan.batch_messages_max)
                .min(left);
            let (id, _) = self.lane.push(count as u32);
            let numbers = self.next_number..self.next_number + count;
            self.next_number = numbers.end;
            let patience = match self.draw.one_in(10) {
                true => self.draw.millis(50, 1_000),
                false => Duration::MAX,
            };
            let begun = self.world.runtime.now();
            let batch = Batch {
                numbers,
                begun,
                patience,
            };
            self.batches.insert(id, batch);
        }
        let mut oracle = self.world.oracle.borrow_mut();
        let durable = self.plan.acks == Acks::Durable;
        oracle.submitted(self.queue(), self.plan.id, self.next_number, durable);
    }

    async fn send_all(&mut self) {
        while let Some(id) = self.lane.next_to_send() {
            if let Err(failure) = self.connect().await {
                // Nothing was sent: the batch is not in doubt.
                self.note(&failure);
                self.answered(id, Answer::Refused);
                return;
            }
            self.send(id).await;
        }
    }

    async fn connect(&mut self) -> Result<(), Failure> {
        if self.connection.is_some() {
            return Ok(());
        }
        let route = self.routes.find().await?;
        let Some(route) = route.filter(|route| route.incarnation == self.plan.incarnation) else {
            return Err(refused(ErrorCode::TopicNotFound));
        };
        let address = route.address_of(self.plan.queue).ok_or(Failure::Lost)?;
        let name = format!("producer-{}-{}", self.plan.id, self.plan.queue);
        let runtime = &self.world.runtime;
        let opened = Connection::open(&self.world, runtime, address, &name).await?;
        self.connection = Some(opened);
        Ok(())
    }

    async fn send(&mut self, id: BatchId) {
        let (Some(stamp), Some(batch)) = (self.lane.stamp(id), self.batches.get(&id)) else {
            unreachable!("the lane names batches that are open");
        };
        let bytes = encode(&self.world, &self.plan, batch, stamp.epoch, stamp.sequence);
        let request = ProduceRequestT {
            topic: self.plan.topic.clone(),
            queue: self.plan.queue,
            acks: self.plan.acks,
            incarnation: self.plan.incarnation,
        };
        self.lane.sent(id);
        let connection = self.connection.as_mut().expect("connected a moment ago");
        let sent = connection
            .send(&bytes, |id| {
                native::encode(Kind::Produce, 0, id, bytes.len(), |b| request.pack(b))
            })
            .await;
        match sent {
            Ok(correlation_id) => {
                self.asked.insert(correlation_id, id);
            }
            Err(_) => {
                self.answered(id, Answer::Lost);
                self.lose_connection();
            }
        }
    }

    /// Waits for answers until enough of them are there to go on.
    async fn take_answers(&mut self) {
        while !self.asked.is_empty() {
            let connection = self.connection.as_mut().expect("asked by it");
            let answer = self.world.within(PATIENCE, connection.receive()).await;
            match answer {
                Some(Ok(frame)) => self.take(frame),
                Some(Err(_)) | None => self.lose_connection(),
            }
            if self.lane.has_room() && self.draw.coin() {
                return;
            }
        }
    }

    fn take(&mut self, frame: Frame) {
        let id = self.asked.remove(&frame.prefix.correlation_id);
        let id = id.expect("an answer to a question");
        match frame.accepted() {
            Ok(frame) => {
                let response = native::header::<ProduceResponse>(&frame.header);
                let response = response.expect("a broker sends tables").unpack();
                self.backoff = Duration::ZERO;
                self.gone = 0;
                let numbers = self.batches[&id].numbers.clone();
                let mut oracle = self.world.oracle.borrow_mut();
                oracle.duplicates += u64::from(response.duplicate);
                for (index, number) in numbers.enumerate() {
                    let message = Message {
                        producer: self.plan.id,
                        number,
                    };
                    let offset = response.base_offset + index as u64;
                    if self.plan.acks == Acks::Durable {
                        oracle.acknowledged(self.queue(), offset, message);
                    }
                }
                drop(oracle);
                self.answered(id, Answer::Stored);
            }
            Err(failure) => {
                self.note(&failure);
                // Stored, but the shard forgot where.
                let forgotten = failure.code() == Some(ErrorCode::DuplicateForgotten);
                let answer = if forgotten {
                    Answer::Stored
                } else {
                    classify(&failure)
                };
                self.answered(id, answer);
            }
        }
    }

    fn note(&mut self, failure: &Failure) {
        self.world.tell(|| {
            let plan = &self.plan;
            format!(
                "producer {} of {}/{}: {failure}",
                plan.id, plan.topic, plan.queue
            )
        });
        match failure.code() {
            Some(ErrorCode::TopicNotFound | ErrorCode::StaleIncarnation) => {
                // Name servers forget, and deletions reach them late: only what was to be deleted counts.
                if self
                    .world
                    .oracle
                    .borrow()
                    .may_be_deleted(self.plan.incarnation)
                {
                    self.gone += 1;
                }
                self.connection = None;
                self.lose_connection();
            }
            Some(ErrorCode::WrongShard | ErrorCode::QueueNotFound) => self.lose_connection(),
            _ => {}
        }
    }

    fn lose_connection(&mut self) {
        self.connection = None;
        for (_, id) in std::mem::take(&mut self.asked) {
            self.answered(id, Answer::Lost);
        }
    }

    fn answered(&mut self, id: BatchId, answer: Answer) {
        let effects = self.lane.answered(id, answer);
        self.perform(effects);
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Settle(id, verdict) => self.settle(id, verdict),
                Effect::BackOff => {
                    self.backoff = (self.backoff * 2)
                        .clamp(Duration::from_millis(20), Duration::from_millis(1_000));
                }
                // Batches are encoded anew for each attempt.
                Effect::Restamp => {}
            }
        }
    }

    fn settle(&mut self, id: BatchId, verdict: Verdict) {
        let Some(batch) = self.batches.remove(&id) else {
            return;
        };
        let outcome = match verdict {
            Verdict::Stored => Outcome::Stored,
            Verdict::NotStored => Outcome::NotStored,
            Verdict::Maybe => Outcome::Maybe,
        };
        self.world.tell(|| {
            let plan = &self.plan;
            let (topic, queue, numbers) = (&plan.topic, plan.queue, &batch.numbers);
            format!(
                "producer {} of {topic}/{queue}: {numbers:?} {verdict:?}",
                plan.id
            )
        });
        let mut oracle = self.world.oracle.borrow_mut();
        for number in batch.numbers {
            oracle.settled(self.queue(), self.plan.id, number, outcome);
        }
    }

    /// Impatient batches leave, which makes holes in the sequence.
    fn give_up_late(&mut self) {
        if self.world.is_settling() {
            return;
        }
        let now = self.world.runtime.now();
        let late = |batch: &Batch| now.saturating_sub(batch.begun) > batch.patience;
        let late: Vec<BatchId> = self
            .batches
            .iter()
            .filter(|(_, batch)| late(batch))
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            let effects = self.lane.give_up(id);
            self.perform(effects);
        }
    }
}

fn refused(code: ErrorCode) -> Failure {
    Failure::Refused {
        code,
        message: "as the name server says".to_owned(),
        epoch: 0,
        next_offset: 0,
    }
}

/// As the client library judges failures.
fn classify(failure: &Failure) -> Answer {
    let Failure::Refused { code, epoch, .. } = failure else {
        return Answer::Lost;
    };
    match code {
        ErrorCode::OutOfOrderSequence => Answer::Gap,
        ErrorCode::UnknownProducer => Answer::Unknown,
        ErrorCode::StaleEpoch => Answer::Stale { epoch: *epoch },
        ErrorCode::TimedOut | ErrorCode::LogFailed => Answer::Lost,
        ErrorCode::StaleIncarnation | ErrorCode::TopicNotFound | ErrorCode::QueueNotFound => {
            Answer::Refused
        }
        code if code.is_retryable() || *code == ErrorCode::ReadOnly => Answer::Refused,
        code => panic!("a valid batch is refused: {code:?}"),
    }
}

fn encode(world: &World, plan: &ProducerPlan, batch: &Batch, epoch: u32, sequence: u32) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    for number in batch.numbers.clone() {
        let message = Message {
            producer: plan.id,
            number,
        };
        let body = message.body(world.plan.seed, world.plan.body_bytes_max);
        let key = format!("k{}", number % 7);
        let record = Record {
            born_time_ms: 1,
            keys: &[&key],
            tag: "",
            properties: &[],
            envelope: None,
            body: &body,
        };
        builder.push(&record).expect("carryable");
    }
    let options = BatchOptions {
        // Lanes of one producer have sequences of their own by queue.
        producer_id: plan.id,
        producer_epoch: epoch,
        base_sequence: sequence,
        ..BatchOptions::default()
    };
    builder.finish(&options).expect("small")
}
