//! A simulated administrator: topics are made, deleted and made again, offsets are reset.

use super::connection::{Connection, Failure, Frame};
use super::member::group_of;
use crate::node::shard_name;
use crate::sim::draw::Draw;
use crate::sim::oracle::{Incarnation, TopicFact};
use crate::sim::plan::Plan;
use crate::sim::world::World;
use ringmq_storage_engine::runtime::Runtime;
use ringmq_wire::codes::{ErrorCode, Kind};
use ringmq_wire::native;
use ringmq_wire::native::schema::*;
use std::collections::BTreeMap;
use std::rc::Rc;

/// See the module.
pub struct Admin {
    world: Rc<World>,
    draw: Draw,
    /// Shard name to address.
    addresses: BTreeMap<String, String>,
    /// Numbers topics; those that it places itself have it as their incarnation.
    next_number: u64,
}

impl Admin {
    pub fn new(world: &Rc<World>, draw: Draw) -> Self {
        Self {
            world: Rc::clone(world),
            draw,
            addresses: world.plan.addresses(),
            next_number: 1,
        }
    }

    /// Places a topic and lets the oracle know of it; [`Self::create`] makes it.
    pub fn place(&mut self, name: &str, queues: u32, remoting: bool) -> Incarnation {
        let mut placement: Vec<String> = self.addresses.keys().cloned().collect();
        let first = self.draw.index(placement.len());
        placement.rotate_left(first);
        placement.truncate(queues as usize);
        let incarnation = self.number();
        let topic = TopicFact {
            name: name.to_owned(),
            number: incarnation,
            queues,
            placement,
            created: false,
            remoting,
            deleting: false,
            deleted: false,
        };
        self.world.tell(|| {
            format!(
                "topic {name}: {queues} queues as {incarnation} on {:?}",
                topic.placement
            )
        });
        self.world
            .oracle
            .borrow_mut()
            .topic_asked(incarnation, topic);
        incarnation
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number - 1
    }

    fn fact(&self, incarnation: Incarnation) -> TopicFact {
        self.world.oracle.borrow_mut().topic(incarnation).clone()
    }

    /// Makes every share, queue 0's home first; repeats what fails until the run is over.
    pub async fn create(&mut self, incarnation: Incarnation) {
        let topic = self.fact(incarnation);
        let record = TopicRecordT {
            name: topic.name.clone(),
            incarnation_high: 0,
            incarnation_low: incarnation,
            queues: topic.queues,
            placement: Some(topic.placement.clone()),
            settings: None,
            version: 1,
        };
        let request = TopicCreateRequestT {
            topic: Box::new(record),
            automatic: false,
        };
        let encode = |id| native::encode(Kind::TopicCreate, 0, id, 0, |b| request.pack(b));
        if !self.at_each_shard(&topic, "made", encode).await {
            return;
        }
        self.world.oracle.borrow_mut().topic(incarnation).created = true;
    }

    /// Deletes every share, queue 0's home first.
    pub async fn delete(&mut self, incarnation: Incarnation) {
        self.world.oracle.borrow_mut().topic(incarnation).deleting = true;
        let topic = self.fact(incarnation);
        self.world
            .tell(|| format!("topic {} ({incarnation}) is to be deleted", topic.name));
        let request = TopicDeleteRequestT {
            name: topic.name.clone(),
            incarnation_high: 0,
            incarnation_low: incarnation,
        };
        let encode = |id| native::encode(Kind::TopicDelete, 0, id, 0, |b| request.pack(b));
        if !self.at_each_shard(&topic, "deleted", encode).await {
            return;
        }
        self.world.oracle.borrow_mut().topic(incarnation).deleted = true;
    }

    /// Gives a topic more queues, at each of its shards; false: the run was over before.
    pub async fn grow(&mut self, incarnation: Incarnation, queues: u32) -> bool {
        let topic = self.fact(incarnation);
        self.world
            .tell(|| format!("topic {} is to have {queues} queues", topic.name));
        let request = TopicUpdateRequestT {
            name: topic.name.clone(),
            queues,
            settings: None,
        };
        let encode = |id| native::encode(Kind::TopicUpdate, 0, id, 0, |b| request.pack(b));
        if !self
            .at_each_shard(&topic, "given more queues", encode)
            .await
        {
            return false;
        }
        self.world.oracle.borrow_mut().topic(incarnation).queues = queues;
        true
    }

    /// Asks the shards of a topic one after the other, each until it has done it; false: the run was over before.
    async fn at_each_shard(
        &mut self,
        topic: &TopicFact,
        what: &str,
        encode: impl Fn(u64) -> Vec<u8>,
    ) -> bool {
        for shard in &topic.placement {
            loop {
                match self.ask(shard, &encode).await {
                    Ok(_) => break,
                    Err(failure) if self.may_repeat(&failure).await => {}
                    Err(failure) => {
                        panic!("{} cannot be {what} at {shard}: {failure}", topic.name)
                    }
                }
                if self.world.is_over() {
                    return false;
                }
            }
        }
        true
    }

    /// Has a node make a topic on all of its shards, with as many queues or, at 0, as many as it likes. `None`: the run was
    /// over before.
    pub async fn have_made(&mut self, name: &str, queues: u32) -> Option<Incarnation> {
        let incarnation = self.number();
        let node = Plan::node_name(self.draw.index(self.world.plan.nodes));
        let wanted = TopicRecordT {
            name: name.to_owned(),
            incarnation_low: incarnation,
            queues,
            ..TopicRecordT::default()
        };
        self.world.tell(|| {
            format!("topic {name}: node {node} is to make {queues} queues as {incarnation}")
        });
        let made = self.have_node_make(&node, wanted).await?;
        assert_eq!(made.incarnation_low, incarnation, "{made:?}");
        Some(self.learn(made, incarnation, false))
    }

    /// Finds a topic that a node made for the first message of a RocketMQ producer. Asking again for what is there
    /// completes it, should a shard have failed meanwhile.
    pub async fn adopt(&mut self, name: &str, node: &str) -> Option<Incarnation> {
        let wanted = TopicRecordT {
            name: name.to_owned(),
            ..TopicRecordT::default()
        };
        let made = self.have_node_make(node, wanted).await?;
        let number = self.number();
        Some(self.learn(made, number, true))
    }

    async fn have_node_make(&mut self, node: &str, wanted: TopicRecordT) -> Option<TopicRecordT> {
        let name = wanted.name.clone();
        let request = TopicCreateRequestT {
            topic: Box::new(wanted),
            automatic: true,
        };
        while !self.world.is_over() {
            let shard = shard_name(self.draw.index(self.world.plan.shards), node);
            let encode = |id| native::encode(Kind::TopicCreate, 0, id, 0, |b| request.pack(b));
            match self.ask(&shard, encode).await {
                Ok(frame) => {
                    let response = native::header::<TopicCreateResponse>(&frame.header);
                    let made = response.expect("a table").unpack().topic;
                    return Some(*made.expect("the topic that was made"));
                }
                Err(failure) if self.may_repeat(&failure).await => {}
                Err(failure) => panic!("{name} cannot be made at {shard}: {failure}"),
            }
        }
        None
    }

    /// What a node made.
    fn learn(&self, made: TopicRecordT, number: u64, remoting: bool) -> Incarnation {
        let incarnation = made.incarnation_low;
        let topic = TopicFact {
            name: made.name,
            number,
            queues: made.queues,
            placement: made.placement.unwrap_or_default(),
            created: true,
            remoting,
            deleting: false,
            deleted: false,
        };
        self.world.tell(|| format!("it made {topic:?}"));
        let mut oracle = self.world.oracle.borrow_mut();
        oracle.topic_asked(incarnation, topic);
        incarnation
    }

    /// Sets a group to an offset in one queue, whoever holds it.
    pub async fn reset(&mut self, incarnation: Incarnation) {
        let topic = self.fact(incarnation);
        let queue = self.draw.below(u64::from(topic.queues)) as u32;
        let end = self.world.oracle.borrow().known_end((incarnation, queue));
        let offset = self.draw.below(end + 1);
        let group = group_of(&topic.name);
        let shard = topic.shard_of(queue);
        let request = OffsetResetRequestT {
            group: group.clone(),
            topic: topic.name.clone(),
            resets: Some(vec![OffsetResetT { queue, offset }]),
            force: true,
        };
        self.world
            .tell(|| format!("{group} is reset to {offset} in {}/{queue}", topic.name));
        self.world
            .oracle
            .borrow_mut()
            .reset(&group, (incarnation, queue), offset);
        let encode = |id| native::encode(Kind::OffsetReset, 0, id, 0, |b| request.pack(b));
        let done = self.ask(shard, encode).await;
        let done = done.map(|_| ());
        self.world.tell(|| format!("reset: {done:?}"));
        let mut oracle = self.world.oracle.borrow_mut();
        match done {
            Err(Failure::Lost) => oracle.reset_unanswered(&group, (incarnation, queue)),
            _ => oracle.reset(&group, (incarnation, queue), offset),
        }
    }

    async fn ask(
        &self,
        shard: &str,
        encode: impl FnOnce(u64) -> Vec<u8>,
    ) -> Result<Frame, Failure> {
        let address = &self.addresses[shard];
        let runtime = &self.world.runtime;
        let mut connection = Connection::open(&self.world, runtime, address, "admin").await?;
        connection.call(encode).await
    }

    async fn may_repeat(&mut self, failure: &Failure) -> bool {
        let wait = self.draw.millis(20, 400);
        self.world.runtime.sleep(wait).await;
        match failure.code() {
            None | Some(ErrorCode::ReadOnly) => true,
            Some(code) => code.is_retryable(),
        }
    }
}
