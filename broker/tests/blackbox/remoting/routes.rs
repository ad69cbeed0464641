//! What RocketMQ's clients learn from the name server while brokers and topics come and go.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ringmq_wire::remoting::body::groups::ConsumerIds;
use ringmq_wire::remoting::body::heartbeat::{ConsumerData, Heartbeat, Subscription};
use ringmq_wire::remoting::{Command, body, request_code as code, response_code};
use rustix::process::Signal;

use super::client::{Client, is_written, pull, route, send};
use crate::harness::{Broker, scratch, until};

fn name_server(broker: &Broker) -> Client {
    Client::connect(broker.namesrv.parse().expect("an address"))
}

#[test]
fn a_first_message_makes_its_topic_on_all_shards_at_once() {
    const SHARDS: usize = 4;
    let home = scratch();
    let shards = SHARDS.to_string();
    let broker = Broker::dev(&home.path().join("data"), &["--shards", &shards]);
    let mut names = name_server(&broker);
    for round in 0..8 {
        let topic = format!("first-{round}");
        let done = Arc::new(AtomicBool::new(false));
        let (mut watching, asked, stop) = (name_server(&broker), topic.clone(), done.clone());
        // Another client, which asks all the time.
        let watcher = std::thread::spawn(move || {
            let mut seen = BTreeSet::new();
            while !stop.load(Ordering::Acquire) {
                seen.extend(route(&mut watching, &asked).map(|route| route.brokers.len()));
            }
            seen
        });
        let mut client = Client::connect(broker.shards[round % SHARDS]);
        let (answer, _) = client.ask(send(&topic, 0), b"the first");
        assert_eq!(answer.code, response_code::SUCCESS, "{:?}", answer.remark);
        let after = route(&mut names, &topic).expect("known before the answer");
        assert_eq!(after.brokers.len(), SHARDS);
        done.store(true, Ordering::Release);
        let seen = watcher.join().expect("every answer could be read");
        assert!(
            seen.iter().all(|brokers| *brokers == SHARDS),
            "{topic}: {seen:?}"
        );
    }
}

#[test]
fn a_node_that_takes_no_messages_says_so_and_leaves_the_routes_of_producers() {
    let home = scratch();
    let broker = Broker::dev(
        &home.path().join("data"),
        &["--shards", "2", "--set", "drain_ms=3600000"],
    );
    let mut names = name_server(&broker);
    let mut client = Client::connect(broker.shards[0]);
    let mut other = Client::connect(broker.shards[1]);
    let code_of = |client: &mut Client| client.ask(send("t", 0), b"x").0.code;
    assert_eq!(code_of(&mut client), response_code::SUCCESS);
    let mut is_written = || route(&mut names, "t").as_ref().map(is_written);
    assert_eq!(is_written(), Some(true));
    // Taken away by an operator, and given back. One shard is asked; both do it.
    for (permission, code_wanted) in [
        (4, response_code::SERVICE_NOT_AVAILABLE),
        (6, response_code::SUCCESS),
    ] {
        let update = Command::request(code::UPDATE_BROKER_CONFIG, 0);
        let text = format!("brokerPermission={permission}\n");
        let (answer, _) = client.ask(update, text.as_bytes());
        assert_eq!(answer.code, response_code::SUCCESS, "{:?}", answer.remark);
        until("both shards do as they were told", || {
            code_of(&mut client) == code_wanted && code_of(&mut other) == code_wanted
        });
        let writes = permission == 6;
        until("so do the routes", || is_written() == Some(writes));
    }
    // A node that is about to stop.
    broker.signal(Signal::TERM);
    until("it takes no messages", || {
        code_of(&mut client) == response_code::SERVICE_NOT_AVAILABLE
    });
    until("only readers still find it", || is_written() == Some(false));
    // Twice: do not wait for the clients.
    broker.signal(Signal::TERM);
    assert_eq!(broker.wait().code(), Some(0));
}

#[test]
fn making_by_use_is_switched_off_and_on_for_the_whole_node() {
    let home = scratch();
    let broker = Broker::dev(&home.path().join("data"), &["--shards", "2"]);
    let mut clients = broker.shards.clone().into_iter().map(Client::connect);
    let (mut client, mut other) = (clients.next().expect("two"), clients.next().expect("two"));
    let update = |client: &mut Client, text: &str| {
        let command = Command::request(code::UPDATE_BROKER_CONFIG, 0);
        client.ask(command, text.as_bytes()).0
    };
    let off = "autoCreateTopicEnable=false\nautoCreateSubscriptionGroup=false\n";
    assert_eq!(update(&mut client, off).code, response_code::SUCCESS);
    let (answer, _) = other.ask(send("none", 0), b"x");
    assert_eq!(answer.code, response_code::TOPIC_NOT_EXIST);
    let (answer, _) = other.ask(pull("TBW102", "none", 0), &[]);
    assert_eq!(answer.code, response_code::SUBSCRIPTION_GROUP_NOT_EXIST);
    let (_, shown) = other.ask(Command::request(code::GET_BROKER_CONFIG, 0), &[]);
    assert!(String::from_utf8_lossy(&shown).contains("autoCreateTopicEnable=false"));
    // One that cannot be changed: nothing is.
    let mixed = update(&mut client, "autoCreateTopicEnable=true\nlistenPort=1\n");
    assert_eq!(mixed.code, response_code::INVALID_PARAMETER);
    let (answer, _) = other.ask(send("none", 0), b"x");
    assert_eq!(answer.code, response_code::TOPIC_NOT_EXIST);
    let on = "autoCreateTopicEnable=true\n";
    assert_eq!(update(&mut client, on).code, response_code::SUCCESS);
    let (answer, _) = other.ask(send("none", 0), b"x");
    assert_eq!(answer.code, response_code::SUCCESS, "{:?}", answer.remark);
}

#[test]
fn a_client_that_falls_silent_leaves_its_groups() {
    let home = scratch();
    let broker = Broker::dev(
        &home.path().join("data"),
        &["--set", "groups.client_expiry_ms=1000"],
    );
    let beat = |client: &mut Client, id: &str| {
        let heartbeat = Heartbeat {
            client_id: id.to_owned(),
            consumers: vec![ConsumerData {
                group: "readers".to_owned(),
                subscriptions: vec![Subscription {
                    topic: "t".to_owned(),
                    version: 1,
                    ..Subscription::default()
                }],
                ..ConsumerData::default()
            }],
            ..Heartbeat::default()
        };
        let command = Command::request(code::HEART_BEAT, 0);
        let (answer, _) = client.ask(command, &body::encode(&heartbeat));
        assert_eq!(answer.code, response_code::SUCCESS, "{:?}", answer.remark);
    };
    let mut silent = Client::connect(broker.shards[0]);
    let mut alive = Client::connect(broker.shards[0]);
    beat(&mut silent, "silent");
    beat(&mut alive, "alive");
    let list =
        Command::request(code::GET_CONSUMER_LIST_BY_GROUP, 0).field("consumerGroup", "readers");
    let mut ids = Vec::new();
    // It keeps its connection, and even asks for things: only heartbeats count.
    until("the silent one is gone", || {
        beat(&mut alive, "alive");
        let (answer, bytes) = silent.ask(list.clone(), &[]);
        assert_eq!(answer.code, response_code::SUCCESS, "the other is there");
        let listed: ConsumerIds = body::decode(&bytes).expect("ids");
        ids = listed.ids;
        ids == ["alive"]
    });
    alive.request(code::NOTIFY_CONSUMER_IDS_CHANGED);
    beat(&mut silent, "silent");
    let (_, bytes) = alive.ask(list, &[]);
    let listed: ConsumerIds = body::decode(&bytes).expect("ids");
    assert_eq!(listed.ids, ["alive", "silent"], "it may come back");
}
