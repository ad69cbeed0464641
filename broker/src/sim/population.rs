//! The clients of a topic: producers of each queue, and a consumer group.

use super::client::{member, producer, remoting};
use super::draw::Draw;
use super::oracle::Incarnation;
use super::plan::RemotingPlan;
use super::world::World;
use ringmq_storage_engine::runtime::Runtime;
use ringmq_wire::native::schema::Acks;
use std::ops::Range;
use std::rc::Rc;

/// Starts them. They try until the topic is there.
pub fn settle(world: &Rc<World>, incarnation: Incarnation, draw: &mut Draw) {
    let topic = world.oracle.borrow_mut().topic(incarnation).clone();
    let plan = &world.plan;
    settle_producers(world, incarnation, 0..topic.queues, draw);
    for number in 0..plan.members {
        let plan = member::MemberPlan {
            topic: topic.name.clone(),
            group: member::group_of(&topic.name),
            name: format!("m{}-{number}", topic.number),
        };
        let draw = Draw::new(draw.next(), "member");
        world
            .runtime
            .spawn(member::run(Rc::clone(world), plan, draw));
    }
}

/// Starts producers of some of these queues.
pub fn settle_producers(
    world: &Rc<World>,
    incarnation: Incarnation,
    queues: Range<u32>,
    draw: &mut Draw,
) {
    let fact = world.oracle.borrow_mut().topic(incarnation).clone();
    let (topic, number) = (fact.name, fact.number);
    let plan = &world.plan;
    for producer in 0..plan.producers as u64 {
        let acks = match draw.one_in(6) {
            true => Acks::Received,
            false => Acks::Durable,
        };
        let queues: Vec<u32> = queues.clone().filter(|_| draw.one_in(2)).collect();
        for queue in &queues {
            let plan = producer::ProducerPlan {
                id: number * 100 + producer + 1,
                topic: topic.clone(),
                incarnation,
                queue: *queue,
                messages: plan.messages / queues.len() as u64,
                acks,
            };
            let seed = draw.next();
            let draw = Draw::numbered(seed, "producer", u64::from(*queue));
            let running = producer::run(Rc::clone(world), plan, draw);
            world.runtime.spawn(running);
        }
    }
}

/// Starts RocketMQ clients of a topic that is there.
pub fn settle_remoting(world: &Rc<World>, incarnation: Incarnation, plan: &RemotingPlan) {
    let topic = world.oracle.borrow_mut().topic(incarnation).clone();
    let mut draw = Draw::numbered(world.plan.seed, "remoting", topic.number);
    for number in 0..plan.producers {
        let plan = remoting::producer::ProducerPlan {
            topic: topic.clone(),
            incarnation,
            number,
            messages: plan.messages / plan.producers,
        };
        let draw = Draw::new(draw.next(), "producer");
        let running = remoting::producer::run(Rc::clone(world), plan, draw);
        world.runtime.spawn(running);
    }
    for number in 0..plan.members {
        let plan = remoting::consumer::ConsumerPlan {
            topic: topic.clone(),
            incarnation,
            number,
        };
        let draw = Draw::new(draw.next(), "consumer");
        let running = remoting::consumer::run(Rc::clone(world), plan, draw);
        world.runtime.spawn(running);
    }
}
