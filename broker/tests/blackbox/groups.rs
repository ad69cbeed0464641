//! Members and leases: two members never both own a queue.

use crate::ask;
use crate::harness::{Broker, scratch, until};
use crate::wire::{SHORT, Wire, batch};
use ringmq_wire::codes::ErrorCode;
use ringmq_wire::native::schema::*;

const TOPIC: &str = "leased";
const GROUP: &str = "readers";

fn join(wire: &mut Wire, member: &str, timeout_ms: u32) -> GroupJoinResponseT {
    let mut subscription = SubscriptionT::default();
    subscription.topic = TOPIC.to_owned();
    let mut request = GroupJoinRequestT::default();
    request.group = GROUP.to_owned();
    request.member = member.to_owned();
    request.subscriptions = Some(vec![subscription]);
    request.session_timeout_ms = timeout_ms;
    ask!(wire, GroupJoin, GroupJoinResponse, &request).expect("joins")
}

fn heartbeat(wire: &mut Wire, member: &str) -> Result<u64, ErrorCode> {
    let mut request = GroupHeartbeatRequestT::default();
    request.group = GROUP.to_owned();
    request.member = member.to_owned();
    ask!(wire, GroupHeartbeat, GroupHeartbeatResponse, &request).map(|answer| answer.version)
}

/// The lease of queue 0, or why not.
fn acquire(wire: &mut Wire, member: &str, term_ms: u32) -> Result<u64, ErrorCode> {
    let mut request = LeaseAcquireRequestT::default();
    request.group = GROUP.to_owned();
    request.member = member.to_owned();
    request.topic = TOPIC.to_owned();
    request.queues = Some(vec![0]);
    request.term_ms = term_ms;
    let answer = ask!(wire, LeaseAcquire, LeaseAcquireResponse, &request)?;
    let lease = answer.leases.expect("asked for one").remove(0);
    ErrorCode::from_number(lease.error).map_or(Ok(lease.lease), Err)
}

fn commit(wire: &mut Wire, member: &str, lease: u64, offset: u64) -> Result<(), ErrorCode> {
    let mut commit = OffsetCommitT::default();
    commit.topic = TOPIC.to_owned();
    commit.offset = offset;
    commit.lease = lease;
    let mut request = OffsetCommitRequestT::default();
    request.group = GROUP.to_owned();
    request.member = Some(member.to_owned());
    request.commits = Some(vec![commit]);
    let answer = ask!(wire, OffsetCommit, OffsetCommitResponse, &request)?;
    let error = answer.errors.expect("one each").remove(0);
    ErrorCode::from_number(error).map_or(Ok(()), Err)
}

fn committed(wire: &mut Wire) -> u64 {
    let mut request = OffsetFetchRequestT::default();
    request.group = GROUP.to_owned();
    request.topic = TOPIC.to_owned();
    request.queues = Some(vec![0]);
    let answer = ask!(wire, OffsetFetch, OffsetFetchResponse, &request).expect("answered");
    answer.offsets.expect("asked for one").remove(0).offset
}

fn leave(wire: &mut Wire, member: &str) {
    let mut request = GroupLeaveRequestT::default();
    request.group = GROUP.to_owned();
    request.member = member.to_owned();
    ask!(wire, GroupLeave, GroupLeaveResponse, &request).expect("leaves");
}

fn delete(wire: &mut Wire) -> Result<bool, ErrorCode> {
    let mut request = GroupDeleteRequestT::default();
    request.group = GROUP.to_owned();
    ask!(wire, GroupDelete, GroupDeleteResponse, &request).map(|answer| answer.existed)
}

fn describe(wire: &mut Wire) -> GroupDescribeResponseT {
    let mut request = GroupDescribeRequestT::default();
    request.group = GROUP.to_owned();
    ask!(wire, GroupDescribe, GroupDescribeResponse, &request).expect("there")
}

fn prepared(wire: &mut Wire) {
    wire.create(TOPIC, 1, false).expect("made");
    let bodies: Vec<Vec<u8>> = (0..10).map(|i| vec![i]).collect();
    wire.produce(TOPIC, 0, &batch(None, &bodies))
        .expect("stored");
}

#[test]
fn a_queue_has_one_owner_and_only_the_owner_commits() {
    let home = scratch();
    let directory = home.path().join("data");
    let broker = Broker::dev(&directory, &[]);
    let mut wire = Wire::connect(broker.shards[0]);
    prepared(&mut wire);
    let one = join(&mut wire, "one", 60_000);
    let both = join(&mut wire, "two", 60_000);
    assert!(both.version > one.version);
    assert_eq!(
        heartbeat(&mut wire, "one"),
        Ok(both.version),
        "the first learns of the second"
    );
    let lease = acquire(&mut wire, "one", 60_000).expect("free");
    assert_eq!(acquire(&mut wire, "two", 60_000), Err(ErrorCode::LeaseHeld));
    commit(&mut wire, "one", lease, 4).expect("the owner may");
    assert_eq!(
        commit(&mut wire, "two", lease, 5),
        Err(ErrorCode::LeaseLost)
    );
    assert_eq!(commit(&mut wire, "two", 0, 5), Err(ErrorCode::LeaseLost));
    assert_eq!(committed(&mut wire), 4);
    let described = describe(&mut wire);
    let queue = &described.queues.as_ref().expect("one")[0];
    assert_eq!(
        (queue.holder.as_deref(), queue.offset, queue.visible_offset),
        (Some("one"), 4, 10)
    );
    assert_eq!(described.members.map(|members| members.len()), Some(2));
    assert_eq!(delete(&mut wire), Err(ErrorCode::GroupNotEmpty));

    // The lease is in the log: a restart takes it from nobody.
    broker.kill();
    let broker = Broker::dev(&directory, &[]);
    let mut wire = Wire::connect(broker.shards[0]);
    assert_eq!(heartbeat(&mut wire, "one"), Err(ErrorCode::UnknownMember));
    join(&mut wire, "two", 60_000);
    assert_eq!(acquire(&mut wire, "two", 60_000), Err(ErrorCode::LeaseHeld));
    join(&mut wire, "one", 60_000);
    assert_eq!(
        acquire(&mut wire, "one", 60_000),
        Ok(lease),
        "its own lease, still"
    );
    commit(&mut wire, "one", lease, 6).expect("the owner may");

    // Leaving hands over at once, and the old lease is worth nothing.
    leave(&mut wire, "one");
    let next = acquire(&mut wire, "two", 60_000).expect("free again");
    assert!(next > lease);
    assert_eq!(
        commit(&mut wire, "one", lease, 7),
        Err(ErrorCode::LeaseLost)
    );
    commit(&mut wire, "two", next, 8).expect("the owner may");
    assert_eq!(committed(&mut wire), 8);
    leave(&mut wire, "two");
    assert_eq!(delete(&mut wire), Ok(true));
    assert_eq!(delete(&mut wire), Ok(false));
    broker.stop();
}

#[test]
fn who_falls_silent_loses_membership_and_lease() {
    let home = scratch();
    let broker = Broker::dev(&home.path().join("data"), &[]);
    let mut wire = Wire::connect(broker.shards[0]);
    prepared(&mut wire);
    let term_ms = u32::try_from(SHORT.as_millis()).expect("short");
    join(&mut wire, "silent", term_ms);
    join(&mut wire, "alive", term_ms);
    let lease = acquire(&mut wire, "silent", term_ms).expect("free");
    let mut taken = None;
    until("the silent one is dropped and its queue is free", || {
        heartbeat(&mut wire, "alive").expect("alive");
        taken = taken.or_else(|| acquire(&mut wire, "alive", 60_000).ok());
        taken.is_some() && describe(&mut wire).members.map(|members| members.len()) == Some(1)
    });
    assert_eq!(
        heartbeat(&mut wire, "silent"),
        Err(ErrorCode::UnknownMember)
    );
    assert_eq!(
        commit(&mut wire, "silent", lease, 3),
        Err(ErrorCode::LeaseLost)
    );
    commit(&mut wire, "alive", taken.expect("taken"), 3).expect("the owner may");
    broker.stop();
}
