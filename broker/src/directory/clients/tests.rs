//! Single rules of the directory of remoting clients.

use super::*;
use ringmq_wire::codes::ErrorCode;
use ringmq_wire::remoting::body::heartbeat::{
    ConsumeFrom, ConsumeType, MessageModel, Subscription,
};

pub(super) const SETTINGS: ConsumerSettings = ConsumerSettings {
    consume_type: ConsumeType::Passively,
    message_model: MessageModel::Clustering,
    consume_from: ConsumeFrom::LastOffset,
    notify: true,
};

pub(super) fn now(ms: u64) -> Now {
    Now {
        ms,
        wall_ms: 1_700_000_000_000 + ms as i64,
    }
}

pub(super) fn id(shard: usize, number: u64) -> ConnectionId {
    ConnectionId { shard, number }
}

pub(super) fn client(client_id: &str) -> ClientInfo {
    ClientInfo {
        client_id: client_id.into(),
        address: "127.0.0.1:4000".parse().expect("an address"),
        language: ringmq_wire::remoting::Language::Java,
        version: 407,
    }
}

pub(super) fn subscription(topic: &str, version: i64) -> Subscription {
    Subscription {
        topic: topic.to_owned(),
        version,
        ..Subscription::default()
    }
}

/// A heartbeat of a consumer of these topics.
pub(crate) fn consumer(
    connection: ConnectionId,
    client_id: &str,
    group: &str,
    topics: &[&str],
) -> Heartbeat {
    let subscriptions = topics.iter().map(|topic| subscription(topic, 1)).collect();
    Heartbeat {
        connection,
        client: client(client_id),
        consumers: vec![ConsumerBeat {
            group: group.to_owned(),
            settings: SETTINGS,
            subscriptions: Some(subscriptions),
            fingerprint: 0,
        }],
        producers: Vec::new(),
    }
}

fn producer(connection: ConnectionId, client_id: &str, group: &str) -> Heartbeat {
    Heartbeat {
        connection,
        client: client(client_id),
        consumers: Vec::new(),
        producers: vec![group.to_owned()],
    }
}

fn clients() -> Clients {
    Clients::new(ClientLimits::default(), 0, now(0))
}

fn ids(clients: &mut Clients, group: &str) -> Vec<String> {
    let view = clients.snapshot();
    let Some(group) = view.consumers(group) else {
        return Vec::new();
    };
    let ids = group.clients();
    ids.map(|client| client[0].client.client_id.to_string())
        .collect()
}

fn notices(clients: &mut Clients, ms: u64) -> Vec<String> {
    let due = clients.due_notices(now(ms));
    due.iter().map(ToString::to_string).collect()
}

#[test]
fn a_client_is_in_while_one_of_its_connections_is() {
    let mut all = clients();
    assert_eq!(
        all.register(now(0), consumer(id(0, 1), "b", "g", &["t"])),
        (true, Ok(()))
    );
    assert_eq!(
        all.register(now(0), consumer(id(0, 2), "a", "g", &["t"])),
        (true, Ok(()))
    );
    assert_eq!(notices(&mut all, 49), [""; 0]);
    assert_eq!(notices(&mut all, 50), ["g"]);
    assert_eq!(ids(&mut all, "g"), ["a", "b"]);
    // One more connection of a known client is nobody's business.
    assert_eq!(
        all.register(now(60), consumer(id(1, 1), "b", "g", &["t"])),
        (true, Ok(()))
    );
    assert!(all.closed(now(70), id(0, 1)));
    assert_eq!(all.next_notice_ms(), None);
    assert_eq!(ids(&mut all, "g"), ["a", "b"]);
    assert!(all.closed(now(80), id(1, 1)));
    assert_eq!(all.next_notice_ms(), Some(130));
    assert_eq!(ids(&mut all, "g"), ["a"]);
    assert!(!all.closed(now(80), id(1, 1)), "once");
}

#[test]
fn a_heartbeat_that_says_nothing_new_changes_nothing() {
    let mut all = clients();
    all.register(now(0), consumer(id(0, 1), "a", "g", &["t", "u"]))
        .1
        .expect("registers");
    let before = all.snapshot();
    let again = all.register(now(10), consumer(id(0, 1), "a", "g", &["u", "t"]));
    assert_eq!(again, (false, Ok(())));
    let after = all.snapshot();
    let of = |view: &ClientsView| view.consumers("g").expect("there").clone();
    assert!(Arc::ptr_eq(&of(&before), &of(&after)));
}

#[test]
fn topics_that_come_or_go_are_told_and_newer_versions_are_not() {
    let mut all = clients();
    all.register(now(0), consumer(id(0, 1), "a", "g", &["t"]))
        .1
        .expect("registers");
    notices(&mut all, 100);
    let mut newer = consumer(id(0, 1), "a", "g", &[]);
    newer.consumers[0].subscriptions = Some(vec![subscription("t", 2)]);
    assert_eq!(all.register(now(100), newer.clone()), (true, Ok(())));
    assert_eq!(all.next_notice_ms(), None);
    newer.consumers[0].subscriptions = Some(vec![subscription("t", 1)]);
    assert_eq!(
        all.register(now(101), newer),
        (false, Ok(())),
        "older ones are ignored"
    );
    assert_eq!(
        all.snapshot().consumers("g").expect("there").subscriptions["t"].version,
        2
    );
    all.register(now(102), consumer(id(0, 1), "a", "g", &["t", "u"]))
        .1
        .expect("registers");
    assert_eq!(notices(&mut all, 152), ["g"]);
    all.register(now(153), consumer(id(0, 1), "a", "g", &["u"]))
        .1
        .expect("registers");
    assert_eq!(notices(&mut all, 203), ["g"]);
    let view = all.snapshot();
    let topics = view.consumers("g").expect("there").subscriptions.keys();
    assert_eq!(topics.map(|topic| &**topic).collect::<Vec<_>>(), ["u"]);
}

#[test]
fn a_heartbeat_without_subscriptions_keeps_those_before() {
    let mut all = clients();
    let mut beat = consumer(id(0, 1), "a", "g", &["t"]);
    beat.consumers[0].fingerprint = 7;
    all.register(now(0), beat.clone()).1.expect("registers");
    beat.consumers[0].subscriptions = None;
    assert_eq!(all.register(now(1), beat), (false, Ok(())));
    let view = all.snapshot();
    let group = view.consumers("g").expect("there");
    assert!(group.subscriptions.contains_key("t"));
    assert_eq!(group.member(id(0, 1)).expect("in").fingerprint, 7);
}

#[test]
fn silent_connections_leave_and_beating_ones_do_not() {
    let mut all = clients();
    all.register(now(0), consumer(id(0, 1), "a", "g", &["t"]))
        .1
        .expect("registers");
    all.register(now(0), consumer(id(0, 2), "b", "g", &["t"]))
        .1
        .expect("registers");
    all.register(now(0), producer(id(0, 1), "a", "p"))
        .1
        .expect("registers");
    notices(&mut all, 1_000);
    all.beat(now(90_000), id(0, 2), &["g".into()], &[]);
    assert_eq!(all.expire(now(119_999)), 0);
    assert_eq!(all.expire(now(120_000)), 2);
    assert_eq!(ids(&mut all, "g"), ["b"]);
    assert_eq!(notices(&mut all, 120_050), ["g"]);
    assert!(all.snapshot().producers("p").is_none());
    assert!(all.snapshot().connections("a").is_empty());
    assert_eq!(all.expire(now(210_000)), 1);
    assert_eq!(
        notices(&mut all, 300_000),
        [""; 0],
        "nobody is left to be told"
    );
}

#[test]
fn leaving_one_group_keeps_the_others() {
    let mut all = clients();
    let mut beat = consumer(id(0, 1), "a", "g", &["t"]);
    beat.producers = vec!["p".to_owned(), "q".to_owned()];
    all.register(now(0), beat).1.expect("registers");
    assert!(all.unregister(now(1), id(0, 1), Some("g"), Some("p")));
    assert!(!all.unregister(now(1), id(0, 1), Some("g"), Some("p")));
    let view = all.snapshot();
    assert!(view.consumers("g").is_none() && view.producers("p").is_none());
    assert_eq!(view.producers("q").map(|members| members.len()), Some(1));
    assert_eq!(view.connections("a"), [id(0, 1)]);
}

#[test]
fn a_connection_that_calls_itself_otherwise_is_another_client() {
    let mut all = clients();
    all.register(now(0), consumer(id(0, 1), "a", "g", &["t"]))
        .1
        .expect("registers");
    all.register(now(0), consumer(id(0, 1), "b", "h", &["t"]))
        .1
        .expect("registers");
    assert_eq!(ids(&mut all, "g"), [""; 0]);
    assert_eq!(ids(&mut all, "h"), ["b"]);
    assert!(all.snapshot().connections("a").is_empty());
}

#[test]
fn each_client_is_told_once_but_processes_with_one_id_each() {
    let mut all = clients();
    for shard in 0..3 {
        all.register(now(0), consumer(id(shard, 1), "a", "g", &["t"]))
            .1
            .expect("registers");
        all.register(now(0), consumer(id(shard, 2), "b", "g", &["t"]))
            .1
            .expect("registers");
    }
    // A second process that calls itself b.
    all.register(now(0), consumer(id(1, 9), "b", "g", &["t"]))
        .1
        .expect("registers");
    let view = all.snapshot();
    let group = view.consumers("g").expect("there");
    let targets = group.notice_targets(|_| true);
    assert_eq!(targets.values().map(Vec::len).sum::<usize>(), 3);
    assert!(targets[&1].contains(&2) && targets[&1].contains(&9));
    let without = group.notice_targets(|shard| shard != 1);
    assert_eq!(without.values().map(Vec::len).sum::<usize>(), 2);
    assert!(!without.contains_key(&1));
    assert!(group.notice_targets(|_| false).is_empty());
}

#[test]
fn the_bounds_hold_and_what_is_refused_leaves_the_rest_in() {
    let limits = ClientLimits {
        connections_max: 2,
        memberships_max: 3,
        connection_groups_max: 2,
        subscriptions_max: 1,
        ..ClientLimits::default()
    };
    let mut all = Clients::new(limits, 0, now(0));
    let code =
        |outcome: (bool, Result<(), ControlError>)| (outcome.0, outcome.1.map_err(|e| e.code));
    let topics = consumer(id(0, 1), "a", "g", &["t", "u"]);
    assert_eq!(
        code(all.register(now(0), topics)),
        (false, Err(ErrorCode::InvalidRequest))
    );
    assert!(
        all.snapshot().connections("a").is_empty(),
        "nothing is left behind"
    );
    let mut groups = consumer(id(0, 1), "a", "g", &["t"]);
    groups.producers = vec!["p".to_owned(), "q".to_owned()];
    assert_eq!(
        code(all.register(now(0), groups)),
        (true, Err(ErrorCode::Busy))
    );
    assert_eq!(ids(&mut all, "g"), ["a"]);
    assert!(all.snapshot().producers("q").is_none());
    let third = consumer(id(0, 2), "b", "g", &["t"]);
    assert_eq!(code(all.register(now(0), third.clone())), (true, Ok(())));
    assert_eq!(
        code(all.register(now(0), third)),
        (false, Ok(())),
        "who is in may beat"
    );
    let fourth = producer(id(0, 2), "b", "p");
    assert_eq!(
        code(all.register(now(0), fourth)),
        (false, Err(ErrorCode::Busy))
    );
    let connection = producer(id(0, 3), "c", "p");
    assert_eq!(
        code(all.register(now(0), connection)),
        (false, Err(ErrorCode::Busy))
    );
    for (name, wanted) in [
        ("a b", ErrorCode::InvalidName),
        ("", ErrorCode::InvalidName),
    ] {
        all.closed(now(0), id(0, 2));
        let beat = consumer(id(0, 2), "b", name, &["t"]);
        assert_eq!(code(all.register(now(0), beat)), (false, Err(wanted)));
    }
    let nameless = consumer(id(0, 2), "", "g", &["t"]);
    assert_eq!(
        code(all.register(now(0), nameless)),
        (false, Err(ErrorCode::InvalidName))
    );
}
