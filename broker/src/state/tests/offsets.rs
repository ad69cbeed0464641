//! Commits, resets and the removal of groups.

use super::world::{World, assert_derived, offset};
use crate::state::leases::Deadlines;
use crate::state::offsets::{
    Commit, QueueRange, RemotingCommit, commit, remoting_commit, reset, room,
};
use crate::state::record::GroupOffsets;
use crate::state::system::SCHEDULE_GROUP;
use crate::state::{ControlRecord, StateLimits, groups};
use ringmq_storage_engine::position::{Position, QueueHandle};
use ringmq_wire::codes::ErrorCode;
use std::time::Duration;

const RANGE: QueueRange = QueueRange {
    min: ringmq_storage_engine::position::QueueOffset(10),
    visible: ringmq_storage_engine::position::QueueOffset(100),
};

fn leased(world: &mut World) -> (QueueHandle, Position) {
    let handle = world.topic("orders", 1)[0];
    let lease = world.control(&ControlRecord::LeaseGrant {
        group: "g".into(),
        member: "m".into(),
        term_ms: 1_000,
        handles: vec![handle],
    });
    (handle, lease)
}

fn put(world: &mut World, handle: QueueHandle, value: u64) {
    world.control(&ControlRecord::OffsetsPut(vec![GroupOffsets {
        group: "g".into(),
        offsets: vec![(handle, offset(value))],
    }]));
}

#[test]
fn a_rocketmq_commit_needs_no_lease_and_may_go_back() {
    let mut world = World::new(StateLimits::TEST_MIN);
    let handle = world.topic("orders", 1)[0];
    let decide = |world: &World, group: &str, handle, value| {
        remoting_commit(&world.state, RANGE, group, handle, offset(value))
    };
    let first = decide(&world, "g", handle, 50).expect("taken");
    let expected = RemotingCommit {
        offset: offset(50),
        back_from: None,
    };
    assert_eq!(first, Some(expected));
    put(&mut world, handle, 50);
    assert_eq!(decide(&world, "g", handle, 50), Ok(None));
    for (asked, written) in [(3, 10), (20, 20)] {
        let back = decide(&world, "g", handle, asked).expect("taken");
        let back = back.expect("a change");
        assert_eq!(back.offset, offset(written), "clamped to what is there");
        assert_eq!(back.back_from, Some(offset(50)));
    }
    let beyond = decide(&world, "g", handle, 1_000).expect("taken");
    assert_eq!(beyond.expect("a change").offset, offset(100));
    let unknown = decide(&world, "g", QueueHandle(99), 1).expect_err("no such queue");
    assert_eq!(unknown.code, ErrorCode::QueueNotFound);
    let own = decide(&world, SCHEDULE_GROUP, handle, 1).expect_err("the broker's own");
    assert_eq!(own.code, ErrorCode::InvalidName);
    for group in 0..StateLimits::TEST_MIN.group_queues_max - 1 {
        world.control(&ControlRecord::OffsetsPut(vec![GroupOffsets {
            group: format!("g{group}").into(),
            offsets: vec![(handle, offset(1))],
        }]));
    }
    let full = decide(&world, "another", handle, 20).expect_err("the table is full");
    assert_eq!(full.code, ErrorCode::Busy);
    assert!(decide(&world, "g", handle, 20).is_ok());
}

#[test]
fn a_commit_needs_the_lease() {
    let mut world = World::new(StateLimits::TEST_MIN);
    let (handle, lease) = leased(&mut world);
    let good = Commit {
        group: "g",
        member: "m",
        lease,
        handle,
        offset: offset(20),
    };
    assert_eq!(commit(&world.state, RANGE, good), Ok(Some(offset(20))));
    let wrong = [
        Commit {
            member: "n",
            ..good
        },
        Commit { group: "h", ..good },
        Commit {
            lease: Position(lease.0 + 8),
            ..good
        },
        Commit {
            handle: QueueHandle(99),
            ..good
        },
    ];
    for wrong in wrong {
        let refused = commit(&world.state, RANGE, wrong).expect_err("refused");
        assert_eq!(refused.code, ErrorCode::LeaseLost);
    }
}

#[test]
fn commits_are_clamped_and_only_move_forward() {
    let mut world = World::new(StateLimits::TEST_MIN);
    let (handle, lease) = leased(&mut world);
    let at = |world: &World, value: u64| {
        let commit_of = Commit {
            group: "g",
            member: "m",
            lease,
            handle,
            offset: offset(value),
        };
        commit(&world.state, RANGE, commit_of).expect("holds the lease")
    };
    assert_eq!(at(&world, 0), Some(offset(10)));
    assert_eq!(at(&world, 1_000), Some(offset(100)));
    put(&mut world, handle, 50);
    assert_eq!(at(&world, 50), None);
    assert_eq!(at(&world, 49), None);
    assert_eq!(at(&world, 51), Some(offset(51)));
}

#[test]
fn a_reset_goes_back_and_ends_the_lease() {
    let mut world = World::new(StateLimits::TEST_MIN);
    let (handle, lease) = leased(&mut world);
    put(&mut world, handle, 50);
    let held = reset(&world.state, RANGE, "g", handle, offset(20), false, true);
    assert_eq!(held.expect_err("held").code, ErrorCode::LeaseHeld);
    let forced = reset(&world.state, RANGE, "g", handle, offset(20), true, true);
    assert_eq!(forced, Ok(Some(offset(20))));
    world.control(&ControlRecord::OffsetsReset(GroupOffsets {
        group: "g".into(),
        offsets: vec![(handle, offset(20))],
    }));
    assert_eq!(world.state.committed("g", handle), Some(offset(20)));
    let again = Commit {
        group: "g",
        member: "m",
        lease,
        handle,
        offset: offset(60),
    };
    let refused = commit(&world.state, RANGE, again).expect_err("the lease ended");
    assert_eq!(refused.code, ErrorCode::LeaseLost);
    let unchanged = reset(&world.state, RANGE, "g", handle, offset(20), false, false);
    assert_eq!(unchanged, Ok(None));
}

#[test]
fn the_table_of_groups_is_bounded() {
    let mut world = World::new(StateLimits::TEST_MIN);
    let handles = world.topic("orders", 12);
    for &handle in &handles {
        assert_eq!(room(&world.state, 1), Ok(()));
        put(&mut world, handle, 1);
    }
    assert_eq!(
        room(&world.state, 1).expect_err("full").code,
        ErrorCode::Busy
    );
}

#[test]
fn a_group_goes_only_when_no_lease_runs() {
    let mut world = World::new(StateLimits::TEST_MIN);
    let (handle, _) = leased(&mut world);
    put(&mut world, handle, 1);
    let deadlines = Deadlines::new(Duration::ZERO);
    let at = |ms| groups::delete(&world.state, &deadlines, "g", Duration::from_millis(ms));
    assert_eq!(at(999).expect_err("running").code, ErrorCode::GroupNotEmpty);
    let record = at(1_000).expect("expired").expect("there");
    let none = groups::delete(&world.state, &deadlines, "h", Duration::ZERO);
    assert_eq!(none, Ok(None));
    world.control(&record);
    assert!(world.state.group("g").is_none());
    assert_derived(&world.state);
}
