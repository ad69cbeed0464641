//! Making, changing and deleting topics.

use super::world::{RULES, SHARD, World, assert_derived, batch, spec};
use crate::state::topics::{TopicSpec, check_not_system, create, delete, put_share, update};
use crate::state::{ControlRecord, QueuePlace, StateLimits, TopicSettings};
use ringmq_wire::codes::ErrorCode;

fn world() -> World {
    World::new(StateLimits::TEST_MIN)
}

#[test]
fn a_share_gets_its_own_queues() {
    let mut world = world();
    let spec = spec("orders", 9, 7, &["s01-b", SHARD, "s02-c"]);
    let record = create(&world.state, RULES, &spec)
        .expect("valid")
        .expect("new");
    world.control(&record);
    let topic = world.state.topic("orders").expect("made").clone();
    assert_eq!(topic.local().map(|(q, _)| q).collect::<Vec<_>>(), [1, 4]);
    assert_eq!(topic.place(4), QueuePlace::Here(topic.handles[1]));
    assert_eq!(topic.place(5), QueuePlace::Elsewhere);
    assert_eq!(topic.place(7), QueuePlace::Nowhere);
    let wire = topic.to_wire("orders");
    assert_eq!((wire.incarnation_low, wire.queues, wire.version), (9, 7, 1));
    // The same again is answered with what is there; another incarnation is another topic.
    assert_eq!(create(&world.state, RULES, &spec), Ok(None));
    let other = TopicSpec {
        incarnation: 10,
        ..spec
    };
    let refused = create(&world.state, RULES, &other).expect_err("exists");
    assert_eq!(refused.code, ErrorCode::TopicExists);
}

#[test]
fn local_queues_are_counted_as_they_are_dealt() {
    use crate::state::Topic;
    for queues in 1..40u32 {
        for shards in 1..7usize {
            for index in 0..shards as u32 {
                let dealt = (0..queues).filter(|q| q % shards as u32 == index).count();
                assert_eq!(Topic::local_queues(queues, shards, index), dealt);
            }
        }
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let world = world();
    let code = |spec| {
        create(&world.state, RULES, &spec)
            .expect_err("refused")
            .code
    };
    let good = || spec("t", 1, 1, &[SHARD]);
    assert_eq!(code(spec("a b", 1, 1, &[SHARD])), ErrorCode::InvalidName);
    assert_eq!(code(spec("", 1, 1, &[SHARD])), ErrorCode::InvalidName);
    assert_eq!(code(spec("t", 0, 1, &[SHARD])), ErrorCode::InvalidRequest);
    assert_eq!(code(spec("t", 1, 0, &[SHARD])), ErrorCode::InvalidRequest);
    assert_eq!(
        code(spec("t", 1, 65_537, &[SHARD])),
        ErrorCode::InvalidRequest
    );
    assert_eq!(code(spec("t", 1, 1, &[])), ErrorCode::InvalidRequest);
    assert_eq!(
        code(spec("t", 1, 1, &[SHARD, SHARD])),
        ErrorCode::InvalidRequest
    );
    assert_eq!(
        code(spec("t", 1, 1, &[SHARD, "x"])),
        ErrorCode::InvalidRequest
    );
    assert_eq!(code(spec("t", 1, 1, &["s09-z"])), ErrorCode::WrongShard);
    assert_eq!(code(spec("t", 1, 17, &[SHARD])), ErrorCode::Busy);
    for retention_ms in [-2, 0, 999, 1_000_001] {
        let mut spec = good();
        spec.settings.retention_ms = retention_ms;
        assert_eq!(code(spec), ErrorCode::InvalidRequest);
    }
    let mut spec = good();
    spec.settings.message_bytes_max = (15 << 20) + 1;
    assert_eq!(code(spec), ErrorCode::InvalidRequest);
}

#[test]
fn the_table_of_topics_is_bounded() {
    let mut world = world();
    for name in ["a", "b", "c", "d"] {
        world.topic(name, 1);
    }
    let refused = create(&world.state, RULES, &spec("e", 1, 1, &[SHARD])).expect_err("full");
    assert_eq!(refused.code, ErrorCode::Busy);
}

#[test]
fn queues_only_grow_and_keep_what_they_hold() {
    let mut world = world();
    let handles = world.topic("orders", 2);
    world.batch(handles[0], batch(0, 0, 0, 5));
    let refused = update(&world.state, RULES, "orders", 1, None).expect_err("shrinks");
    assert_eq!(refused.code, ErrorCode::InvalidRequest);
    let grown = update(&world.state, RULES, "orders", 4, None).expect("valid");
    world.control(&grown.expect("a change"));
    let topic = world.state.topic("orders").expect("there");
    assert_eq!((topic.queues, topic.version), (4, 2));
    assert_eq!(topic.handles[..2], handles[..]);
    let queue = world.state.queue(handles[0]).expect("kept");
    assert_eq!(queue.next_offset.0, 5);
    assert_eq!(update(&world.state, RULES, "orders", 4, None), Ok(None));
    assert_eq!(update(&world.state, RULES, "orders", 0, None), Ok(None));
    let closed = TopicSettings {
        writable: false,
        ..TopicSettings::default()
    };
    let record = update(&world.state, RULES, "orders", 0, Some(closed)).expect("valid");
    world.control(&record.expect("a change"));
    assert!(
        !world
            .state
            .topic("orders")
            .expect("there")
            .settings
            .writable
    );
    let missing = update(&world.state, RULES, "none", 4, None).expect_err("missing");
    assert_eq!(missing.code, ErrorCode::TopicNotFound);
    assert_derived(&world.state);
}

#[test]
fn deleting_needs_the_incarnation_and_takes_all_that_hangs_on_the_queues() {
    let mut world = world();
    let kept = world.topic("kept", 1)[0];
    let gone = world.topic("gone", 2);
    for handle in [kept, gone[0], gone[1]] {
        world.batch(handle, batch(7, 0, 0, 1));
        world.control(&ControlRecord::LeaseGrant {
            group: "g".into(),
            member: "m".into(),
            term_ms: 1_000,
            handles: vec![handle],
        });
    }
    assert_eq!(delete(&world.state, "none", 1), Ok(None));
    let refused = delete(&world.state, "gone", 1).expect_err("another incarnation");
    assert_eq!(refused.code, ErrorCode::StaleIncarnation);
    let incarnation = world.state.topic("gone").expect("there").incarnation;
    let record = delete(&world.state, "gone", incarnation).expect("right");
    world.control(&record.expect("there"));
    assert!(world.state.topic("gone").is_none());
    assert_eq!(world.state.queue_count(), 1);
    assert_eq!(world.state.producer_count(), 1);
    assert_eq!(world.state.group_queue_count(), 1);
    assert!(world.state.group_queue("g", kept).is_some());
    assert_derived(&world.state);
}

fn put(world: &mut World, spec: &TopicSpec, queues: [u32; 2]) -> Option<ControlRecord> {
    let record = put_share(&world.state, RULES, spec, queues, Vec::new()).expect("valid");
    if let Some(record) = &record {
        world.control(record);
    }
    record
}

#[test]
fn rocketmq_s_tools_hide_queues_and_never_take_them_away() {
    let mut world = world();
    let spec = spec("orders", 5, 4, &[SHARD]);
    assert!(put(&mut world, &spec, [4, 2]).is_some());
    let seen = |world: &World| {
        let topic = world.state.topic("orders").expect("made");
        (
            topic.handles.len(),
            topic.read_queues(),
            topic.write_queues(),
        )
    };
    assert_eq!(seen(&world), (4, 4, 2));
    assert_eq!(put(&mut world, &spec, [4, 2]), None, "nothing changes");
    put(&mut world, &spec, [1, 1]);
    assert_eq!(seen(&world), (4, 1, 1));
    put(&mut world, &spec, [4, 6]);
    assert_eq!(seen(&world), (6, 4, 6));
    // What another tool set stays.
    let kept = TopicSettings {
        retention_ms: 5_000,
        ..world.state.topic("orders").expect("made").settings
    };
    let record = update(&world.state, RULES, "orders", 0, Some(kept)).expect("valid");
    world.control(&record.expect("a change"));
    put(&mut world, &spec, [6, 6]);
    let settings = world.state.topic("orders").expect("made").settings;
    assert_eq!((settings.retention_ms, settings.read_queues), (5_000, None));
    assert_derived(&world.state);
}

#[test]
fn a_share_of_a_wider_topic_grows_by_as_many_for_each_shard() {
    let mut world = world();
    let wide = spec("wide", 5, 3, &["s01-a", SHARD]);
    let made = create(&world.state, RULES, &wide).expect("valid");
    world.control(&made.expect("new"));
    assert_eq!(world.state.topic("wide").expect("made").handles.len(), 1);
    put(&mut world, &wide, [3, 3]);
    let topic = world.state.topic("wide").expect("made");
    assert_eq!((topic.queues, topic.handles.len()), (6, 3));
    assert_derived(&world.state);
}

#[test]
fn what_is_the_broker_s_own_is_left_alone() {
    let mut world = world();
    let mut own = spec("own", 5, 1, &[SHARD]);
    own.settings.system = true;
    let made = create(&world.state, RULES, &own).expect("valid");
    world.control(&made.expect("new"));
    let refused = check_not_system(&world.state, "own").expect_err("not for clients");
    assert_eq!(refused.code, ErrorCode::InvalidRequest);
    assert_eq!(check_not_system(&world.state, "other"), Ok(()));
}
