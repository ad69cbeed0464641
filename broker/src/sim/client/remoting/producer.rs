//! A simulated producer of RocketMQ's: each message is sent once and waited for; some are to be delivered later.

use super::{Connection, local_id};
use crate::sim::draw::Draw;
use crate::sim::message::Message;
use crate::sim::oracle::{Incarnation, Outcome, TopicFact};
use crate::sim::world::World;
use ringmq_storage_engine::runtime::Runtime;
use ringmq_wire::remoting::properties::{self, name};
use ringmq_wire::remoting::{Command, Serialization, request_code, response_code};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// Names given out by one producer.
const NAMES: u64 = 1 << 20;
/// Added to numbers of topics and producers, which stay far below: names of native producers are small.
const FIRST_NAME: u64 = 1 << 32;
/// Levels of 1, 5 and 10 seconds.
const LEVELS: [&str; 3] = ["1", "2", "3"];
/// Longer than any delay, once clocks stand still: what did not come by then was not stored, or retention was faster than
/// every reader.
const DELAYS_OVER: Duration = Duration::from_secs(20);

/// Who sends what where.
#[derive(Debug, Clone)]
pub struct ProducerPlan {
    pub topic: TopicFact,
    pub incarnation: Incarnation,
    /// Among the producers of the topic.
    pub number: u64,
    pub messages: u64,
}

struct Producer {
    world: Rc<World>,
    plan: ProducerPlan,
    draw: Draw,
    /// By shard; with the name under which it sends and its next numbers by queue. What got no answer may be stored
    /// behind what a later connection sends, so each has a name, and with it an order, of its own.
    connections: BTreeMap<String, (Connection, u64, BTreeMap<u32, u64>)>,
    names: u64,
    /// To be delivered later; whether that was acknowledged.
    delayed: Vec<(u32, Message, bool)>,
}

/// Sends everything of the plan, then waits for what is delivered later.
pub async fn run(world: Rc<World>, plan: ProducerPlan, draw: Draw) {
    world.busy_clients.set(world.busy_clients.get() + 1);
    let messages = plan.messages;
    let mut producer = Producer {
        world: Rc::clone(&world),
        plan,
        draw,
        connections: BTreeMap::new(),
        names: 0,
        delayed: Vec::new(),
    };
    for _ in 0..messages {
        if world.is_over() {
            break;
        }
        producer.send().await;
        let wait = producer.draw.millis(0, 60);
        world.runtime.sleep(wait).await;
    }
    producer.wait_for_delayed().await;
    world.busy_clients.set(world.busy_clients.get() - 1);
}

/// The name of so many messages of a producer of a topic, or of the topic's first message (number 99).
pub fn name_of(topic: u64, producer: u64, count: u64) -> u64 {
    FIRST_NAME + (topic * 100 + producer) * NAMES + count
}

/// A message to a queue by its number on the shard, to be delivered after a delay of that level, if any.
pub fn request(world: &World, topic: &str, local: u32, level: Option<&str>) -> Command {
    let delay = level.map(|level| (name::DELAY, level));
    let properties = [("KEYS", "key"), ("TAGS", "tag")].into_iter().chain(delay);
    Command::request(request_code::SEND_MESSAGE_V2, 0)
        .field("a", "producers")
        .field("b", topic)
        .field("c", "TBW102")
        .field("d", 4)
        .field("e", local)
        .field("f", 0)
        .field("g", world.runtime.wall_ms())
        .field("h", 0)
        .field("i", properties::encode(properties))
        .field("j", 0)
        .field("m", false)
}

impl Producer {
    fn new_name(&mut self) -> u64 {
        self.names += 1;
        name_of(self.plan.topic.number, self.plan.number, self.names)
    }

    async fn send(&mut self) {
        let queue = self.draw.below(u64::from(self.plan.topic.queues)) as u32;
        let shard = self.plan.topic.shard_of(queue).to_owned();
        let Some((mut connection, own_name, mut numbers)) = self.connection(&shard).await else {
            let wait = self.draw.millis(20, 300);
            return self.world.runtime.sleep(wait).await;
        };
        let level = self.draw.one_in(6).then(|| *self.draw.pick(&LEVELS));
        let message = match level {
            // Delivered in another order than sent.
            Some(_) => Message {
                producer: self.new_name(),
                number: 0,
            },
            None => {
                let next = numbers.entry(queue).or_default();
                *next += 1;
                Message {
                    producer: own_name,
                    number: *next - 1,
                }
            }
        };
        let id = (self.plan.incarnation, queue);
        let end = message.number + 1;
        let oracle = &self.world.oracle;
        oracle
            .borrow_mut()
            .submitted(id, message.producer, end, true);
        let plan = &self.world.plan;
        let body = message.body(plan.seed, plan.body_bytes_max);
        let local = local_id(&self.plan.topic, queue);
        let request = request(&self.world, &self.plan.topic.name, local, level);
        let answer = connection.call(request, &body).await;
        let stored = matches!(&answer, Ok((answer, _)) if answer.code == response_code::SUCCESS);
        self.world.tell(|| {
            format!(
                "{message} to {id:?}, level {level:?}: {:?}",
                answer.as_ref()
            )
        });
        let outcome = if stored {
            Outcome::Stored
        } else {
            Outcome::Maybe
        };
        let mut oracle = self.world.oracle.borrow_mut();
        oracle.settled(id, message.producer, message.number, outcome);
        if level.is_some() {
            self.delayed.push((queue, message, stored));
        }
        let Ok((answer, _)) = answer else { return };
        if stored && level.is_none() {
            let at: i64 = answer.required("queueOffset").expect("a place");
            let local: u32 = answer.required("queueId").expect("a queue");
            assert_eq!(local, local_id(&self.plan.topic, queue));
            oracle.acknowledged(id, u64::try_from(at).expect("a place"), message);
        }
        // A shard that came up on a bad disk may lack the topic where delayed messages wait.
        let known = answer.code != response_code::TOPIC_NOT_EXIST || level.is_some();
        assert!(known, "{} is there: {answer:?}", self.plan.topic.name);
        drop(oracle);
        let open = (connection, own_name, numbers);
        self.connections.insert(shard, open);
    }

    async fn connection(&mut self, shard: &str) -> Option<(Connection, u64, BTreeMap<u32, u64>)> {
        if let Some(open) = self.connections.remove(shard) {
            return Some(open);
        }
        let serialization = match self.draw.coin() {
            true => Serialization::Json,
            false => Serialization::Binary,
        };
        let address = &self.world.plan.addresses()[shard];
        let connection = Connection::open(&self.world, address, serialization).await;
        Some((connection.ok()?, self.new_name(), BTreeMap::new()))
    }

    /// Until somebody has got each of them. Those in doubt may never come.
    async fn wait_for_delayed(&mut self) {
        let mut over_at = None;
        while !self.world.is_over() {
            self.forget_delivered();
            let now = self.world.runtime.now();
            if self.world.is_settling() {
                over_at.get_or_insert(now + DELAYS_OVER);
            }
            let is_over = over_at.is_some_and(|over_at| now >= over_at);
            if self.delayed.is_empty() || (is_over && !self.delayed.iter().any(self.must_come())) {
                return;
            }
            self.world.runtime.sleep(Duration::from_millis(100)).await;
        }
    }

    fn forget_delivered(&mut self) {
        let oracle = self.world.oracle.borrow();
        let incarnation = self.plan.incarnation;
        self.delayed
            .retain(|(queue, message, _)| !oracle.is_known((incarnation, *queue), *message));
    }

    /// Retention may pass a message before anybody reads it.
    fn must_come(&self) -> impl Fn(&(u32, Message, bool)) -> bool + use<> {
        let retention = self.world.plan.retention;
        move |(_, _, stored)| *stored && !retention
    }
}
