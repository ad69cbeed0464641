//! The idempotence rules, case by case.

use super::world::{World, batch, offset};
use crate::state::entries::ProducerKey;
use crate::state::produce::{Produce, decide, evictions};
use crate::state::{ControlRecord, StateLimits};
use ringmq_storage_engine::marks::assert_reached;
use ringmq_storage_engine::position::{Position, QueueHandle};
use ringmq_wire::batch::{BatchHeader, FLAG_SPARSE};
use ringmq_wire::codes::ErrorCode;

fn ask(world: &World, handle: QueueHandle, header: BatchHeader) -> Produce {
    decide(&world.state, handle, &header, world.store_time_ms)
}

fn code(world: &World, handle: QueueHandle, header: BatchHeader) -> (ErrorCode, u32, u32) {
    match ask(world, handle, header) {
        Produce::Refuse(refuse) => (refuse.code, refuse.epoch, refuse.sequence),
        other => panic!("should be refused, is {other:?}"),
    }
}

fn append(base: u64) -> Produce {
    Produce::Append {
        base_offset: offset(base),
        evict: Vec::new(),
    }
}

fn duplicate(base: u64, position: Position, store_time_ms: i64) -> Produce {
    Produce::Duplicate {
        base_offset: offset(base),
        position,
        store_time_ms,
    }
}

#[test]
fn without_a_producer_id_everything_is_appended() {
    let mut world = World::new(StateLimits::default());
    let handle = world.topic("orders", 1)[0];
    for _ in 0..3 {
        let next = world.state.queue(handle).expect("there").next_offset.0;
        assert_eq!(ask(&world, handle, batch(0, 0, 9, 2)), append(next));
        world.batch(handle, batch(0, 0, 9, 2));
    }
    assert_eq!(world.state.producer_count(), 0);
    let gone = code(&world, QueueHandle(77), batch(0, 0, 0, 1));
    assert_eq!(gone.0, ErrorCode::QueueNotFound);
    let sparse = BatchHeader {
        flags: FLAG_SPARSE,
        ..batch(0, 0, 0, 1)
    };
    assert_eq!(code(&world, handle, sparse).0, ErrorCode::BadBatch);
}

#[test]
fn each_case_has_its_answer() {
    let mut world = World::new(StateLimits::default());
    let handle = world.topic("orders", 1)[0];
    assert_eq!(
        code(&world, handle, batch(7, 3, 5, 1)),
        (ErrorCode::UnknownProducer, 3, 0)
    );
    let mut positions = Vec::new();
    for sequence in [0, 2, 4, 6, 8, 10, 12] {
        assert_eq!(
            ask(&world, handle, batch(7, 3, sequence, 2)),
            append(sequence.into())
        );
        positions.push(world.batch(handle, batch(7, 3, sequence, 2)));
    }
    // The last five are answered with their first results, also after a restart.
    world.state = world.replay(&world.snapshot(1));
    let time = world.store_time_ms;
    for (index, sequence) in [(2, 4), (3, 6), (4, 8), (5, 10), (6, 12)] {
        let answer = ask(&world, handle, batch(7, 3, sequence, 2));
        assert_eq!(answer, duplicate(sequence.into(), positions[index], time));
    }
    let forgotten = (ErrorCode::DuplicateForgotten, 3, 14);
    assert_eq!(code(&world, handle, batch(7, 3, 0, 2)), forgotten);
    assert_eq!(code(&world, handle, batch(7, 3, 2, 2)), forgotten);
    let out_of_order = (ErrorCode::OutOfOrderSequence, 3, 14);
    assert_eq!(code(&world, handle, batch(7, 3, 15, 1)), out_of_order);
    // Not one of the stored batches, but over some of them.
    assert_eq!(code(&world, handle, batch(7, 3, 12, 1)), out_of_order);
    assert_eq!(code(&world, handle, batch(7, 3, 13, 2)), out_of_order);
    assert_eq!(code(&world, handle, batch(7, 3, 0, 20)), out_of_order);
    assert_eq!(
        code(&world, handle, batch(7, 2, 14, 1)),
        (ErrorCode::StaleEpoch, 3, 14)
    );
    assert_eq!(code(&world, handle, batch(7, 4, 14, 1)), out_of_order);
    // A new epoch starts over, and what the old one wrote is no duplicate of it.
    assert_eq!(ask(&world, handle, batch(7, 4, 0, 2)), append(14));
    world.batch(handle, batch(7, 4, 0, 2));
    assert_eq!(
        code(&world, handle, batch(7, 3, 14, 1)).0,
        ErrorCode::StaleEpoch
    );
    assert_eq!(
        code(&world, handle, batch(7, 4, 4, 2)).0,
        ErrorCode::OutOfOrderSequence
    );
}

#[test]
fn sequences_wrap() {
    let mut world = World::new(StateLimits::default());
    let handle = world.topic("orders", 1)[0];
    let near = u32::MAX - 1;
    world.batch(handle, batch(7, 0, near - 4, 4));
    let first = world.batch(handle, batch(7, 0, near, 4));
    assert_eq!(ask(&world, handle, batch(7, 0, 2, 1)), append(8));
    let again = ask(&world, handle, batch(7, 0, near, 4));
    assert_eq!(again, duplicate(4, first, world.store_time_ms));
    assert_eq!(
        code(&world, handle, batch(7, 0, 3, 1)).0,
        ErrorCode::OutOfOrderSequence
    );
    assert_eq!(
        code(&world, handle, batch(7, 0, near - 8, 4)).0,
        ErrorCode::DuplicateForgotten
    );
    assert_reached(&["verdict: a repeated batch is known, its answer is not"]);
}

#[test]
fn producers_are_known_by_queue() {
    let mut world = World::new(StateLimits::default());
    let handles = world.topic("orders", 2);
    world.batch(handles[0], batch(7, 0, 0, 3));
    assert_eq!(
        code(&world, handles[1], batch(7, 0, 3, 1)).0,
        ErrorCode::UnknownProducer
    );
    assert_eq!(ask(&world, handles[1], batch(7, 0, 0, 3)), append(0));
}

fn keys(world: &World) -> Vec<u64> {
    let evict = evictions(&world.state, world.store_time_ms);
    evict.iter().map(|key| key.producer_id).collect()
}

#[test]
fn silent_producers_are_forgotten_by_a_record() {
    let mut world = World::new(StateLimits::TEST_MIN);
    let handle = world.topic("orders", 1)[0];
    world.batch(handle, batch(1, 0, 0, 1));
    world.batch(handle, batch(2, 0, 0, 1));
    world.batch(handle, batch(3, 0, 0, 1));
    world.store_time_ms += 600;
    world.batch(handle, batch(1, 0, 1, 1));
    world.store_time_ms += 400;
    assert!(keys(&world).is_empty());
    world.store_time_ms += 1;
    assert_eq!(keys(&world), [2, 3]);
    let Produce::Append { evict, .. } = ask(&world, handle, batch(9, 0, 0, 1)) else {
        panic!("a new producer's first batch is appended");
    };
    world.control(&ControlRecord::ProducersEvict(evict));
    world.batch(handle, batch(9, 0, 0, 1));
    assert_eq!(
        code(&world, handle, batch(2, 0, 1, 1)).0,
        ErrorCode::UnknownProducer
    );
    assert_eq!(world.state.producer_count(), 2);
    assert_eq!(world.replay(&Vec::new()).producer_count(), 2);
}

#[test]
fn the_table_stays_under_its_cap_by_forgetting_the_longest_silent() {
    let mut world = World::new(StateLimits::TEST_MIN);
    let handle = world.topic("orders", 1)[0];
    for id in 1..50u64 {
        let Produce::Append { evict, .. } = ask(&world, handle, batch(id, 0, 0, 1)) else {
            panic!("a new producer's first batch is appended");
        };
        let survivor = ProducerKey {
            queue: handle,
            producer_id: 1,
        };
        assert!(!evict.contains(&survivor));
        if !evict.is_empty() {
            world.control(&ControlRecord::ProducersEvict(evict));
        }
        world.batch(handle, batch(id, 0, 0, 1));
        // Producer 1 goes on writing.
        let next = world.state.producer(handle, 1).expect("kept").next_sequence;
        world.batch(handle, batch(1, 0, next, 1));
        assert!(world.state.producer_count() <= 4);
    }
}
