//! Topics made by their first message.

use crate::ask;
use crate::harness::{Broker, scratch};
use crate::wire::{Wire, batch};
use ringmq_wire::codes::ErrorCode;
use ringmq_wire::native::schema::*;

#[test]
fn a_topic_is_made_on_all_shards_and_routed_before_the_answer() {
    let home = scratch();
    let directory = home.path().join("data");
    let broker = Broker::dev(&directory, &["--shards", "2"]);
    let topic = Wire::connect(broker.shards[1])
        .create("auto", 0, true)
        .expect("made");
    assert_eq!(topic.queues, 8);
    let mut request = RouteQueryRequestT::default();
    request.topics = Some(vec!["auto".to_owned()]);
    let routes = ask!(
        Wire::connect(&broker.namesrv),
        RouteQuery,
        RouteQueryResponse,
        &request
    );
    let route = routes
        .expect("answered")
        .routes
        .expect("asked for one")
        .remove(0);
    assert_eq!(
        (route.error, route.shards.map(|shards| shards.len())),
        (0, Some(2))
    );
    // Again, from the other side: the same one.
    let again = Wire::connect(broker.shards[0])
        .create("auto", 0, true)
        .expect("there");
    assert_eq!(again, topic);
    let placement = topic.placement.expect("placed");
    for queue in 0..8_usize {
        let home: usize = placement[queue % placement.len()][1..3]
            .parse()
            .expect("sNN-");
        let mut wire = Wire::connect(broker.shards[home]);
        wire.produce("auto", queue as u32, &batch(None, &[vec![queue as u8]]))
            .expect("stored");
    }
    broker.kill();
    let broker = Broker::dev(&directory, &["--shards", "2"]);
    let again = Wire::connect(broker.shards[0])
        .create("auto", 0, true)
        .expect("there");
    assert_eq!(again.incarnation_low, topic.incarnation_low);
    for queue in 0..8_usize {
        let home: usize = placement[queue % placement.len()][1..3]
            .parse()
            .expect("sNN-");
        let stored = Wire::connect(broker.shards[home]).read_all("auto", queue as u32);
        assert_eq!(stored, [vec![queue as u8]]);
    }
    broker.stop();
}

#[test]
fn making_topics_by_themselves_can_be_turned_off() {
    let home = scratch();
    let broker = Broker::dev(
        &home.path().join("data"),
        &["--set", "topics.auto_create=false"],
    );
    let mut wire = Wire::connect(broker.shards[0]);
    assert_eq!(
        wire.create("auto", 0, true),
        Err(ErrorCode::AutoCreateDisabled)
    );
    let produced = wire.produce("auto", 0, &batch(None, &[b"x".to_vec()]));
    assert_eq!(produced.map(|_| ()), Err(ErrorCode::TopicNotFound));
    wire.create("wanted", 2, false).expect("a tool may");
    broker.stop();
}
