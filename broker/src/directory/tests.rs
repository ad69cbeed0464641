use super::*;

fn now(ms: u64) -> Now {
    Now {
        ms,
        wall_ms: 1_700_000_000_000 + ms as i64,
    }
}

fn join(group: &str, member: &str, topics: &[&str]) -> Join {
    Join {
        group: group.to_owned(),
        member: member.to_owned(),
        client_address: "127.0.0.1:1".to_owned(),
        subscriptions: topics
            .iter()
            .map(|topic| {
                let mut subscription = SubscriptionT::default();
                subscription.topic = (*topic).to_owned();
                subscription
            })
            .collect(),
        session_timeout_ms: 10_000,
    }
}

fn names(directory: &Directory, group: &str) -> Vec<String> {
    directory
        .members(group)
        .1
        .into_iter()
        .map(|m| m.member)
        .collect()
}

#[test]
fn the_version_changes_with_members_and_subscriptions_only() {
    let mut directory = Directory::new(DirectoryLimits::default(), now(0));
    assert_eq!(directory.join(now(0), join("g", "b", &["t"])), Ok(true));
    let one = directory.members("g").0;
    assert_eq!(directory.join(now(5), join("g", "b", &["t"])), Ok(false));
    directory.heartbeat(now(6), "g", "b");
    assert_eq!(directory.members("g").0, one);
    assert_eq!(directory.join(now(7), join("g", "a", &["t"])), Ok(true));
    let two = directory.members("g").0;
    assert_eq!(
        directory.join(now(8), join("g", "a", &["t", "u"])),
        Ok(true)
    );
    let three = directory.members("g").0;
    assert!(one < two && two < three);
    assert_eq!(names(&directory, "g"), ["a", "b"]);
}

#[test]
fn a_silent_member_is_dropped_and_a_beating_one_is_not() {
    let mut directory = Directory::new(DirectoryLimits::default(), now(0));
    directory
        .join(now(0), join("g", "a", &["t"]))
        .expect("joins");
    directory
        .join(now(0), join("g", "b", &["t"]))
        .expect("joins");
    directory.heartbeat(now(9_999), "g", "b");
    assert!(directory.expire(now(9_999)).is_empty());
    assert_eq!(
        directory.expire(now(10_000)),
        [("g".to_owned(), "a".to_owned())]
    );
    assert_eq!(names(&directory, "g"), ["b"]);
    directory.expire(now(60_000));
    assert!(
        directory.snapshot().group("g").is_none(),
        "a group without members is not there"
    );
}

#[test]
fn versions_do_not_repeat_after_the_group_or_the_process_starts_again() {
    let mut directory = Directory::new(DirectoryLimits::default(), now(0));
    directory
        .join(now(0), join("g", "a", &["t"]))
        .expect("joins");
    let before = directory.members("g").0;
    assert!(directory.leave("g", "a"));
    assert!(!directory.leave("g", "a"));
    directory
        .join(now(1), join("g", "a", &["t"]))
        .expect("joins");
    let again = directory.members("g").0;
    assert!(again > before);
    let mut restarted = Directory::new(DirectoryLimits::default(), now(1_000));
    restarted
        .join(now(1_000), join("g", "a", &["t"]))
        .expect("joins");
    assert!(restarted.members("g").0 > again);
}

#[test]
fn snapshots_share_what_did_not_change() {
    let mut directory = Directory::new(DirectoryLimits::default(), now(0));
    directory
        .join(now(0), join("g", "a", &["t"]))
        .expect("joins");
    directory
        .join(now(0), join("h", "a", &["t"]))
        .expect("joins");
    let first = directory.snapshot();
    directory
        .join(now(0), join("h", "b", &["t"]))
        .expect("joins");
    let second = directory.snapshot();
    let of = |snapshot: &DirectorySnapshot, group| snapshot.group(group).expect("there").clone();
    assert!(Arc::ptr_eq(&of(&first, "g"), &of(&second, "g")));
    assert!(!Arc::ptr_eq(&of(&first, "h"), &of(&second, "h")));
    assert!(
        of(&second, "h").has("b") && !of(&first, "h").has("b"),
        "a copy never changes"
    );
}

#[test]
fn the_bounds_hold_and_a_member_inside_them_can_still_refresh() {
    let limits = DirectoryLimits {
        members_max: 3,
        group_members_max: 2,
        subscriptions_max: 1,
        ..DirectoryLimits::default()
    };
    let mut directory = Directory::new(limits, now(0));
    let code = |result: Result<bool, ControlError>| result.map_err(|error| error.code);
    for (group, member) in [("g", "a"), ("g", "b"), ("h", "a")] {
        directory
            .join(now(0), join(group, member, &["t"]))
            .expect("within bounds");
    }
    assert_eq!(
        code(directory.join(now(0), join("g", "c", &["t"]))),
        Err(ErrorCode::Busy)
    );
    assert_eq!(
        code(directory.join(now(0), join("i", "a", &["t"]))),
        Err(ErrorCode::Busy)
    );
    assert_eq!(
        code(directory.join(now(0), join("g", "a", &["t"]))),
        Ok(false)
    );
    assert_eq!(
        code(directory.join(now(0), join("g", "a", &["t", "u"]))),
        Err(ErrorCode::InvalidRequest)
    );
    assert_eq!(
        code(directory.join(now(0), join("g b", "a", &["t"]))),
        Err(ErrorCode::InvalidName)
    );
    assert_eq!(
        code(directory.join(now(0), join("g", "", &["t"]))),
        Err(ErrorCode::InvalidName)
    );
}

#[test]
fn members_of_the_two_protocols_exclude_each_other() {
    let mut directory = Directory::new(DirectoryLimits::default(), now(0));
    let beat = |group: &str, number| {
        let connection = clients::ConnectionId { shard: 0, number };
        clients::tests::consumer(connection, "10.0.0.1@7", group, &["t"])
    };
    directory
        .join(now(0), join("native", "m1", &["t"]))
        .expect("joins");
    let (changed, refused) = directory.register(now(0), beat("native", 1));
    let refused = refused.expect_err("native members are there");
    assert!(!changed);
    assert_eq!(refused.code, ErrorCode::GroupOfOtherProtocol);
    assert!(refused.message.contains("m1"), "{}", refused.message);

    assert_eq!(
        directory.register(now(0), beat("foreign", 1)),
        (true, Ok(()))
    );
    let refused = directory.join(now(0), join("foreign", "m1", &["t"]));
    let refused = refused.expect_err("a RocketMQ client is there");
    assert_eq!(refused.code, ErrorCode::GroupOfOtherProtocol);
    assert!(
        refused.message.contains("10.0.0.1@7"),
        "{}",
        refused.message
    );

    let id = clients::ConnectionId {
        shard: 0,
        number: 1,
    };
    directory.clients().closed(now(1), id);
    assert_eq!(
        directory.join(now(1), join("foreign", "m1", &["t"])),
        Ok(true)
    );
    directory.leave("native", "m1");
    assert_eq!(
        directory.register(now(1), beat("native", 1)),
        (true, Ok(()))
    );
}
