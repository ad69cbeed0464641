//! Control records and snapshot chunks against arbitrary, flipped and shortened bytes.

use super::world::World;
use crate::state::entries::{ProducerKey, Topic};
use crate::state::record::GroupOffsets;
use crate::state::{
    ControlRecord, DecodeError, GroupSettings, ReplayDefect, ShardState, StateLimits, TopicSettings,
};
use proptest::collection::vec;
use proptest::prelude::*;
use ringmq_storage_engine::position::{Position, QueueHandle, QueueOffset};
use ringmq_storage_engine::state_machine::{RecordRef, StateMachine};

fn name() -> impl Strategy<Value = Box<str>> {
    "[A-Za-z0-9%|_-]{1,127}".prop_map(Into::into)
}

fn handles() -> impl Strategy<Value = Vec<QueueHandle>> {
    proptest::collection::btree_set(any::<u32>(), 0..20)
        .prop_map(|set| set.into_iter().map(QueueHandle).collect())
}

fn offsets() -> impl Strategy<Value = Vec<(QueueHandle, QueueOffset)>> {
    let entry = (any::<u32>(), any::<u64>()).prop_map(|(h, o)| (QueueHandle(h), QueueOffset(o)));
    vec(entry, 0..20)
}

fn group_offsets() -> impl Strategy<Value = GroupOffsets> {
    (name(), offsets()).prop_map(|(group, offsets)| GroupOffsets { group, offsets })
}

fn settings() -> impl Strategy<Value = TopicSettings> {
    let queues = || proptest::option::of(0..u32::MAX);
    let numbers = (any::<i64>(), any::<u32>(), queues(), queues(), any::<i32>());
    (numbers, any::<[bool; 6]>()).prop_map(|(numbers, flags)| TopicSettings {
        retention_ms: numbers.0,
        message_bytes_max: numbers.1,
        read_queues: numbers.2,
        write_queues: numbers.3,
        sys_flag: numbers.4,
        readable: flags[0],
        writable: flags[1],
        inherit: flags[2],
        order: flags[3],
        multi_tag: flags[4],
        system: flags[5],
    })
}

fn group_settings() -> impl Strategy<Value = Box<GroupSettings>> {
    let forbidden = proptest::collection::btree_set(name(), 0..4);
    let numbers = (any::<[i32; 4]>(), any::<[i64; 2]>());
    (
        numbers,
        any::<[bool; 5]>(),
        forbidden,
        any::<Option<u32>>(),
        "\\PC{0,40}",
    )
        .prop_map(|((small, large), flags, forbidden, younger_from, more)| {
            Box::new(GroupSettings {
                consume_enable: flags[0],
                consume_from_min: flags[1],
                consume_broadcast: flags[2],
                consume_orderly: flags[3],
                notify_changes: flags[4],
                retry_queues: small[0],
                retry_max: small[1],
                broker_id: large[0],
                broker_when_slow: large[1],
                sys_flag: small[2],
                consume_timeout_minutes: small[3],
                younger_from: younger_from.map(QueueHandle),
                forbidden: forbidden.into_iter().collect(),
                more: more.into(),
            })
        })
}

fn topic() -> impl Strategy<Value = Topic> {
    let shards = vec("s[0-9]{2}-[a-z]{1,60}".prop_map(Into::into), 1..5);
    let numbers = (any::<u128>(), 1..40u32, any::<u64>(), any::<u32>());
    let attributes = proptest::collection::btree_map("[a-z.]{1,20}", "[a-zA-Z]{1,20}", 0..4);
    (numbers, shards, settings(), attributes, any::<u32>()).prop_map(
        |((incarnation, queues, version, first), placement, settings, attributes, index)| {
            let attributes = attributes.into_iter();
            let attributes = attributes.map(|(name, value)| (name.into(), value.into()));
            let placement: Vec<Box<str>> = placement;
            let placement_index = index % placement.len() as u32;
            let count = Topic::local_queues(queues, placement.len(), placement_index) as u32;
            let first = first.min(u32::MAX - count);
            Topic {
                incarnation,
                queues,
                placement,
                placement_index,
                settings,
                attributes: attributes.collect(),
                version,
                handles: (first..first + count).map(QueueHandle).collect(),
            }
        },
    )
}

fn record() -> impl Strategy<Value = ControlRecord> {
    let key = (any::<u32>(), any::<u64>()).prop_map(|(queue, producer_id)| ProducerKey {
        queue: QueueHandle(queue),
        producer_id,
    });
    prop_oneof![
        (name(), topic()).prop_map(|(name, topic)| ControlRecord::TopicPut { name, topic }),
        (name(), handles())
            .prop_map(|(name, handles)| ControlRecord::TopicRemove { name, handles }),
        offsets().prop_map(ControlRecord::QueuesTrim),
        vec(group_offsets(), 0..4).prop_map(ControlRecord::OffsetsPut),
        group_offsets().prop_map(ControlRecord::OffsetsReset),
        (name(), "\\PC{1,60}", any::<u32>(), handles()).prop_map(
            |(group, member, term_ms, handles)| ControlRecord::LeaseGrant {
                group,
                member: member.into(),
                term_ms,
                handles,
            }
        ),
        (name(), handles())
            .prop_map(|(group, handles)| ControlRecord::LeaseRelease { group, handles }),
        name().prop_map(|group| ControlRecord::GroupRemove { group }),
        vec(key, 0..20).prop_map(ControlRecord::ProducersEvict),
        (name(), group_settings())
            .prop_map(|(group, settings)| ControlRecord::GroupSettingsPut { group, settings }),
        name().prop_map(|group| ControlRecord::GroupSettingsRemove { group }),
    ]
}

/// Decodes to an error or to what encodes to the same bytes.
fn check_canonical(bytes: &[u8]) {
    if let Ok(record) = ControlRecord::decode(bytes) {
        assert_eq!(record.encode(), bytes);
    }
}

proptest! {
    #[test]
    fn records_survive_the_round_trip(record in record()) {
        prop_assert_eq!(ControlRecord::decode(&record.encode()), Ok(record));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_handled(record in record()) {
        let bytes = record.encode();
        for cut in 0..bytes.len() {
            prop_assert!(ControlRecord::decode(&bytes[..cut]).is_err());
        }
        let mut longer = bytes.clone();
        longer.push(0);
        prop_assert_eq!(ControlRecord::decode(&longer), Err(DecodeError::Trailing(1)));
        let mut flipped = bytes;
        for bit in 0..8 * flipped.len() {
            flipped[bit / 8] ^= 1 << (bit % 8);
            check_canonical(&flipped);
            flipped[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(
        bytes in vec(any::<u8>(), 0..200),
        kind in 0u8..14,
    ) {
        check_canonical(&bytes);
        let body = [&[1, kind, 0, 0], bytes.as_slice()].concat();
        check_canonical(&body);
        let chunk = [&[1, 1, 0, 0, 0, 0, 0, 0], bytes.as_slice()].concat();
        let _ = ShardState::default().restore_chunk(Position(0), &bytes);
        let _ = ShardState::default().restore_chunk(Position(0), &chunk);
    }

    #[test]
    fn any_decodable_record_can_be_applied(records in vec(record(), 0..30)) {
        let mut world = World::new(StateLimits::default());
        for record in &records {
            world.control(record);
        }
        let snapshot = world.snapshot(100);
        prop_assert_eq!(world.replay(&snapshot).digest(), world.state.digest());
    }
}

#[test]
fn damaged_chunks_are_refused_or_loaded_but_never_panic() {
    let mut world = World::new(StateLimits::default());
    let handles = world.topic("orders", 3);
    world.batch(handles[1], super::world::batch(7, 1, 0, 4));
    world.control(&ControlRecord::LeaseGrant {
        group: "audit".into(),
        member: "m1".into(),
        term_ms: 1_000,
        handles,
    });
    let (stamp, good) = world.snapshot(usize::MAX).remove(0);
    for cut in 0..good.len() {
        let mut state = ShardState::default();
        let outcome = state.restore_chunk(stamp, &good[..cut]);
        // A cut between two entries looks like a shorter chunk; the engine's checksum is what finds it.
        assert!(outcome.is_err() || state.digest() != world.state.digest());
    }
    let mut flipped = good;
    for bit in 0..8 * flipped.len() {
        flipped[bit / 8] ^= 1 << (bit % 8);
        let _ = ShardState::default().restore_chunk(stamp, &flipped);
        flipped[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn an_unknown_record_freezes_the_state_with_a_typed_defect() {
    let mut world = World::new(StateLimits::default());
    world.topic("orders", 1);
    let before = world.state.digest();
    let unknown = [1, 200, 0, 0];
    world
        .state
        .apply(Position(1 << 20), 0, RecordRef::Control(&unknown));
    let later = ControlRecord::GroupRemove { group: "g".into() }.encode();
    world
        .state
        .apply(Position(2 << 20), 0, RecordRef::Control(&later));
    assert_eq!(
        world.state.defect(),
        Some(&ReplayDefect::Record {
            position: Position(1 << 20),
            cause: DecodeError::UnknownKind(200),
        })
    );
    assert_eq!(world.state.digest(), before);
}

#[test]
fn a_gap_in_a_queue_is_a_defect() {
    let mut world = World::new(StateLimits::default());
    let handle = world.topic("orders", 1)[0];
    let mut header = super::world::batch(0, 0, 0, 1);
    header.queue_handle = handle.0;
    header.base_offset = 5;
    world.state.apply(world.end, 0, RecordRef::Batch(&header));
    assert!(matches!(
        world.state.defect(),
        Some(ReplayDefect::Gap {
            found: QueueOffset(5),
            expected: Some(QueueOffset(0)),
            ..
        })
    ));
}

#[test]
fn chunks_out_of_order_or_missing_are_noticed() {
    let mut world = World::new(StateLimits::default());
    world.topic("orders", 20);
    let chunks = world.snapshot(64);
    assert!(chunks.len() > 3);
    let mut skipped = ShardState::default();
    skipped
        .restore_chunk(chunks[0].0, &chunks[0].1)
        .expect("first");
    assert!(skipped.restore_chunk(chunks[2].0, &chunks[2].1).is_err());
    let mut short = ShardState::default();
    for (stamp, chunk) in &chunks[..chunks.len() - 1] {
        short.restore_chunk(*stamp, chunk).expect("in order");
    }
    short.restore_finished();
    assert_eq!(short.defect(), Some(&ReplayDefect::SnapshotIncomplete));
}
