//! A simulated consumer of RocketMQ's: a member of a group, with a connection to each shard of its topic. Beats, asks a
//! shard of its choice who else is in the group, reads its share of the queues, commits with requests of their own and
//! with pulls. What it reads twice, or commits backwards, because the members disagree for a moment, is right.

mod locks;

use super::{Connection, Lost, local_id, share};
use crate::sim::draw::Draw;
use crate::sim::message::Message;
use crate::sim::oracle::{Incarnation, QueueId, TopicFact};
use crate::sim::world::World;
use ringmq_storage_engine::runtime::Runtime;
use ringmq_wire::remoting::body;
use ringmq_wire::remoting::body::groups::ConsumerIds;
use ringmq_wire::remoting::body::heartbeat::{ConsumerData, Heartbeat, Subscription};
use ringmq_wire::remoting::fields::pull_flag;
use ringmq_wire::remoting::message::StoredMessages;
use ringmq_wire::remoting::{Command, Serialization, request_code, response_code};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

const BEAT_EVERY: Duration = Duration::from_secs(1);

/// The group that reads a topic by this protocol.
pub fn group_of(topic: &str) -> String {
    format!("r-{topic}")
}

/// Who reads what.
#[derive(Debug, Clone)]
pub struct ConsumerPlan {
    pub topic: TopicFact,
    pub incarnation: Incarnation,
    /// Among the members of the group.
    pub number: u64,
}

struct Consumer {
    world: Rc<World>,
    topic: TopicFact,
    incarnation: Incarnation,
    group: String,
    /// What the group knows it by.
    id: String,
    draw: Draw,
    /// Some of its commits want no answer.
    is_terse: bool,
    /// By shard.
    links: BTreeMap<String, Link>,
    /// By queue.
    readings: BTreeMap<u32, Reading>,
    /// When to ask for the members again.
    look_at: Duration,
}

/// A shard of the topic.
#[derive(Default)]
struct Link {
    connection: Option<Connection>,
    /// When to connect, or to beat, again.
    due: Duration,
}

/// How far a queue is read.
#[derive(Clone, Copy)]
struct Reading {
    next: u64,
    /// As far as a request of its own has committed.
    committed: u64,
}

/// Reads until the run is over.
pub async fn run(world: Rc<World>, plan: ConsumerPlan, mut draw: Draw) {
    let group = group_of(&plan.topic.name);
    let shards = plan.topic.placement.iter().cloned();
    let mut consumer = Consumer {
        id: format!("{group}@{}", plan.number),
        group,
        links: shards.map(|shard| (shard, Link::default())).collect(),
        world: Rc::clone(&world),
        topic: plan.topic,
        incarnation: plan.incarnation,
        is_terse: draw.one_in(4),
        draw,
        readings: BTreeMap::new(),
        look_at: Duration::ZERO,
    };
    while !world.is_over() {
        consumer.round().await;
    }
}

impl Consumer {
    async fn round(&mut self) {
        let shards: Vec<String> = self.links.keys().cloned().collect();
        for shard in &shards {
            // Whoever is lost is tried again.
            let _ = self.stay_with(shard).await;
        }
        if self.world.runtime.now() >= self.look_at {
            let _ = self.rebalance().await;
        }
        let queues: Vec<u32> = self.readings.keys().copied().collect();
        let mut got = false;
        for queue in queues {
            got |= self.pull(queue).await.unwrap_or(false);
        }
        if !got {
            let wait = self.draw.millis(1, 40);
            self.world.runtime.sleep(wait).await;
        }
        if self.draw.one_in(20) {
            let shard = self.draw.pick(&shards).clone();
            let _ = self.lock_or_unlock(&shard).await;
        }
        if self.draw.one_in(200) && !self.world.is_settling() {
            // Leaves, perhaps without a word, and comes back.
            if self.draw.coin() {
                self.say_farewell(&shards).await;
            }
            shards.iter().for_each(|shard| self.lose(shard));
            let wait = self.draw.millis(1, 2_000);
            self.world.runtime.sleep(wait).await;
        }
    }

    fn id_of(&self, queue: u32) -> QueueId {
        (self.incarnation, queue)
    }

    /// One request to a shard and its answer.
    async fn call(
        &mut self,
        shard: &str,
        command: Command,
        body: &[u8],
    ) -> Result<(Command, Vec<u8>), Lost> {
        let link = self.links.get_mut(shard).expect("a shard of the topic");
        let connection = link.connection.as_mut().ok_or(Lost)?;
        let answered = connection.call(command, body).await;
        if connection.take_notice() {
            self.look_at = Duration::ZERO;
        }
        if answered.is_err() {
            self.lose(shard);
        }
        answered
    }

    /// One request to a shard that is not to be answered.
    async fn say(&mut self, shard: &str, command: Command) -> Result<(), Lost> {
        let link = self.links.get_mut(shard).expect("a shard of the topic");
        let connection = link.connection.as_mut().ok_or(Lost)?;
        let said = connection.say(command).await;
        if said.is_err() {
            self.lose(shard);
        }
        said
    }

    /// The connection is given up; where the group is in its queues is asked for anew.
    fn lose(&mut self, shard: &str) {
        let due = self.world.runtime.now() + self.draw.millis(20, 300);
        let link = self.links.get_mut(shard).expect("a shard of the topic");
        (link.connection, link.due) = (None, due);
        let queues: Vec<u32> = self.readings.keys().copied().collect();
        for queue in queues {
            if self.topic.shard_of(queue) == shard {
                self.let_go(queue);
            }
        }
        self.look_at = self.look_at.min(due);
    }

    /// Connects, and says who it is now and then.
    async fn stay_with(&mut self, shard: &str) -> Result<(), Lost> {
        let now = self.world.runtime.now();
        let link = self.links.get_mut(shard).expect("a shard of the topic");
        if now < link.due {
            return Ok(());
        }
        if link.connection.is_none() {
            let serialization = match self.draw.coin() {
                true => Serialization::Json,
                false => Serialization::Binary,
            };
            let address = &self.world.plan.addresses()[shard];
            match Connection::open(&self.world, address, serialization).await {
                Ok(connection) => link.connection = Some(connection),
                Err(lost) => {
                    self.lose(shard);
                    return Err(lost);
                }
            }
            self.look_at = Duration::ZERO;
        }
        let said = body::encode(&self.heartbeat());
        let command = Command::request(request_code::HEART_BEAT, 0);
        let (answer, _) = self.call(shard, command, &said).await?;
        let until_next = match answer.code {
            response_code::SUCCESS => BEAT_EVERY,
            _ => {
                self.tell(&answer);
                self.draw.millis(20, 300)
            }
        };
        let due = self.world.runtime.now() + until_next;
        self.links.get_mut(shard).expect("just used").due = due;
        Ok(())
    }

    async fn say_farewell(&mut self, shards: &[String]) {
        for shard in shards {
            let command = Command::request(request_code::UNREGISTER_CLIENT, 0)
                .field("clientID", &self.id)
                .field("consumerGroup", &self.group);
            if let Ok((answer, _)) = self.call(shard, command, &[]).await {
                self.tell(&answer);
            }
        }
    }

    fn heartbeat(&self) -> Heartbeat {
        let subscription = Subscription {
            topic: self.topic.name.clone(),
            version: 1,
            ..Subscription::default()
        };
        Heartbeat {
            client_id: self.id.clone(),
            consumers: vec![ConsumerData {
                group: self.group.clone(),
                subscriptions: vec![subscription],
                ..ConsumerData::default()
            }],
            ..Heartbeat::default()
        }
    }

    /// Asks who else is in the group, and takes and leaves queues by that.
    async fn rebalance(&mut self) -> Result<(), Lost> {
        self.look_at = self.world.runtime.now() + self.draw.millis(300, 2_000);
        let links = self.links.iter();
        let connected: Vec<String> = links
            .filter(|(_, link)| link.connection.is_some())
            .map(|(shard, _)| shard.clone())
            .collect();
        if connected.is_empty() {
            return Err(Lost);
        }
        let shard = self.draw.pick(&connected).clone();
        let command = Command::request(request_code::GET_CONSUMER_LIST_BY_GROUP, 0)
            .field("consumerGroup", &self.group);
        let (answer, body) = self.call(&shard, command, &[]).await?;
        if answer.code != response_code::SUCCESS {
            self.tell(&answer);
            return Ok(());
        }
        let said: ConsumerIds = body::decode(&body).expect("a broker sends lists");
        let mut members = said.ids;
        let count = members.len();
        members.sort_unstable();
        members.dedup();
        assert_eq!(members.len(), count, "a member twice: {members:?}");
        // A node that came up a moment ago may not have heard of it.
        let Some(index) = members.iter().position(|member| *member == self.id) else {
            return Ok(());
        };
        let mine = share::of(self.topic.queues, count, index);
        self.world
            .tell(|| format!("{} has {mine:?} of {members:?}, says {shard}", self.id));
        let leaving: Vec<u32> = self.readings.keys().copied().collect();
        for queue in leaving.into_iter().filter(|queue| !mine.contains(queue)) {
            let _ = self.commit(queue).await;
            self.let_go(queue);
        }
        for queue in mine {
            if !self.readings.contains_key(&queue) && self.take_on(queue).await != Ok(true) {
                self.look_at = self.world.runtime.now() + self.draw.millis(20, 300);
            }
        }
        Ok(())
    }

    fn let_go(&mut self, queue: u32) {
        self.readings.remove(&queue);
        let id = self.id_of(queue);
        let mut oracle = self.world.oracle.borrow_mut();
        oracle.reads(&self.group, id, &self.id, false);
    }

    /// Asks where the group is in a queue, to go on from there; false: not now.
    async fn take_on(&mut self, queue: u32) -> Result<bool, Lost> {
        let (group, id) = (self.group.clone(), self.id_of(queue));
        let question = self.world.oracle.borrow_mut().shared(&group, id).asked();
        let command = Command::request(request_code::QUERY_CONSUMER_OFFSET, 0)
            .field("consumerGroup", &group)
            .field("topic", &self.topic.name)
            .field("queueId", local_id(&self.topic, queue));
        let shard = self.topic.shard_of(queue).to_owned();
        let answered = self.call(&shard, command, &[]).await;
        let committed = match &answered {
            Ok((answer, _)) if answer.code == response_code::SUCCESS => {
                let offset: i64 = answer.required("offset").expect("an offset");
                Some(Some(u64::try_from(offset).expect("an offset")))
            }
            Ok((answer, _)) if answer.code == response_code::QUERY_NOT_FOUND => Some(None),
            _ => None,
        };
        let mut oracle = self.world.oracle.borrow_mut();
        let Some(committed) = committed else {
            oracle.shared(&group, id).answered(question);
            let (answer, _) = answered?;
            self.tell(&answer);
            return Ok(false);
        };
        oracle.shared_placed(&group, id, question, committed);
        oracle.reads(&group, id, &self.id, true);
        let next = committed.unwrap_or_default();
        let reading = Reading {
            next,
            committed: next,
        };
        self.readings.insert(queue, reading);
        Ok(true)
    }

    /// True: there was something, or may be at once.
    async fn pull(&mut self, queue: u32) -> Result<bool, Lost> {
        let Some(reading) = self.readings.get(&queue).copied() else {
            return Ok(false);
        };
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
            .field("queueId", local_id(&self.topic, queue))
            .field("queueOffset", reading.next)
            .field("maxMsgNums", most)
            .field("sysFlag", flags)
            .field("commitOffset", reading.next)
            .field("suspendTimeoutMillis", suspend_ms)
            .field("subscription", "*")
            .field("subVersion", 1);
        let (group, id) = (self.group.clone(), self.id_of(queue));
        let commit = (flags & pull_flag::COMMIT != 0).then(|| {
            let mut oracle = self.world.oracle.borrow_mut();
            oracle.shared(&group, id).commit_asked(reading.next)
        });
        let shard = self.topic.shard_of(queue).to_owned();
        let answered = self.call(&shard, command, &[]).await;
        if let Some(commit) = commit {
            let mut oracle = self.world.oracle.borrow_mut();
            match &answered {
                Ok(_) => oracle.shared(&group, id).taken(commit),
                Err(_) => oracle.shared(&group, id).unanswered(commit),
            }
        }
        let (answer, bytes) = answered?;
        let next = self.take(queue, reading.next, &answer, &bytes);
        if let Some(reading) = self.readings.get_mut(&queue) {
            reading.next = next;
        }
        // Another member may have gone back meanwhile.
        let again = self.draw.one_in(16);
        if again || (next > reading.committed && self.draw.coin()) {
            self.commit(queue).await?;
        }
        Ok(answer.code == response_code::SUCCESS)
    }

    /// Where to go on after a pull from `from`.
    fn take(&self, queue: u32, from: u64, answer: &Command, bytes: &[u8]) -> u64 {
        let id = self.id_of(queue);
        let next = || -> u64 {
            let next: i64 = answer.required("nextBeginOffset").expect("an offset");
            u64::try_from(next).expect("an offset")
        };
        match answer.code {
            response_code::SUCCESS => {
                let behind = self.take_messages(id, from, bytes);
                assert_eq!(behind, next());
                behind
            }
            response_code::PULL_NOT_FOUND | response_code::PULL_RETRY_IMMEDIATELY => {
                assert_eq!(next(), from, "{answer:?}");
                from
            }
            response_code::PULL_OFFSET_MOVED => {
                let moved = self.world.plan.retention && next() > from;
                assert!(moved, "{id:?} at {from}: {answer:?}");
                next()
            }
            _ => {
                self.tell(answer);
                from
            }
        }
    }

    /// The offset behind them.
    fn take_messages(&self, id: QueueId, from: u64, bytes: &[u8]) -> u64 {
        let plan = &self.world.plan;
        let mut next = from;
        for message in StoredMessages::new(bytes) {
            let stored = message.expect("a broker sends messages");
            let offset = u64::try_from(stored.queue_offset).expect("an offset");
            let follows = offset == next || (plan.retention && offset > next);
            assert!(follows, "{offset} of {id:?} after {next}");
            assert_eq!(stored.topic, self.topic.name);
            let message = Message::parse(stored.body, plan.seed, plan.body_bytes_max);
            let message = message.unwrap_or_else(|| panic!("wrong bytes at {offset}"));
            self.world.oracle.borrow_mut().seen(id, offset, message);
            next = offset + 1;
        }
        next
    }

    async fn commit(&mut self, queue: u32) -> Result<(), Lost> {
        let Some(offset) = self.readings.get(&queue).map(|reading| reading.next) else {
            return Ok(());
        };
        let (group, id) = (self.group.clone(), self.id_of(queue));
        let commit = {
            let mut oracle = self.world.oracle.borrow_mut();
            oracle.shared(&group, id).commit_asked(offset)
        };
        let command = Command::request(request_code::UPDATE_CONSUMER_OFFSET, 0)
            .field("consumerGroup", &group)
            .field("topic", &self.topic.name)
            .field("queueId", local_id(&self.topic, queue))
            .field("commitOffset", offset);
        let shard = self.topic.shard_of(queue).to_owned();
        if self.is_terse && self.draw.one_in(4) {
            self.world
                .oracle
                .borrow_mut()
                .shared(&group, id)
                .unanswered(commit);
            return self.say(&shard, command).await;
        }
        let answered = self.call(&shard, command, &[]).await;
        let mut oracle = self.world.oracle.borrow_mut();
        match &answered {
            Ok((answer, _)) if answer.code == response_code::SUCCESS => {
                oracle.shared_committed(&group, id, commit);
                if let Some(reading) = self.readings.get_mut(&queue) {
                    reading.committed = offset;
                }
            }
            _ => oracle.shared(&group, id).unanswered(commit),
        }
        answered.map(|_| ())
    }

    fn tell(&self, answer: &Command) {
        self.world
            .tell(|| format!("{} is told {}: {:?}", self.id, answer.code, answer.remark));
    }
}
