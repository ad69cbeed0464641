//! The exact bytes of every control record and of a snapshot chunk, and that the documentation names them.

use super::world::{SHARD, World, batch, spec};
use crate::state::entries::ProducerKey;
use crate::state::record::GroupOffsets;
use crate::state::topics::{TopicRules, create};
use crate::state::{ControlRecord, GroupSettings, ShardState, StateLimits};
use ringmq_storage_engine::position::{Position, QueueHandle, QueueOffset};
use ringmq_storage_engine::state_machine::StateMachine;

const FORMATS: &str = include_str!("../../../../docs/formats.md");

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn offsets() -> GroupOffsets {
    GroupOffsets {
        group: "g".into(),
        offsets: vec![(QueueHandle(1), QueueOffset(2))],
    }
}

/// (name in the documentation, record, bytes)
fn records() -> Vec<(&'static str, ControlRecord, &'static str)> {
    let rules = TopicRules {
        shard: SHARD,
        retention_ms: None,
    };
    let put = create(
        &ShardState::default(),
        rules,
        &spec("t", 9, 3, &["s01-b", SHARD]),
    );
    let handles = vec![QueueHandle(1), QueueHandle(258)];
    let key = ProducerKey {
        queue: QueueHandle(1),
        producer_id: 7,
    };
    vec![
        (
            "TopicPut",
            put.expect("valid").expect("new"),
            "010100000100740900000000000000000000000000000003000000010000000100000000000000ffffffffffffffff0000000003ffffffffffffffff00000000000000000200000005007330312d6205007330302d610100000001000000",
        ),
        (
            "TopicRemove",
            ControlRecord::TopicRemove {
                name: "t".into(),
                handles: handles.clone(),
            },
            "01020000010074020000000100000002010000",
        ),
        (
            "QueuesTrim",
            ControlRecord::QueuesTrim(offsets().offsets),
            "0103000001000000010000000200000000000000",
        ),
        (
            "OffsetsPut",
            ControlRecord::OffsetsPut(vec![offsets()]),
            "010400000100000001006701000000010000000200000000000000",
        ),
        (
            "OffsetsReset",
            ControlRecord::OffsetsReset(offsets()),
            "0105000001006701000000010000000200000000000000",
        ),
        (
            "LeaseGrant",
            ControlRecord::LeaseGrant {
                group: "g".into(),
                member: "m".into(),
                term_ms: 5_000,
                handles: handles.clone(),
            },
            "0106000001006701006d88130000020000000100000002010000",
        ),
        (
            "LeaseRelease",
            ControlRecord::LeaseRelease {
                group: "g".into(),
                handles,
            },
            "01070000010067020000000100000002010000",
        ),
        (
            "GroupRemove",
            ControlRecord::GroupRemove { group: "g".into() },
            "01080000010067",
        ),
        (
            "ProducersEvict",
            ControlRecord::ProducersEvict(vec![key]),
            "0109000001000000010000000700000000000000",
        ),
        (
            "GroupSettingsPut",
            ControlRecord::GroupSettingsPut {
                group: "g".into(),
                settings: Box::new(GroupSettings {
                    forbidden: vec!["t".into()],
                    more: "{}".into(),
                    younger_from: Some(QueueHandle(3)),
                    ..GroupSettings::default()
                }),
            },
            "010a00000100673701000000100000000000000000000000010000000000000000000000\
             0f0000000300000001000000010074020000007b7d",
        ),
        (
            "GroupSettingsRemove",
            ControlRecord::GroupSettingsRemove { group: "g".into() },
            "010b0000010067",
        ),
    ]
}

#[test]
fn control_records_have_these_bytes() {
    for (name, record, expected) in records() {
        assert_eq!(hex(&record.encode()), expected, "{name}");
    }
}

#[test]
fn the_documentation_lists_every_kind() {
    let section = FORMATS.split("### 4.3").nth(1).expect("section 4.3");
    let table = section
        .split("| kind | name | body |")
        .nth(1)
        .expect("the table of kinds");
    let rows = table
        .lines()
        .skip(2)
        .map_while(|line| line.strip_prefix("| "));
    let listed: Vec<String> = rows
        .map(|row| row.split(" | ").take(2).collect::<Vec<_>>().join(" "))
        .collect();
    let kinds = records().into_iter();
    let kinds = kinds.map(|(name, record, _)| format!("{} {name}", record.encode()[1]));
    assert_eq!(listed, kinds.collect::<Vec<_>>());
}

#[test]
fn a_snapshot_chunk_has_these_bytes() {
    let mut world = World::new(StateLimits::default());
    world.control(&records().remove(0).1);
    let handle = world.state.topic("t").expect("made").handles[0];
    world.batch(handle, batch(7, 1, 0, 4));
    world.control(&ControlRecord::LeaseGrant {
        group: "g".into(),
        member: "m".into(),
        term_ms: 5_000,
        handles: vec![handle],
    });
    world.control(&ControlRecord::OffsetsPut(vec![offsets()]));
    world.control(&ControlRecord::GroupSettingsPut {
        group: "g".into(),
        settings: Box::default(),
    });
    let chunk = world.state.snapshot_chunk(None, usize::MAX);
    assert_eq!(
        hex(&chunk.bytes),
        "010100000000000001020000000100000000000000000000000000000001000000000000000000000000000000020100740900000000000000000000000000000003000000010000000100000000000000ffffffffffffffff0000000003ffffffffffffffff00000000000000000200000005007330312d6205007330302d61010000000100000003010000000100740100000004000000000000000000000000000000e803000000000000040100670100000003020000000000000060240000000000008813000001006d05010000000700000000000000010000000400000001000000000400000000000000000000007020000000000000e8030000000000000601006717010000001000000000000000000000000100000000000000000000000f0000000000000000000000"
    );
    let mut restored = ShardState::default();
    restored
        .restore_chunk(Position(1 << 20), &chunk.bytes)
        .expect("our own");
    assert_eq!(restored.digest(), world.state.digest());
}
