//! Several clients of one group, over all shards of a node: who is in, who is told, who has which queue.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use ringmq_wire::remoting::body::connections::{ConsumerConnections, ProducerConnections};
use ringmq_wire::remoting::body::groups::ConsumerIds;
use ringmq_wire::remoting::body::heartbeat::{ConsumerData, Heartbeat, ProducerData, Subscription};
use ringmq_wire::remoting::body::locks::{LockAnswer, LockRequest, MessageQueue};
use ringmq_wire::remoting::body::{self};
use ringmq_wire::remoting::{Command, request_code as code, response_code};

use super::client::{Client, Frame};
use crate::harness::{Broker, scratch};

const GROUP: &str = "readers";

/// A process with a connection to each shard.
struct Process {
    id: String,
    connections: Vec<Client>,
}

impl Process {
    fn new(broker: &Broker, id: &str) -> Self {
        Self {
            id: id.to_owned(),
            connections: broker.shards.iter().map(|a| Client::connect(*a)).collect(),
        }
    }

    fn heartbeat(&self, group: &str, topics: &[&str]) -> Heartbeat {
        let subscriptions = topics.iter().map(|topic| Subscription {
            topic: (*topic).to_owned(),
            version: 1,
            ..Subscription::default()
        });
        Heartbeat {
            client_id: self.id.clone(),
            consumers: vec![ConsumerData {
                group: group.to_owned(),
                subscriptions: subscriptions.collect(),
                ..ConsumerData::default()
            }],
            producers: vec![ProducerData {
                group: "CLIENT_INNER_PRODUCER".to_owned(),
            }],
            ..Heartbeat::default()
        }
    }

    /// Beats on every shard, as clients do.
    fn beat(&mut self, group: &str, topics: &[&str]) {
        let heartbeat = self.heartbeat(group, topics);
        for connection in &mut self.connections {
            let (answer, _) = beat(connection, &heartbeat);
            assert_eq!(answer.code, response_code::SUCCESS, "{:?}", answer.remark);
        }
    }

    /// Waits until one of its connections is told of a change, and counts how many were.
    fn is_told(&mut self) -> usize {
        let deadline = std::time::Instant::now() + crate::harness::PATIENCE;
        loop {
            let told = self.take_notices();
            if told > 0 {
                return told;
            }
            assert!(
                std::time::Instant::now() < deadline,
                "{} is not told",
                self.id
            );
        }
    }

    /// Forgets what it was told so far, once no more comes.
    fn quiet(&mut self) {
        while self.take_notices() > 0 {}
    }

    fn take_notices(&mut self) -> usize {
        let mut told = 0;
        for connection in &mut self.connections {
            connection.listen(Duration::from_millis(120));
            for (command, _) in std::mem::take(&mut connection.requests) {
                assert_eq!(command.code, code::NOTIFY_CONSUMER_IDS_CHANGED);
                assert!(command.is_oneway());
                assert_eq!(command.get("consumerGroup"), Some(GROUP));
                told += 1;
            }
        }
        told
    }
}

fn beat(connection: &mut Client, heartbeat: &Heartbeat) -> Frame {
    let command = Command::request(code::HEART_BEAT, 0);
    connection.ask(command, &body::encode(heartbeat))
}

fn ids(address: SocketAddr, group: &str) -> Result<Vec<String>, Command> {
    let command =
        Command::request(code::GET_CONSUMER_LIST_BY_GROUP, 0).field("consumerGroup", group);
    let (answer, bytes) = Client::connect(address).ask(command, &[]);
    if answer.code != response_code::SUCCESS {
        return Err(answer);
    }
    Ok(body::decode::<ConsumerIds>(&bytes).expect("a list").ids)
}

/// What every shard says, which must be the same.
fn members(broker: &Broker) -> Vec<String> {
    let said: BTreeSet<Vec<String>> = broker
        .shards
        .iter()
        .map(|address| ids(*address, GROUP).unwrap_or_default())
        .collect();
    assert_eq!(said.len(), 1, "{said:?}");
    said.into_iter().next().expect("one")
}

fn node(directory: &std::path::Path, shards: &str) -> Broker {
    Broker::dev(directory, &["--shards", shards])
}

#[test]
fn members_come_and_go_and_all_shards_agree() {
    let home = scratch();
    let broker = node(&home.path().join("data"), "3");
    let (mut a, mut b) = (Process::new(&broker, "a"), Process::new(&broker, "b"));
    let unknown = ids(broker.shards[1], GROUP).expect_err("nobody is there");
    assert_eq!(unknown.code, response_code::SYSTEM_ERROR);
    assert_eq!(
        unknown.remark.as_deref(),
        Some("no consumer for this group, readers")
    );

    b.beat(GROUP, &["t"]);
    assert_eq!(members(&broker), ["b"]);
    b.is_told();
    b.quiet();
    a.beat(GROUP, &["t"]);
    assert_eq!(members(&broker), ["a", "b"]);
    assert_eq!((a.is_told(), b.is_told()), (1, 1), "once each");
    // Heartbeats that say nothing new are nobody's business.
    a.beat(GROUP, &["t"]);
    assert_eq!((a.take_notices(), b.take_notices()), (0, 0));
    a.beat(GROUP, &["t", "u"]);
    assert_eq!((a.is_told(), b.is_told()), (1, 1), "another topic");

    // Leaving is said on every connection, and is over with the last one.
    for (index, connection) in a.connections.iter_mut().enumerate() {
        assert_eq!(members(&broker), ["a", "b"], "before {index}");
        let command = Command::request(code::UNREGISTER_CLIENT, 0)
            .field("clientID", "a")
            .field("consumerGroup", GROUP);
        let (answer, _) = connection.ask(command, &[]);
        assert_eq!(answer.code, response_code::SUCCESS);
    }
    assert_eq!(members(&broker), ["b"]);
    b.is_told();
    a.beat(GROUP, &["t", "u"]);
    b.is_told();
    // A process that is killed says nothing.
    drop(a);
    b.is_told();
    assert_eq!(members(&broker), ["b"]);
}

#[test]
fn two_processes_with_one_id_are_both_told() {
    let home = scratch();
    let broker = node(&home.path().join("data"), "1");
    let (mut a, mut twin) = (Process::new(&broker, "a"), Process::new(&broker, "a"));
    a.beat(GROUP, &["t"]);
    twin.beat(GROUP, &["t"]);
    assert_eq!(members(&broker), ["a"]);
    a.quiet();
    twin.quiet();
    let mut b = Process::new(&broker, "b");
    b.beat(GROUP, &["t"]);
    assert_eq!((a.is_told(), twin.is_told(), b.is_told()), (1, 1, 1));
    drop(a);
    assert_eq!(members(&broker), ["a", "b"]);
}

#[test]
fn connections_are_listed_with_what_they_read() {
    let home = scratch();
    let broker = node(&home.path().join("data"), "2");
    let mut admin = Client::connect(broker.shards[1]);
    let list = |admin: &mut Client| {
        let command =
            Command::request(code::GET_CONSUMER_CONNECTION_LIST, 0).field("consumerGroup", GROUP);
        admin.ask(command, &[])
    };
    let (offline, _) = list(&mut admin);
    assert_eq!(offline.code, response_code::CONSUMER_NOT_ONLINE);
    let mut a = Process::new(&broker, "a");
    a.beat(GROUP, &["t"]);
    let (answer, bytes) = list(&mut admin);
    assert_eq!(answer.code, response_code::SUCCESS);
    let listed: ConsumerConnections = body::decode(&bytes).expect("a list");
    assert_eq!(listed.connections.len(), 1, "one stands for the client");
    assert_eq!(listed.connections[0].client_id, "a");
    assert_eq!(listed.connections[0].language, "JAVA");
    assert!(listed.subscriptions.contains_key("t"));

    let producers = Command::request(code::GET_PRODUCER_CONNECTION_LIST, 0)
        .field("producerGroup", "CLIENT_INNER_PRODUCER");
    let (answer, bytes) = admin.ask(producers, &[]);
    assert_eq!(answer.code, response_code::SUCCESS);
    let listed: ProducerConnections = body::decode(&bytes).expect("a list");
    assert_eq!(listed.connections.len(), 1);
    let (answer, bytes) = admin.ask(Command::request(code::GET_ALL_PRODUCER_INFO, 0), &[]);
    assert_eq!(answer.code, response_code::SUCCESS);
    let text = String::from_utf8(bytes).expect("JSON");
    assert!(
        text.starts_with(r#"{"data":{"CLIENT_INNER_PRODUCER":[{"clientId":"a","#),
        "{text}"
    );
}

#[test]
fn what_is_asked_of_a_member_goes_over_any_shard_to_it() {
    let home = scratch();
    let broker = node(&home.path().join("data"), "2");
    let mut member = Client::connect(broker.shards[0]);
    let process = Process::new(&broker, "a");
    beat(&mut member, &process.heartbeat(GROUP, &["t"]));
    for shard in &broker.shards {
        let mut admin = Client::connect(*shard);
        let ask = |client: &str| {
            Command::request(code::GET_CONSUMER_RUNNING_INFO, 0)
                .field("consumerGroup", GROUP)
                .field("clientId", client)
                .field("jstackEnable", false)
        };
        let (offline, _) = admin.ask(ask("b"), &[]);
        assert_eq!(offline.code, response_code::SYSTEM_ERROR);
        let opaque = admin.send(ask("a"), &[]);
        let (asked, _) = member.request(code::GET_CONSUMER_RUNNING_INFO);
        assert_eq!(asked.get("clientId"), Some("a"));
        member.answer(Command::response(0, asked.opaque), b"{\"fine\":true}");
        let (answer, bytes) = admin.answer_to(opaque);
        assert_eq!(
            (answer.code, bytes.as_slice()),
            (0, &b"{\"fine\":true}"[..])
        );
        // Where is the group?
        let command = Command::request(code::INVOKE_BROKER_TO_GET_CONSUMER_STATUS, 0)
            .field("topic", "t")
            .field("group", GROUP);
        let opaque = admin.send(command, &[]);
        let (asked, _) = member.request(code::GET_CONSUMER_STATUS_FROM_CLIENT);
        assert_eq!(
            (asked.get("topic"), asked.get("group")),
            (Some("t"), Some(GROUP))
        );
        let table = br#"{"messageQueueTable":{{"brokerName":"b","queueId":0,"topic":"t"}:5}}"#;
        member.answer(Command::response(0, asked.opaque), table);
        let (answer, bytes) = admin.answer_to(opaque);
        assert_eq!(answer.code, 0);
        let wanted = r#"{"consumerTable":{"a":{{"brokerName":"b","queueId":0,"topic":"t"}:5}},"messageQueueTable":{}}"#;
        assert_eq!(String::from_utf8_lossy(&bytes), wanted);
    }
    // One that goes away while it is asked.
    let mut admin = Client::connect(broker.shards[1]);
    let command = Command::request(code::GET_CONSUMER_RUNNING_INFO, 0)
        .field("consumerGroup", GROUP)
        .field("clientId", "a");
    let opaque = admin.send(command, &[]);
    member.request(code::GET_CONSUMER_RUNNING_INFO);
    drop(member);
    assert_eq!(admin.answer_to(opaque).0.code, response_code::SYSTEM_ERROR);
}

/// A tool has a member consume one stored message: the member gets the very bytes, and its verdict comes back.
#[test]
fn a_member_consumes_one_stored_message_when_asked_to() {
    let home = scratch();
    let broker = node(&home.path().join("data"), "1");
    let mut member = Client::connect(broker.shards[0]);
    let process = Process::new(&broker, "a");
    beat(&mut member, &process.heartbeat(GROUP, &["t"]));
    let mut admin = Client::connect(broker.shards[0]);
    let send = Command::request(code::SEND_MESSAGE, 0)
        .field("producerGroup", "p")
        .field("topic", "t")
        .field("defaultTopic", "TBW102")
        .field("defaultTopicQueueNums", 1)
        .field("queueId", 0)
        .field("sysFlag", 0)
        .field("bornTimestamp", 1)
        .field("flag", 7);
    let (sent, _) = admin.ask(send, b"a body");
    assert_eq!(sent.code, response_code::SUCCESS, "{:?}", sent.remark);
    let id = sent.get("msgId").expect("an id").to_owned();
    let ask = |id: &str| {
        Command::request(code::CONSUME_MESSAGE_DIRECTLY, 0)
            .field("consumerGroup", GROUP)
            .field("clientId", "a")
            .field("msgId", id)
    };
    let opaque = admin.send(ask(&id), &[]);
    let (asked, stored) = member.request(code::CONSUME_MESSAGE_DIRECTLY);
    assert_eq!(asked.get("msgId"), Some(id.as_str()));
    let shard = broker_name(&broker);
    assert_eq!(asked.get("brokerName"), Some(shard.as_str()));
    assert!(stored.windows(6).any(|bytes| bytes == b"a body"));
    member.answer(Command::response(0, asked.opaque), b"{\"order\":false}");
    let (answer, verdict) = admin.answer_to(opaque);
    assert_eq!(
        (answer.code, verdict.as_slice()),
        (0, &b"{\"order\":false}"[..])
    );
    let nowhere = format!("{}7FFFFFFFFFFFF000", &id[..id.len() - 16]);
    let (missing, _) = admin.ask(ask(&nowhere), &[]);
    assert_eq!(missing.code, response_code::SYSTEM_ERROR);
    let (nonsense, _) = admin.ask(ask("nonsense"), &[]);
    assert_eq!(nonsense.code, response_code::INVALID_PARAMETER);
}

fn lock(
    client: &mut Client,
    id: &str,
    queues: &[MessageQueue],
    release: bool,
) -> Vec<MessageQueue> {
    let request = LockRequest {
        client_id: id.to_owned(),
        group: GROUP.to_owned(),
        queues: queues.to_vec(),
        only_this_broker: false,
    };
    let number = if release {
        code::UNLOCK_BATCH_MQ
    } else {
        code::LOCK_BATCH_MQ
    };
    let (answer, bytes) = client.ask(Command::request(number, 0), &body::encode(&request));
    assert_eq!(answer.code, response_code::SUCCESS, "{:?}", answer.remark);
    if release {
        return Vec::new();
    }
    body::decode::<LockAnswer>(&bytes).expect("queues").queues
}

#[test]
fn a_queue_is_locked_by_one_client_and_kept_over_a_restart() {
    let home = scratch();
    let data = home.path().join("data");
    let broker = node(&data, "1");
    let retry = format!("%RETRY%{GROUP}");
    let mut a = Process::new(&broker, "a");
    a.beat(GROUP, &["t"]);
    let admin = &mut a.connections[0];
    let list =
        Command::request(code::GET_CONSUMER_CONNECTION_LIST, 0).field("consumerGroup", GROUP);
    admin.ask(list, &[]);
    let name = broker_name(&broker);
    let queue = |broker: &str, id| MessageQueue {
        broker_name: broker.to_owned(),
        queue_id: id,
        topic: retry.clone(),
    };
    let ours = [queue(&name, 0)];
    let wanted = [
        ours[0].clone(),
        queue(&name, 7),
        queue("elsewhere", 0),
        queue(&name, -1),
    ];
    let mut other = Client::connect(broker.shards[0]);
    assert_eq!(lock(&mut a.connections[0], "a", &wanted, false), ours);
    assert_eq!(lock(&mut other, "b", &wanted, false), []);
    assert_eq!(
        lock(&mut a.connections[0], "a", &wanted, false),
        ours,
        "again"
    );
    lock(&mut other, "b", &wanted, true);
    assert_eq!(
        lock(&mut other, "b", &wanted, false),
        [],
        "only its holder gives it back"
    );

    broker.kill();
    let broker = node(&data, "1");
    let mut other = Client::connect(broker.shards[0]);
    assert_eq!(
        lock(&mut other, "b", &wanted, false),
        [],
        "for a whole term"
    );
    lock(&mut other, "a", &wanted, true);
    assert_eq!(lock(&mut other, "b", &wanted, false), ours);
}

/// The shard's name; host names differ.
fn broker_name(broker: &Broker) -> String {
    let mut client = Client::connect(broker.shards[0]);
    let command = Command::request(code::INVOKE_BROKER_TO_RESET_OFFSET, 0)
        .field("topic", format!("%RETRY%{GROUP}"))
        .field("group", GROUP)
        .field("timestamp", -1)
        .field("isForce", true);
    let (answer, bytes) = client.ask(command, &[]);
    assert_eq!(answer.code, response_code::SUCCESS, "{:?}", answer.remark);
    let set: body::stats::ResetOffsets = body::decode(&bytes).expect("offsets");
    set.offsets.0[0].0.broker_name.clone()
}

#[test]
fn a_reset_is_told_to_members_each_in_its_language() {
    use ringmq_wire::remoting::Language;
    let home = scratch();
    let broker = node(&home.path().join("data"), "1");
    let name = {
        let mut first = Process::new(&broker, "java");
        first.beat(GROUP, &["t"]);
        broker_name(&broker)
    };
    let topic = format!("%RETRY%{GROUP}");
    for (language, wanted) in [
        (
            Language::Java,
            format!(
                r#"{{"offsetTable":{{{{"brokerName":"{name}","queueId":0,"topic":"{topic}"}}:0}}}}"#
            ),
        ),
        (
            Language::Cpp,
            format!(
                r#"{{"offsetTable":[{{"brokerName":"{name}","queueId":0,"topic":"{topic}","offset":0}}]}}"#
            ),
        ),
    ] {
        let mut member = Client::connect(broker.shards[0]);
        let heartbeat = Process {
            id: language.name().to_owned(),
            connections: Vec::new(),
        }
        .heartbeat(GROUP, &["t"]);
        let command = Command {
            language,
            ..Command::request(code::HEART_BEAT, 0)
        };
        assert_eq!(member.ask(command, &body::encode(&heartbeat)).0.code, 0);
        broker_name(&broker);
        let (told, bytes) = member.request(code::RESET_CONSUMER_CLIENT_OFFSET);
        assert!(told.is_oneway());
        assert_eq!(told.get("group"), Some(GROUP));
        assert_eq!(String::from_utf8_lossy(&bytes), wanted);
    }
    let mut client = Client::connect(broker.shards[0]);
    let reset = |topic: &str, group: &str| {
        Command::request(code::INVOKE_BROKER_TO_RESET_OFFSET, 0)
            .field("topic", topic)
            .field("group", group)
            .field("timestamp", 0)
            .field("isForce", true)
    };
    let (answer, _) = client.ask(reset("nowhere", GROUP), &[]);
    assert_eq!(answer.code, response_code::TOPIC_NOT_EXIST);
    let (answer, _) = client.ask(reset(&topic, "nobody"), &[]);
    assert_eq!(answer.code, response_code::SUBSCRIPTION_GROUP_NOT_EXIST);
}

#[test]
fn heartbeats_of_the_short_kind_ask_for_what_the_broker_forgot() {
    let home = scratch();
    let broker = node(&home.path().join("data"), "1");
    let process = Process::new(&broker, "a");
    let mut connection = Client::connect(broker.shards[0]);
    let whole = Heartbeat {
        fingerprint: 77,
        ..process.heartbeat(GROUP, &["t"])
    };
    let mut short = Heartbeat {
        without_sub: true,
        ..whole.clone()
    };
    short.consumers[0].subscriptions = Vec::new();
    let said = |answer: &Frame| answer.0.get("IS_SUB_CHANGE").map(str::to_owned);
    let first = beat(&mut connection, &short);
    assert_eq!(first.0.get("IS_SUPPORT_HEART_BEAT_V2"), Some("true"));
    assert_eq!(said(&first).as_deref(), Some("true"));
    assert_eq!(
        said(&beat(&mut connection, &short)).as_deref(),
        Some("true")
    );
    assert_eq!(
        said(&beat(&mut connection, &whole)).as_deref(),
        Some("false")
    );
    assert_eq!(
        said(&beat(&mut connection, &short)).as_deref(),
        Some("false")
    );
    short.fingerprint = 78;
    assert_eq!(
        said(&beat(&mut connection, &short)).as_deref(),
        Some("true")
    );
}

#[test]
fn a_heartbeat_that_cannot_be_read_or_is_too_long_is_refused_and_the_connection_lives() {
    let home = scratch();
    let broker = node(&home.path().join("data"), "1");
    let mut connection = Client::connect(broker.shards[0]);
    let heartbeat = || Command::request(code::HEART_BEAT, 0);
    for bytes in [&b"{"[..], b"", &vec![b' '; (1 << 20) + 1]] {
        let (answer, _) = connection.ask(heartbeat(), bytes);
        assert_eq!(answer.code, response_code::INVALID_PARAMETER);
        assert!(answer.remark.is_some());
    }
    // As the old C++ client writes it: numbers for names, sets left out, a version as text.
    let lenient = br#"{"clientID":"cpp","consumerDataSet":[{"consumeFromWhere":4,"consumeType":1,"groupName":"readers","messageModel":1,"subscriptionDataSet":[{"subString":"*","subVersion":"12","topic":"t"}]}]}"#;
    let (answer, _) = connection.ask(heartbeat(), lenient);
    assert_eq!(answer.code, response_code::SUCCESS, "{:?}", answer.remark);
    assert_eq!(members(&broker), ["cpp"]);
    let check = |kind: &str| {
        let body = format!(
            r#"{{"clientId":"c","group":"g","subscriptionData":{{"expressionType":"{kind}","subString":"*","topic":"t"}}}}"#
        );
        (Command::request(code::CHECK_CLIENT_CONFIG, 0), body)
    };
    let (command, body) = check("TAG");
    assert_eq!(connection.ask(command, body.as_bytes()).0.code, 0);
    let (command, body) = check("SQL92");
    assert_eq!(connection.ask(command, body.as_bytes()).0.code, 1);
}
