//! What an administrator does to topics and groups while everything runs: makes the first topics, then deletes some and
//! makes them again, gives some more queues, has a node make some by itself, and resets groups.

use super::chaos::Chaos;
use super::client::admin::Admin;
use super::client::remoting;
use super::draw::Draw;
use super::oracle::{Incarnation, TopicFact};
use super::plan::RemotingPlan;
use super::population;
use ringmq_storage_engine::runtime::Runtime;
use std::rc::Rc;

/// Topics of a run, those that are gone included.
const TOPICS_MAX: usize = 6;
/// Queues that a topic can grow to.
const QUEUES_MAX: u64 = 8;

struct Administrator {
    chaos: Rc<Chaos>,
    admin: Admin,
    draw: Draw,
}

/// Goes on until the faults are over.
pub async fn run(chaos: Rc<Chaos>) {
    let world = Rc::clone(&chaos.world);
    let seed = world.plan.seed;
    world.busy_clients.set(world.busy_clients.get() + 1);
    let mut administrator = Administrator {
        admin: Admin::new(&world, Draw::new(seed, "admin")),
        draw: Draw::new(seed, "administer"),
        chaos,
    };
    administrator.make_first_topics().await;
    let mean = world.plan.every.admin;
    while !mean.is_zero() && !world.is_settling() {
        let wait = administrator.draw.duration(mean * 2);
        world.runtime.sleep(wait).await;
        if world.is_settling() || !administrator.change_something().await {
            break;
        }
    }
    world.busy_clients.set(world.busy_clients.get() - 1);
}

impl Administrator {
    async fn make_first_topics(&mut self) {
        let world = Rc::clone(&self.chaos.world);
        for (index, queues) in world.plan.topics.iter().enumerate() {
            self.make(&format!("t{index}"), *queues).await;
        }
        if let Some(remoting) = &world.plan.remoting {
            self.make_for_remoting(remoting).await;
        }
    }

    /// RocketMQ clients come to a topic that is there, or make it with the first message.
    async fn make_for_remoting(&mut self, plan: &RemotingPlan) {
        let world = Rc::clone(&self.chaos.world);
        if !plan.by_first_message {
            let incarnation = self.admin.place("r0", plan.queues, true);
            population::settle(&world, incarnation, &mut self.draw);
            self.admin.create(incarnation).await;
            population::settle_remoting(&world, incarnation, plan);
            return;
        }
        let draw = Draw::new(world.plan.seed, "first message");
        let made = remoting::first::make(&world, &mut self.admin, "r0", draw).await;
        if let Some(incarnation) = made {
            self.chaos
                .count(|counts| counts.topics_made_by_messages += 1);
            population::settle(&world, incarnation, &mut self.draw);
            population::settle_remoting(&world, incarnation, plan);
        }
    }

    /// Its clients are there before it.
    async fn make(&mut self, name: &str, queues: u32) {
        let incarnation = self.admin.place(name, queues, false);
        population::settle(&self.chaos.world, incarnation, &mut self.draw);
        self.admin.create(incarnation).await;
    }

    /// False: no topic is left.
    async fn change_something(&mut self) -> bool {
        let topics: Vec<_> = {
            let oracle = self.chaos.world.oracle.borrow();
            let live = oracle.topics().filter(|(_, topic)| !topic.deleting);
            live.map(|(id, topic)| (id, topic.clone())).collect()
        };
        if topics.is_empty() {
            return false;
        }
        let total = self.chaos.world.oracle.borrow().topics().count();
        let (incarnation, topic) = self.draw.pick(&topics).clone();
        match self.draw.below(6) {
            0 if total < TOPICS_MAX && !topic.remoting => self.delete(incarnation, &topic).await,
            1 if total < TOPICS_MAX => {
                let queues = self.draw.between(1, 4) as u32;
                self.make(&format!("t{total}x"), queues).await;
            }
            2 if total < TOPICS_MAX => self.have_made(&format!("t{total}n")).await,
            3 if self.may_grow(&topic) => self.grow(incarnation, &topic).await,
            _ => {
                self.chaos.count(|counts| counts.resets += 1);
                self.admin.reset(incarnation).await;
            }
        }
        true
    }

    /// Sometimes it comes again.
    async fn delete(&mut self, incarnation: Incarnation, topic: &TopicFact) {
        self.chaos.count(|counts| counts.topics_deleted += 1);
        self.admin.delete(incarnation).await;
        let deleted = self
            .chaos
            .world
            .oracle
            .borrow_mut()
            .topic(incarnation)
            .deleted;
        if self.draw.coin() && deleted {
            let queues = self.draw.between(1, 4) as u32;
            self.make(&topic.name, queues).await;
        }
    }

    /// The request names no incarnation: one that comes late must not meet another topic of that name. Clients of
    /// RocketMQ's protocol are told of the queues when they start.
    fn may_grow(&self, topic: &TopicFact) -> bool {
        let oracle = self.chaos.world.oracle.borrow();
        let of_name = oracle
            .topics()
            .filter(|(_, other)| other.name == topic.name);
        let alone = of_name.count() == 1;
        alone && topic.created && !topic.remoting && u64::from(topic.queues) < QUEUES_MAX
    }

    async fn grow(&mut self, incarnation: Incarnation, topic: &TopicFact) {
        let queues = self.draw.between(u64::from(topic.queues) + 1, QUEUES_MAX) as u32;
        if self.admin.grow(incarnation, queues).await {
            self.chaos.count(|counts| counts.topics_grown += 1);
            let more = topic.queues..queues;
            population::settle_producers(&self.chaos.world, incarnation, more, &mut self.draw);
        }
    }

    /// As a first message does, where topics are made automatically.
    async fn have_made(&mut self, name: &str) {
        let queues = self.draw.between(0, 4) as u32;
        if let Some(incarnation) = self.admin.have_made(name, queues).await {
            self.chaos.count(|counts| counts.topics_made_by_nodes += 1);
            population::settle(&self.chaos.world, incarnation, &mut self.draw);
        }
    }
}
