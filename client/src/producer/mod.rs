//! Sending messages.
//!
//! `enqueue` chooses a queue and puts the message in that queue's line; one task a queue ([`lane_task`]) turns the line
//! into batches and sends them in order ([`lane`] has the rules). Memory is bounded over all lines together.

mod builder;
mod encode;
mod lane;
mod lane_task;
#[cfg(test)]
mod lane_tests;
mod outcome;
mod partition;
mod queue;
mod settings;

pub use builder::ProducerBuilder;
pub use outcome::{Delivery, Receipt, SendError};
pub use settings::{Acks, Compression};

use crate::{
    core::{Core, deadline_passed},
    error::Error,
    message::Message,
    route::Route,
};
use lane_task::LaneTask;
use partition::Partition;
use queue::{Accounting, LaneQueue, Pending};
use ringmq_wire::limits::is_valid_name;
use settings::Settings;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Instant,
};

/// Sends messages. Clones are cheap and share everything; per queue, order is that of `enqueue`.
///
/// When the last clone is dropped, what was accepted is still sent in the background as long as the runtime lives; use
/// [`close`](Self::close) to wait for it.
///
/// ```no_run
/// # async fn example(client: ringmq::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use ringmq::Message;
///
/// let producer = client.producer().build();
/// let receipt = producer.send(Message::new("orders", "hello").key("order-17")).await?;
/// println!("stored at {:?} of queue {}", receipt.offset, receipt.queue);
///
/// // Many at a time: wait only for room, and for the outcomes later.
/// let mut deliveries = Vec::new();
/// for n in 0..1000 {
///     deliveries.push(producer.enqueue(Message::new("orders", format!("message {n}"))).await?);
/// }
/// for delivery in deliveries {
///     delivery.await?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Producer {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    core: Arc<Core>,
    settings: Arc<Settings>,
    accounting: Arc<Accounting>,
    producer_id: u64,
    topics: Mutex<Topics>,
}

#[derive(Debug, Default)]
struct Topics {
    closed: bool,
    by_name: HashMap<Arc<str>, TopicLanes>,
}

/// The lanes of one topic.
#[derive(Debug)]
struct TopicLanes {
    route: Arc<Route>,
    /// The routes' version at which `route` was looked up.
    routes_version: u64,
    partition: Partition,
    lanes: HashMap<u32, Arc<LaneQueue>>,
}

impl Producer {
    fn start(core: Arc<Core>, settings: Settings) -> Self {
        let accounting = Arc::new(Accounting::new(settings.memory_bytes));
        let producer_id = rand::random_range(1..=u64::MAX);
        let settings = Arc::new(settings);
        let topics = Mutex::default();
        Self {
            inner: Arc::new(Inner {
                core,
                settings,
                accounting,
                producer_id,
                topics,
            }),
        }
    }

    /// Sends a message and waits until it is stored.
    pub async fn send(&self, message: Message) -> Result<Receipt, SendError> {
        self.enqueue(message).await?.await
    }

    /// Hands a message over; waits only for room (and, for the first message to a topic, for its route). Once this
    /// returned, the message is sent even if the [`Delivery`] is dropped.
    pub async fn enqueue(&self, message: Message) -> Result<Delivery, SendError> {
        let started = Instant::now();
        let inner = &*self.inner;
        let deadline = started + message.deadline.unwrap_or(inner.settings.delivery_timeout);
        let reserving = inner.accounting.reserve(&message);
        let Ok(reservation) = tokio::time::timeout_at(deadline.into(), reserving).await else {
            let topic = &message.topic;
            let error = deadline_passed("wait for room for message to", topic, started, None);
            return Err(SendError::new(message, error, false));
        };
        let (outcome, delivery) = Delivery::new();
        let pending = Pending {
            message,
            outcome,
            accepted: started,
            deadline,
            reservation,
        };
        inner.accept(pending).await?;
        Ok(delivery)
    }

    /// Waits until every message enqueued before this call has its outcome. Fails if a message failed since the last
    /// flush and its `Delivery` had been dropped, so that nobody else has learned of it.
    pub async fn flush(&self) -> Result<(), Error> {
        let lanes = self.inner.lanes();
        let waiting: Vec<_> = lanes.iter().map(|lane| (lane, lane.flush())).collect();
        for (lane, through) in waiting {
            let mut settled = lane.settled.subscribe();
            // The sender lives in the lane.
            let _ = settled.wait_for(|settled| *settled >= through).await;
        }
        self.inner
            .accounting
            .take_unwatched_failure()
            .map_or(Ok(()), Err)
    }

    /// Refuses further messages and waits for the outcome of those accepted. Concerns all clones.
    pub async fn close(&self) -> Result<(), Error> {
        self.inner.close();
        self.flush().await
    }
}

impl Inner {
    /// Puts a message into its lane, looking up the route if need be.
    async fn accept(&self, mut pending: Pending) -> Result<(), SendError> {
        loop {
            pending = match self.put(pending) {
                Placed::Done => return Ok(()),
                Placed::Failed(pending, error) => {
                    return Err(SendError::new(pending.message, error, false));
                }
                Placed::NoRoute(pending) => pending,
            };
            let topic = &pending.message.topic;
            let looked_up = if self.settings.create_topics {
                self.core.route_or_create(topic, pending.deadline).await
            } else {
                self.core.route(topic, pending.deadline).await
            };
            if let Err(error) = looked_up {
                let error = error.during("send message to", topic);
                return Err(SendError::new(pending.message, error, false));
            }
        }
    }

    /// Puts a message into its lane, if the route is known.
    fn put(&self, pending: Pending) -> Placed {
        let message = &pending.message;
        if !is_valid_name(&message.topic) {
            let error = Error::invalid("send message to", &message.topic, "not a valid topic name");
            return Placed::Failed(pending, error);
        }
        let mut topics = self.topics.lock().expect("no holder panics");
        if topics.closed {
            let error = Error::closed("send message to", &message.topic);
            return Placed::Failed(pending, error);
        }
        let Some(lanes) = self.topic_lanes(&mut topics, &message.topic) else {
            return Placed::NoRoute(pending);
        };
        let key = message.keys.first().map(String::as_str);
        let queue = match lanes.partition.choose(message.queue, key) {
            Ok(queue) => queue,
            Err(why) => {
                let error = Error::invalid("send message to", &message.topic, why);
                return Placed::Failed(pending, error);
            }
        };
        let lane = match lanes.lanes.get(&queue) {
            Some(lane) => lane,
            None => {
                let lane = self.start_lane(&lanes.route, queue);
                lanes.lanes.entry(queue).or_insert(lane)
            }
        };
        lane.push(pending, self.settings.batch_bytes);
        Placed::Done
    }

    /// The lanes of a topic with a known route, the route brought up to date.
    fn topic_lanes<'a>(&self, topics: &'a mut Topics, topic: &str) -> Option<&'a mut TopicLanes> {
        let version = self.core.routes.version();
        let current = topics
            .by_name
            .get(topic)
            .is_some_and(|l| l.routes_version == version);
        if !current {
            match (
                self.core.routes.cached(topic),
                topics.by_name.get_mut(topic),
            ) {
                (Some(route), Some(lanes)) => {
                    if lanes.route != route {
                        lanes.partition.update(&route);
                        lanes.route = route;
                    }
                    lanes.routes_version = version;
                }
                (Some(route), None) => {
                    let lanes = TopicLanes {
                        partition: Partition::new(&route),
                        route: Arc::clone(&route),
                        routes_version: version,
                        lanes: HashMap::new(),
                    };
                    topics.by_name.insert(Arc::clone(&route.topic), lanes);
                }
                (None, _) => return None,
            }
        }
        topics.by_name.get_mut(topic)
    }

    fn start_lane(&self, route: &Arc<Route>, queue: u32) -> Arc<LaneQueue> {
        let line = Arc::new(LaneQueue::new(Arc::clone(&route.topic), queue));
        let task = LaneTask::new(
            Arc::clone(&self.core),
            Arc::clone(&self.settings),
            Arc::clone(&line),
            self.producer_id,
            Arc::clone(route),
        );
        tokio::spawn(task.run());
        line
    }

    fn lanes(&self) -> Vec<Arc<LaneQueue>> {
        let topics = self.topics.lock().expect("no holder panics");
        topics
            .by_name
            .values()
            .flat_map(|topic| topic.lanes.values().cloned())
            .collect()
    }

    fn close(&self) {
        self.topics.lock().expect("no holder panics").closed = true;
        self.lanes().iter().for_each(|lane| lane.close());
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

/// What became of putting a message into its lane.
enum Placed {
    Done,
    NoRoute(Pending),
    Failed(Pending, Error),
}
