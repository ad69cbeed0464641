//! A simulated consumer of RocketMQ's: the only member of its group, with a connection to each shard; beats, pulls,
//! commits with requests of their own and with pulls.

use super::{Connection, Lost, queues_at};
use crate::sim::draw::Draw;
use crate::sim::message::Message;
use crate::sim::oracle::{Incarnation, QueueId, TopicFact};
use crate::sim::world::World;
use ringmq_storage_engine::runtime::Runtime;
use ringmq_wire::remoting::body;
use ringmq_wire::remoting::body::heartbeat::{ConsumerData, Heartbeat, Subscription};
use ringmq_wire::remoting::fields::pull_flag;
use ringmq_wire::remoting::message::StoredMessages;
use ringmq_wire::remoting::{Command, Serialization, request_code, response_code};
use std::rc::Rc;
use std::time::Duration;

const BEAT_EVERY: Duration = Duration::from_secs(1);

/// The group that reads a topic by this protocol.
pub fn group_of(topic: &str) -> String {
    format!("r-{topic}")
}

/// One shard of a consumer.
struct Consumer {
    world: Rc<World>,
    topic: TopicFact,
    incarnation: Incarnation,
    /// Among the shards of the topic.
    place: usize,
    group: String,
    draw: Draw,
}

/// A queue and how far it is read.
struct Reading {
    /// Its number on the shard.
    local: usize,
    id: QueueId,
    next: u64,
    /// As far as a request of its own has committed.
    committed: u64,
}

/// Reads the topic's queues on one of its shards until the run is over.
pub async fn run(
    world: Rc<World>,
    topic: TopicFact,
    incarnation: Incarnation,
    place: usize,
    draw: Draw,
) {
    let mut consumer = Consumer {
        group: group_of(&topic.name),
        world: Rc::clone(&world),
        topic,
        incarnation,
        place,
        draw,
    };
    while !world.is_over() {
        if consumer.connected().await.is_err() {
            let wait = consumer.draw.millis(20, 300);
            world.runtime.sleep(wait).await;
        }
    }
}

impl Consumer {
    /// The life of one connection.
    async fn connected(&mut self) -> Result<(), Lost> {
        let shard = &self.topic.placement[self.place];
        let address = &self.world.plan.addresses()[shard];
        let serialization = match self.draw.coin() {
            true => Serialization::Json,
            false => Serialization::Binary,
        };
        let mut connection = Connection::open(&self.world, address, serialization).await?;
        let mut beaten = self.beat(&mut connection).await?;
        let mut readings = Vec::new();
        for (local, queue) in queues_at(&self.topic, self.place).into_iter().enumerate() {
            let id = (self.incarnation, queue);
            readings.push(self.place(&mut connection, local, id).await?);
        }
        while !self.world.is_over() {
            if self.world.runtime.now() - beaten >= BEAT_EVERY {
                beaten = self.beat(&mut connection).await?;
            }
            let mut got = false;
            for reading in &mut readings {
                got |= self.pull(&mut connection, reading).await?;
            }
            if !got {
                let wait = self.draw.millis(1, 40);
                self.world.runtime.sleep(wait).await;
            }
            if self.draw.one_in(200) {
                // Leaves without a word, and comes back.
                return Err(Lost);
            }
        }
        Ok(())
    }

    /// Says who it is until the shard takes it; gives the time.
    async fn beat(&mut self, connection: &mut Connection) -> Result<Duration, Lost> {
        let subscription = Subscription {
            topic: self.topic.name.clone(),
            version: 1,
            ..Subscription::default()
        };
        let heartbeat = Heartbeat {
            client_id: format!("{}@{}", self.group, self.place),
            consumers: vec![ConsumerData {
                group: self.group.clone(),
                subscriptions: vec![subscription],
                ..ConsumerData::default()
            }],
            ..Heartbeat::default()
        };
        let said = body::encode(&heartbeat);
        while !self.world.is_over() {
            let command = Command::request(request_code::HEART_BEAT, 0);
            let (answer, _) = connection.call(command, &said).await?;
            if answer.code == response_code::SUCCESS {
                break;
            }
            self.tell(&answer);
            let wait = self.draw.millis(20, 300);
            self.world.runtime.sleep(wait).await;
        }
        Ok(self.world.runtime.now())
    }

    /// Asks where the group is in a queue.
    async fn place(
        &mut self,
        connection: &mut Connection,
        local: usize,
        id: QueueId,
    ) -> Result<Reading, Lost> {
        let asked = self.world.oracle.borrow_mut().place_asked(&self.group, id);
        loop {
            let command = Command::request(request_code::QUERY_CONSUMER_OFFSET, 0)
                .field("consumerGroup", &self.group)
                .field("topic", &self.topic.name)
                .field("queueId", local);
            let (answer, _) = connection.call(command, &[]).await?;
            let committed = match answer.code {
                response_code::SUCCESS => {
                    let offset: i64 = answer.required("offset").expect("an offset");
                    Some(u64::try_from(offset).expect("an offset"))
                }
                response_code::QUERY_NOT_FOUND => None,
                _ if self.world.is_over() => return Err(Lost),
                _ => {
                    self.tell(&answer);
                    let wait = self.draw.millis(20, 300);
                    self.world.runtime.sleep(wait).await;
                    continue;
                }
            };
            let mut oracle = self.world.oracle.borrow_mut();
            oracle.placed(&self.group, id, asked, committed);
            let next = committed.unwrap_or_default();
            return Ok(Reading {
                local,
                id,
                next,
                committed: next,
            });
        }
    }

    /// True: there was something, or may be at once.
    async fn pull(
        &mut self,
        connection: &mut Connection,
        reading: &mut Reading,
    ) -> Result<bool, Lost> {
        let mut flags = 0;
        for flag in [
            pull_flag::COMMIT,
            pull_flag::SUSPEND,
            pull_flag::SUBSCRIPTION,
        ] {
            flags |= if self.draw.one_in(3) { flag } else { 0 };
        }
        let most = self.draw.between(1, 32);
        let suspend_ms = self.draw.below(400);
        let command = Command::request(request_code::PULL_MESSAGE, 0)
            .field("consumerGroup", &self.group)
            .field("topic", &self.topic.name)
            .field("queueId", reading.local)
            .field("queueOffset", reading.next)
            .field("maxMsgNums", most)
            .field("sysFlag", flags)
            .field("commitOffset", reading.next)
            .field("suspendTimeoutMillis", suspend_ms)
            .field("subscription", "*")
            .field("subVersion", 1);
        let answered = connection.call(command, &[]).await;
        if answered.is_err() && flags & pull_flag::COMMIT != 0 {
            let mut oracle = self.world.oracle.borrow_mut();
            oracle.commit_unanswered(&self.group, reading.id, reading.next);
        }
        let (answer, bytes) = answered?;
        let next = || -> u64 {
            let next: i64 = answer.required("nextBeginOffset").expect("an offset");
            u64::try_from(next).expect("an offset")
        };
        match answer.code {
            response_code::SUCCESS => self.take(reading, &bytes, next()),
            response_code::PULL_NOT_FOUND | response_code::PULL_RETRY_IMMEDIATELY => {
                assert_eq!(next(), reading.next, "{answer:?}");
            }
            response_code::PULL_OFFSET_MOVED => {
                let moved = self.world.plan.retention && next() > reading.next;
                assert!(moved, "{:?} at {}: {answer:?}", reading.id, reading.next);
                reading.next = next();
            }
            _ => self.tell(&answer),
        }
        if reading.next > reading.committed && self.draw.one_in(2) {
            self.commit(connection, reading).await?;
        }
        Ok(answer.code == response_code::SUCCESS)
    }

    fn take(&self, reading: &mut Reading, bytes: &[u8], next: u64) {
        let plan = &self.world.plan;
        for message in StoredMessages::new(bytes) {
            let stored = message.expect("a broker sends messages");
            let offset = u64::try_from(stored.queue_offset).expect("an offset");
            let follows = offset == reading.next || (plan.retention && offset > reading.next);
            assert!(
                follows,
                "{offset} of {:?} after {}",
                reading.id, reading.next
            );
            assert_eq!(stored.topic, self.topic.name);
            let message = Message::parse(stored.body, plan.seed, plan.body_bytes_max);
            let message = message.unwrap_or_else(|| panic!("wrong bytes at {offset}"));
            let mut oracle = self.world.oracle.borrow_mut();
            oracle.seen(reading.id, offset, message);
            reading.next = offset + 1;
        }
        assert_eq!(reading.next, next);
    }

    async fn commit(
        &mut self,
        connection: &mut Connection,
        reading: &mut Reading,
    ) -> Result<(), Lost> {
        let (group, id, offset) = (&self.group, reading.id, reading.next);
        let asked = self.world.oracle.borrow_mut().commit_asked(group, id);
        let command = Command::request(request_code::UPDATE_CONSUMER_OFFSET, 0)
            .field("consumerGroup", group)
            .field("topic", &self.topic.name)
            .field("queueId", reading.local)
            .field("commitOffset", offset);
        let answered = connection.call(command, &[]).await;
        let mut oracle = self.world.oracle.borrow_mut();
        match &answered {
            Ok((answer, _)) if answer.code == response_code::SUCCESS => {
                oracle.committed(group, id, asked, 0, offset);
                reading.committed = offset;
            }
            _ => oracle.commit_unanswered(group, id, offset),
        }
        answered.map(|_| ())
    }

    fn tell(&self, answer: &Command) {
        self.world.tell(|| {
            format!(
                "{} is told {}: {:?}",
                self.group, answer.code, answer.remark
            )
        });
    }
}
