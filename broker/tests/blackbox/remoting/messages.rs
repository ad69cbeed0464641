//! Sends and pulls of real clients played again, and ports and limits that their messages meet.

use std::net::{SocketAddr, TcpListener};

use ringmq_wire::batch::{BatchBuilder, BatchOptions, Record};
use ringmq_wire::native::schema::{GroupJoinRequestT, SubscriptionT};
use ringmq_wire::remoting::batch::InnerMessages;
use ringmq_wire::remoting::body::stats::ResetOffsets;
use ringmq_wire::remoting::message::StoredMessages;
use ringmq_wire::remoting::{Command, body, properties, request_code as code, response_code};

use super::captures::{self, Asked};
use super::client::{Client, pull, send};
use crate::ask;
use crate::harness::{Broker, scratch};
use crate::wire::Wire;

/// What a program sent: topic, queue, and each message's properties and body.
struct Sent {
    topic: String,
    queue: String,
    messages: Vec<(String, Vec<u8>)>,
}

impl Sent {
    fn of(asked: &Asked) -> Self {
        let is_short = asked.command.code != code::SEND_MESSAGE;
        let field = |long: &str, short: &str| {
            let name = if is_short { short } else { long };
            asked.command.get(name).unwrap_or_default().to_owned()
        };
        let messages = if field("batch", "m") == "true" {
            InnerMessages::new(&asked.body)
                .map(|inner| {
                    let inner = inner.expect("an inner message");
                    (inner.properties.to_owned(), inner.body.to_vec())
                })
                .collect()
        } else {
            vec![(field("properties", "i"), asked.body.clone())]
        };
        Self {
            topic: field("topic", "b"),
            queue: field("queueId", "e"),
            messages,
        }
    }

    /// The queue's messages from the start, as this program's consumer would get them: with its own pull, if one was
    /// captured.
    fn pull(&self, client: &mut Client, pulls: &[Asked], program: &str) -> Vec<(String, Vec<u8>)> {
        let own = pulls.iter().find(|pull| pull.program == program);
        let template = own.unwrap_or(&pulls[0]);
        let mut command = Command::request(template.command.code, 0);
        for (name, value) in &template.command.fields {
            let value = match &**name {
                "topic" => self.topic.clone(),
                "queueId" => self.queue.clone(),
                "queueOffset" | "commitOffset" | "suspendTimeoutMillis" => "0".to_owned(),
                // The expression is in the pull: nobody sent a heartbeat here.
                "sysFlag" => "4".to_owned(),
                "subscription" => "*".to_owned(),
                "expressionType" => "TAG".to_owned(),
                _ => value.clone(),
            };
            command.fields.push((name.clone(), value));
        }
        if command.get("subscription").is_none() {
            command = command.field("subscription", "*");
        }
        let (answer, bytes) = client.ask(command, &[]);
        assert_eq!(answer.code, response_code::SUCCESS, "{:?}", answer.remark);
        let found = StoredMessages::new(&bytes).map(|message| {
            let message = message.expect("a message");
            (message.properties.to_owned(), message.body.to_vec())
        });
        found.collect()
    }
}

#[test]
fn what_real_producers_sent_real_consumers_pulls_find() {
    let home = scratch();
    let broker = Broker::dev(&home.path().join("data"), &[]);
    let mut client = Client::connect(broker.shards[0]);
    let sends = [
        code::SEND_MESSAGE,
        code::SEND_MESSAGE_V2,
        code::SEND_BATCH_MESSAGE,
    ];
    let pulls = captures::asked(&[code::PULL_MESSAGE, code::LITE_PULL_MESSAGE]);
    assert!(pulls.len() > 4, "the fixture is cut");
    let mut played = 0;
    for asked in captures::asked(&sends) {
        let sent = Sent::of(&asked);
        let before = sent_before(&mut client, &sent);
        let (answer, _) = client.ask(asked.command.clone(), &asked.body);
        assert_eq!(answer.code, response_code::SUCCESS, "{:?}", answer.remark);
        assert_eq!(answer.get("queueOffset"), Some(&*before.to_string()));
        let ids = answer.get("msgId").expect("an id").split(',');
        assert_eq!(ids.count(), sent.messages.len());
        let found = sent.pull(&mut client, &pulls, asked.program);
        let found = &found[before..];
        assert_eq!(found.len(), sent.messages.len(), "{}", asked.program);
        for ((text, bytes), (sent_text, sent_bytes)) in found.iter().zip(&sent.messages) {
            assert_eq!(bytes, sent_bytes);
            for (name, value) in properties::pairs(sent_text) {
                assert_eq!(properties::get(text, name), Some(value), "{name}");
            }
        }
        played += 1;
    }
    assert!(played >= 6, "the fixture is cut: {played}");
}

/// Messages in the queue that the send goes to.
fn sent_before(client: &mut Client, sent: &Sent) -> usize {
    let command = Command::request(code::GET_MAX_OFFSET, 0)
        .field("topic", &sent.topic)
        .field("queueId", &sent.queue);
    let (answer, _) = client.ask(command, &[]);
    let offset: u32 = answer.required("offset").expect("a number");
    offset as usize
}

/// A port that is free, and so is the one two below it.
fn free_port() -> u16 {
    for _ in 0..100 {
        let first = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = first.local_addr().expect("bound").port();
        if TcpListener::bind(("127.0.0.1", port - 2)).is_ok() {
            return port;
        }
    }
    panic!("no two free ports side by side");
}

#[test]
fn the_port_two_below_serves_the_same() {
    let home = scratch();
    let port = free_port();
    let fixed = port.to_string();
    let broker = Broker::dev(&home.path().join("data"), &["--port", &fixed]);
    assert_eq!(broker.shards[0].port(), port);
    let below = SocketAddr::new(broker.shards[0].ip(), port - 2);
    let (answer, _) = Client::connect(below).ask(send("vip", 0), b"by the side door");
    assert_eq!(answer.code, response_code::SUCCESS, "{:?}", answer.remark);
    for address in [below, broker.shards[0]] {
        let (answer, bytes) = Client::connect(address).ask(pull("vip", "readers", 0), &[]);
        assert_eq!(answer.code, response_code::SUCCESS, "{:?}", answer.remark);
        let message = StoredMessages::new(&bytes).next().expect("one");
        let message = message.expect("a message");
        assert_eq!(message.body, b"by the side door");
        // Clients are told the shard's own port, whichever they came by.
        assert_eq!(message.store_host.port, u32::from(port));
    }
    // Killed and started again at once: the port may still be the old process's for a moment.
    broker.kill();
    let broker = Broker::dev(&home.path().join("data"), &["--port", &fixed]);
    assert_eq!(broker.shards[0].port(), port);
}

#[test]
fn a_native_message_over_the_limit_of_properties_does_not_stop_its_readers() {
    let home = scratch();
    let broker = Broker::dev(&home.path().join("data"), &[]);
    let mut wire = Wire::connect(broker.shards[0]);
    wire.create("wide", 1, false).expect("made");
    let long = "x".repeat(32_700);
    let many: Vec<(&str, &str)> = vec![
        ("first", "1"),
        ("long", &long),
        ("second", &long),
        ("last", "2"),
    ];
    let record = Record {
        born_time_ms: 1,
        keys: &["key"],
        tag: "tag",
        properties: &many,
        envelope: None,
        body: b"wide",
    };
    let mut builder = BatchBuilder::new();
    assert!(builder.push(&record).is_err(), "ours do not send it");
    // As a producer of an older release, or of somebody else, would.
    builder.push_at(0, &record).expect("small");
    let batch = builder.finish(&BatchOptions::default()).expect("small");
    wire.produce("wide", 0, &batch).expect("stored");
    let (answer, bytes) = Client::connect(broker.shards[0]).ask(pull("wide", "readers", 0), &[]);
    assert_eq!(answer.code, response_code::SUCCESS, "{:?}", answer.remark);
    assert_eq!(answer.get("nextBeginOffset"), Some("1"));
    let message = StoredMessages::new(&bytes).next().expect("one");
    let message = message.expect("a message");
    let get = |name| properties::get(message.properties, name);
    assert_eq!(message.body, b"wide");
    assert_eq!((get("KEYS"), get("TAGS")), (Some("key"), Some("tag")));
    assert_eq!((get("first"), get("last")), (Some("1"), Some("2")));
    assert_eq!(get("RINGMQ_LEFT_OUT"), Some("2"));
    assert!(get("UNIQ_KEY").is_some());
}

/// RocketMQ's clients commit what they have when they hear of nothing; a reset must not drown in that.
#[test]
fn a_reset_holds_until_the_consumer_has_heard_of_it() {
    let home = scratch();
    let broker = Broker::dev(&home.path().join("data"), &[]);
    let mut client = Client::connect(broker.shards[0]);
    for _ in 0..5 {
        let (answer, _) = client.ask(send("t", 0), b"x");
        assert_eq!(answer.code, response_code::SUCCESS, "{:?}", answer.remark);
    }
    let (answer, _) = client.ask(pull("t", "g", 0), &[]);
    assert_eq!(answer.code, response_code::SUCCESS);
    let about = |code: i32| {
        Command::request(code, 0)
            .field("consumerGroup", "g")
            .field("topic", "t")
            .field("queueId", 0)
    };
    let commit = |offset: i32| about(code::UPDATE_CONSUMER_OFFSET).field("commitOffset", offset);
    let committed = |client: &mut Client| {
        let (answer, _) = client.ask(about(code::QUERY_CONSUMER_OFFSET), &[]);
        answer.get("offset").map(str::to_owned)
    };
    // Gathered, and still to be written when the reset comes.
    client.send(commit(4).oneway(), &[]);
    let reset = Command::request(code::INVOKE_BROKER_TO_RESET_OFFSET, 0)
        .field("topic", "t")
        .field("group", "g")
        .field("timestamp", 0)
        .field("isForce", true);
    let (answer, bytes) = client.ask(reset, &[]);
    assert_eq!(answer.code, response_code::SUCCESS, "{:?}", answer.remark);
    let set: ResetOffsets = body::decode(&bytes).expect("offsets");
    assert!(set.offsets.0.iter().all(|(_, offset)| *offset == 0));
    for late in [commit(5).oneway(), commit(5)] {
        let is_oneway = late.is_oneway();
        let number = client.send(late, &[]);
        if !is_oneway {
            assert_eq!(client.answer_to(number).0.code, response_code::SUCCESS);
        }
    }
    assert_eq!(committed(&mut client).as_deref(), Some("0"));
    let (told, _) = client.ask(pull("t", "g", 5), &[]);
    assert_eq!(told.code, response_code::PULL_OFFSET_MOVED);
    assert_eq!(told.remark.as_deref(), Some("OFFSET_RESET"));
    assert_eq!(told.get("nextBeginOffset"), Some("0"));
    // From here on its word counts again.
    let (answer, _) = client.ask(pull("t", "g", 0), &[]);
    assert_eq!(answer.code, response_code::SUCCESS);
    let (answer, _) = client.ask(commit(3), &[]);
    assert_eq!(answer.code, response_code::SUCCESS);
    assert_eq!(committed(&mut client).as_deref(), Some("3"));
}

/// A queue that is younger than its group is read from its start, however much is in it by now.
#[test]
fn a_group_that_was_there_before_the_queue_begins_at_its_start() {
    let home = scratch();
    let directory = home.path().join("data");
    // Nothing stays in memory, so that only age can be the reason.
    let small = ["--set", "storage.cache_bytes=1048576"];
    let broker = Broker::dev(&directory, &small);
    let mut client = Client::connect(broker.shards[0]);
    client.ask(send("old", 0), b"x");
    let (answer, _) = client.ask(pull("old", "early", 0), &[]);
    assert_eq!(answer.code, response_code::SUCCESS, "the group is there");
    client.ask(send("young", 0), b"x");
    client.ask(pull("young", "late", 0), &[]);
    for topic in ["old", "young"] {
        for _ in 0..40 {
            let (answer, _) = client.ask(send(topic, 0), &vec![7; 100_000]);
            assert_eq!(answer.code, response_code::SUCCESS, "{:?}", answer.remark);
        }
    }
    broker.stop();
    let broker = Broker::dev(&directory, &small);
    let mut client = Client::connect(broker.shards[0]);
    let mut first = |group: &str, topic: &str| {
        let command = Command::request(code::QUERY_CONSUMER_OFFSET, 0)
            .field("consumerGroup", group)
            .field("topic", topic)
            .field("queueId", 0);
        let (answer, _) = client.ask(command, &[]);
        (answer.code, answer.get("offset").map(str::to_owned))
    };
    let zero = (response_code::SUCCESS, Some("0".to_owned()));
    assert_eq!(first("early", "young"), zero);
    assert_eq!(first("early", "old").0, response_code::QUERY_NOT_FOUND);
    assert_eq!(first("late", "young").0, response_code::QUERY_NOT_FOUND);
}

#[test]
fn pulls_and_commits_are_refused_for_a_group_of_native_members() {
    let home = scratch();
    let broker = Broker::dev(&home.path().join("data"), &[]);
    let mut client = Client::connect(broker.shards[0]);
    client.ask(send("t", 0), b"x");
    let (answer, _) = client.ask(pull("t", "g", 0), &[]);
    assert_eq!(answer.code, response_code::SUCCESS, "nobody is in it yet");
    let mut wire = Wire::connect(broker.shards[0]);
    let mut subscription = SubscriptionT::default();
    subscription.topic = "t".to_owned();
    let mut join = GroupJoinRequestT::default();
    join.group = "g".to_owned();
    join.member = "native".to_owned();
    join.subscriptions = Some(vec![subscription]);
    join.session_timeout_ms = 60_000;
    ask!(wire, GroupJoin, GroupJoinResponse, &join).expect("joins");
    let commit = Command::request(code::UPDATE_CONSUMER_OFFSET, 0)
        .field("consumerGroup", "g")
        .field("topic", "t")
        .field("queueId", 0)
        .field("commitOffset", 1);
    for refused in [pull("t", "g", 0), commit] {
        let (answer, _) = client.ask(refused, &[]);
        assert_eq!(answer.code, response_code::NO_PERMISSION);
        let remark = answer.remark.expect("why");
        assert!(remark.contains("native"), "{remark}");
    }
}
