//! RocketMQ clients at a shard: what they send and read, and how it looks to native clients.

use crate::broker::Broker;
use crate::client::{Client, add, fetch_of};
use ringmq_broker::limits::Limits;
use ringmq_wire::batch::{BatchBuilder, BatchOptions, BatchView, Compression, Record};
use ringmq_wire::remoting::batch::InnerMessage;
use ringmq_wire::remoting::message::{StoredMessage, StoredMessages, body_crc};
use ringmq_wire::remoting::message_id::MessageId;
use ringmq_wire::remoting::{
    Command, FramePrefix, Header, Language, Serialization, VERSION, properties, request_code,
    response_code as code,
};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A client that is a socket and the codecs.
struct Remoting {
    stream: TcpStream,
    serialization: Serialization,
    opaque: i32,
}

type Answer = (Command, Vec<u8>);

impl Remoting {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("connected");
        let patience = Some(Duration::from_secs(20));
        stream.set_read_timeout(patience).expect("set");
        Self {
            stream,
            serialization: Serialization::Json,
            opaque: 0,
        }
    }

    fn begin(&mut self, command: Command, body: &[u8]) -> i32 {
        self.opaque += 1;
        let command = Command {
            opaque: self.opaque,
            ..command
        };
        let frame = command.encode(self.serialization, body);
        self.stream.write_all(&frame).expect("sent");
        self.opaque
    }

    fn receive(&mut self) -> Answer {
        let mut frame = vec![0; 8];
        self.stream.read_exact(&mut frame).expect("an answer");
        let prefix = FramePrefix::parse(&frame).expect("a frame").expect("whole");
        assert_eq!(prefix.serialization(), self.serialization, "mirrored");
        frame.resize(prefix.frame_bytes(), 0);
        self.stream.read_exact(&mut frame[8..]).expect("the rest");
        let header = Header::parse(prefix.serialization(), &frame[prefix.header_range()]);
        let command = Command::from_header(&header.expect("a header"));
        assert!(command.is_response());
        assert_eq!(
            (command.version, command.language),
            (VERSION, Language::Java)
        );
        (command, frame[prefix.body_range()].to_vec())
    }

    fn call(&mut self, command: Command, body: &[u8]) -> Answer {
        let opaque = self.begin(command, body);
        let answer = self.receive();
        assert_eq!(answer.0.opaque, opaque);
        answer
    }

    fn send(&mut self, queue: i32, properties: &str, body: &[u8]) -> Command {
        let (answer, rest) = self.call(send(TOPIC, queue, properties), body);
        assert!(rest.is_empty());
        assert_eq!(answer.get("MSG_REGION"), Some("DefaultRegion"));
        assert_eq!(answer.get("TRACE_ON"), Some("true"));
        answer
    }

    fn pull(&mut self, queue: i32, offset: i64) -> (i32, i64, Vec<u8>) {
        let (answer, body) = self.call(pull(queue, offset, "*", 0), &[]);
        (answer.code, number(&answer, "nextBeginOffset"), body)
    }
}

const TOPIC: &str = "topic";

fn send(topic: &str, queue: i32, properties: &str) -> Command {
    Command::request(request_code::SEND_MESSAGE_V2, 0)
        .field("a", "producers")
        .field("b", topic)
        .field("c", "TBW102")
        .field("d", 4)
        .field("e", queue)
        .field("f", 0)
        .field("g", 1234)
        .field("h", 7)
        .field("i", properties)
        .field("j", 0)
        .field("m", false)
}

fn pull(queue: i32, offset: i64, tags: &str, suspend_ms: u64) -> Command {
    Command::request(request_code::PULL_MESSAGE, 0)
        .field("consumerGroup", "consumers")
        .field("topic", TOPIC)
        .field("queueId", queue)
        .field("queueOffset", offset)
        .field("maxMsgNums", 32)
        .field("sysFlag", if suspend_ms > 0 { 6 } else { 4 })
        .field("commitOffset", 0)
        .field("suspendTimeoutMillis", suspend_ms)
        .field("subscription", tags)
        .field("subVersion", 1)
}

fn number(answer: &Command, name: &'static str) -> i64 {
    answer.required(name).expect("a number")
}

fn messages(body: &[u8]) -> Vec<StoredMessage<'_>> {
    let messages = StoredMessages::new(body);
    messages.collect::<Result<_, _>>().expect("messages")
}

fn text(pairs: &[(&str, &str)]) -> String {
    properties::encode(pairs.iter().copied())
}

/// A shard with a topic of two queues.
fn broker() -> Broker {
    let broker = Broker::new();
    Client::connect(broker.address).create_topic(TOPIC, 2);
    broker
}

#[test]
fn what_remoting_sends_both_protocols_read() {
    let mut broker = broker();
    for serialization in [Serialization::Json, Serialization::Binary] {
        let mut client = Remoting::connect(broker.address);
        client.serialization = serialization;
        let offset = i64::from(serialization.number());
        let pairs = [
            ("KEYS", "k1 k2"),
            ("TAGS", "red"),
            ("UNIQ_KEY", "ABCDEF"),
            ("mine", "wert"),
            ("WAIT", "true"),
        ];
        let sent = client.send(0, &text(&pairs), b"hello");
        assert_eq!((sent.code, number(&sent, "queueId")), (code::SUCCESS, 0));
        assert_eq!(number(&sent, "queueOffset"), offset);
        assert_eq!(sent.get("transactionId"), Some("ABCDEF"));
        let (status, next, body) = client.pull(0, offset);
        assert_eq!((status, next), (code::SUCCESS, offset + 1));
        let found = messages(&body);
        let [message] = &found[..] else {
            panic!("one message, not {found:?}");
        };
        assert_eq!(message.body, b"hello");
        assert_eq!(message.body_crc, body_crc(b"hello"));
        assert_eq!(
            (message.topic, message.queue_id, message.flag),
            (TOPIC, 0, 7)
        );
        assert_eq!(
            (message.queue_offset, message.born_timestamp),
            (offset, 1234)
        );
        let local = client.stream.local_addr().expect("bound");
        assert_eq!(message.born_host, local.into());
        assert_eq!(message.store_host, broker.address.into());
        for (name, value) in pairs {
            assert_eq!(properties::get(message.properties, name), Some(value));
        }
        assert_eq!(properties::get(message.properties, "CLUSTER"), Some("test"));
        let id = MessageId {
            host: broker.address.into(),
            offset: message.physical_offset,
        };
        assert_eq!(sent.get("msgId"), Some(&*id.to_string()));
        let view = Command::request(request_code::VIEW_MESSAGE_BY_ID, 0);
        let view = view.field("offset", message.physical_offset);
        assert_eq!(client.call(view, &[]).1, body);
    }
    let fetch = fetch_of(0, vec![add(1, TOPIC, 0, 0)]);
    let fetched = Client::connect(broker.address).fetch(&fetch);
    let stored = &fetched.queues[0].1;
    for (_, bytes) in stored {
        let view = BatchView::parse_placed(bytes).expect("a batch");
        let section = view.section().expect("plain");
        let record = view.records(&section).next().expect("one").expect("whole");
        assert_eq!(
            (record.keys, record.tag, record.body),
            ("k1 k2", "red", &b"hello"[..])
        );
        assert_eq!(
            record.properties.iter().collect::<Vec<_>>(),
            [("mine", "wert")]
        );
        assert_eq!(record.born_time_ms, 1234);
    }
    assert_eq!(stored.len(), 2);
    broker = broker.restart(Limits::DEFAULT);
    let (status, next, _) = Remoting::connect(broker.address).pull(0, 0);
    assert_eq!((status, next), (code::SUCCESS, 2));
}

#[test]
fn what_native_producers_send_remoting_reads() {
    let broker = broker();
    let mut native = Client::connect(broker.address);
    let mut remoting = Remoting::connect(broker.address);
    let mut offset = 0;
    for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
        let mut builder = BatchBuilder::new();
        for tag in ["red", "", "blue"] {
            let record = Record {
                born_time_ms: 99,
                keys: &["one", "two"],
                tag,
                properties: &[("mine", "wert")],
                envelope: None,
                body: &[b'x'; 500],
            };
            builder.push(&record).expect("carryable");
        }
        let options = BatchOptions {
            compression,
            ..BatchOptions::default()
        };
        let batch = builder.finish(&options).expect("small");
        native.produce(TOPIC, 1, &batch).produced();
        let (answer, body) = remoting.call(pull(1, offset, "blue || red", 0), &[]);
        assert_eq!(answer.code, code::SUCCESS);
        let found = messages(&body);
        assert_eq!(found.len(), 2);
        let offsets: Vec<i64> = found.iter().map(|message| message.queue_offset).collect();
        assert_eq!(offsets, [offset, offset + 2]);
        for (message, tag) in found.iter().zip(["red", "blue"]) {
            let get = |name| properties::get(message.properties, name);
            assert_eq!((get("KEYS"), get("TAGS")), (Some("one two"), Some(tag)));
            assert_eq!(get("mine"), Some("wert"));
            assert_eq!(
                (message.body, message.body_crc),
                (&[b'x'; 500][..], body_crc(&[b'x'; 500]))
            );
            let made_up = get("UNIQ_KEY").expect("made up");
            let by_unique = query(made_up).field("_UNIQUE_KEY_QUERY", true);
            let (answer, one) = remoting.call(by_unique, &[]);
            assert_eq!(
                (answer.code, messages(&one)),
                (code::SUCCESS, vec![message.clone()])
            );
        }
        offset += 3;
    }
    let (answer, body) = remoting.call(query("two"), &[]);
    assert_eq!((answer.code, messages(&body).len()), (code::SUCCESS, 9));
    assert!(messages(&body).is_sorted_by(|a, b| a.physical_offset > b.physical_offset));
    let (answer, _) = remoting.call(query("three"), &[]);
    assert_eq!(answer.code, code::QUERY_NOT_FOUND);
    assert_eq!(number(&answer, "indexLastUpdateTimestamp"), 0);
}

fn query(key: &str) -> Command {
    Command::request(request_code::QUERY_MESSAGE, 0)
        .field("topic", TOPIC)
        .field("key", key)
        .field("maxNum", 64)
        .field("beginTimestamp", 0)
        .field("endTimestamp", i64::MAX)
}

#[test]
fn a_batch_is_stored_as_its_messages() {
    let broker = broker();
    let mut client = Remoting::connect(broker.address);
    let mut body = Vec::new();
    for index in 0..3 {
        let properties = text(&[("UNIQ_KEY", &format!("U{index}"))]);
        let inner = InnerMessage {
            flag: index,
            body: &[index as u8; 10],
            properties: properties.trim_end_matches('\u{2}'),
        };
        inner.encode(&mut body).expect("short");
    }
    let command = Command {
        code: request_code::SEND_BATCH_MESSAGE,
        ..send(TOPIC, 0, &text(&[("WAIT", "true"), ("UNIQ_KEY", "batch")]))
    };
    let (answer, _) = client.call(command.field("m", true), &body);
    assert_eq!(answer.code, code::SUCCESS, "{answer:?}");
    let ids: Vec<&str> = answer.get("msgId").expect("ids").split(',').collect();
    let (_, next, body) = client.pull(0, 0);
    assert_eq!((ids.len(), next), (3, 3));
    for ((index, message), id) in (0i32..).zip(messages(&body)).zip(ids) {
        let id: MessageId = id.parse().expect("an id");
        assert_eq!(id.offset, message.physical_offset);
        assert_eq!(
            (message.flag, message.queue_offset),
            (index, i64::from(index))
        );
        let unique = format!("U{index}");
        assert_eq!(
            properties::get(message.properties, "UNIQ_KEY"),
            Some(&*unique)
        );
        assert_eq!(properties::get(message.properties, "WAIT"), Some("true"));
        let (found, one) = client.call(query(&unique), &[]);
        assert_eq!((found.code, messages(&one).len()), (code::SUCCESS, 1));
    }
}

#[test]
fn pulls_are_answered_by_where_the_offset_is() {
    let broker = broker();
    let mut client = Remoting::connect(broker.address);
    assert_eq!(client.pull(0, 0).0, code::PULL_NOT_FOUND);
    assert_eq!(client.pull(0, 5), (code::PULL_OFFSET_MOVED, 0, vec![]));
    for _ in 0..3 {
        client.send(0, &text(&[("TAGS", "red")]), b"x");
    }
    assert_eq!(client.pull(0, 3), (code::PULL_NOT_FOUND, 3, vec![]));
    assert_eq!(client.pull(0, 4), (code::PULL_OFFSET_MOVED, 3, vec![]));
    assert_eq!(client.pull(0, -1), (code::PULL_OFFSET_MOVED, 0, vec![]));
    let (none, _) = client.call(pull(0, 1, "blue", 0), &[]);
    assert_eq!(none.code, code::PULL_RETRY_IMMEDIATELY);
    assert_eq!(number(&none, "nextBeginOffset"), 3);
    assert_eq!(
        (number(&none, "minOffset"), number(&none, "maxOffset")),
        (0, 3)
    );
    assert_eq!(number(&none, "suggestWhichBrokerId"), 0);
    let (sql, _) = client.call(pull(0, 0, "a > 1", 0).field("expressionType", "SQL92"), &[]);
    assert_eq!(sql.code, code::SYSTEM_ERROR);
    let (missing, _) = client.call(pull(7, 0, "*", 0), &[]);
    assert_eq!(missing.code, code::INVALID_PARAMETER);
    let (unknown, _) = client.call(pull(0, 0, "*", 0).field("topic", "nowhere"), &[]);
    assert_eq!(unknown.code, code::TOPIC_NOT_EXIST);
    let (silent, _) = client.call(pull(0, 0, "*", 0).field("sysFlag", 0), &[]);
    assert_eq!(silent.code, code::SUBSCRIPTION_NOT_EXIST);
}

#[test]
fn a_held_pull_waits_for_what_matches() {
    let broker = broker();
    let (mut consumer, mut producer) = (
        Remoting::connect(broker.address),
        Remoting::connect(broker.address),
    );
    let held = consumer.begin(pull(0, 0, "red", 20_000), &[]);
    let short = consumer.begin(pull(0, 0, "red", 1_500), &[]);
    // Not kept out by those that wait.
    let other = consumer.begin(pull(1, 9, "*", 0), &[]);
    let (answer, _) = consumer.receive();
    assert_eq!(
        (answer.opaque, answer.code),
        (other, code::PULL_OFFSET_MOVED)
    );
    producer.send(0, &text(&[("TAGS", "blue")]), b"no");
    let (answer, _) = consumer.receive();
    assert_eq!(
        (answer.opaque, answer.code),
        (short, code::PULL_RETRY_IMMEDIATELY)
    );
    assert_eq!(number(&answer, "nextBeginOffset"), 1);
    producer.send(0, &text(&[("TAGS", "red")]), b"yes");
    let (answer, body) = consumer.receive();
    assert_eq!((answer.opaque, answer.code), (held, code::SUCCESS));
    assert_eq!(messages(&body)[0].body, b"yes");
    // Gone with its connection.
    consumer.begin(pull(0, 2, "*", 20_000), &[]);
    drop((consumer, producer));
    broker.wait_for("all closed", |metrics| metrics.sessions.connections == 0);
}

#[test]
fn what_cannot_be_stored_is_refused_by_rocketmqs_codes() {
    let broker = broker();
    let mut client = Remoting::connect(broker.address);
    let large = vec![0; Limits::DEFAULT.message_bytes_max + 1];
    let long = "x".repeat(128);
    let cases: [(Command, &[u8], i32); 10] = [
        (send("nowhere", 0, ""), b"x", code::TOPIC_NOT_EXIST),
        (
            send("SCHEDULE_TOPIC_XXXX", 0, ""),
            b"x",
            code::NO_PERMISSION,
        ),
        (send("bad name", 0, ""), b"x", code::INVALID_PARAMETER),
        (send(&long, 0, ""), b"x", code::MESSAGE_ILLEGAL),
        (send(TOPIC, 2, ""), b"x", code::INVALID_PARAMETER),
        (send(TOPIC, 0, ""), &large, code::MESSAGE_ILLEGAL),
        (
            send(TOPIC, 0, &text(&[("a", &"b".repeat(32_767))])),
            b"x",
            code::MESSAGE_ILLEGAL,
        ),
        (
            send(TOPIC, 0, &text(&[("TRAN_MSG", "true")])),
            b"x",
            code::NO_PERMISSION,
        ),
        (
            send(TOPIC, 0, &text(&[("TIMER_DELAY_SEC", "5")])),
            b"x",
            code::SYSTEM_ERROR,
        ),
        (
            send(TOPIC, 0, "").field("m", true),
            b"broken",
            code::MESSAGE_ILLEGAL,
        ),
    ];
    for (command, body, expected) in cases {
        let (answer, _) = client.call(command, body);
        assert_eq!(answer.code, expected, "{:?}", answer.remark);
        assert!(answer.remark.is_some());
        assert_eq!(answer.get("MSG_REGION"), Some("DefaultRegion"));
    }
    let (answer, _) = client.call(Command::request(31_999, 0), &[]);
    assert_eq!(answer.code, code::REQUEST_CODE_NOT_SUPPORTED);
    broker.set_writable(false);
    assert_eq!(client.send(0, "", b"x").code, code::SERVICE_NOT_AVAILABLE);
    broker.set_writable(true);
    // One-way: nothing is answered, neither good nor bad.
    client.begin(send(TOPIC, 0, "").oneway(), b"stored");
    client.begin(send(TOPIC, 9, "").oneway(), b"refused");
    assert_eq!(number(&client.send(0, "", b"next"), "queueOffset"), 1);
    let any = client.send(-1, "", b"any");
    assert!((0..2).contains(&number(&any, "queueId")));
}

#[test]
fn offsets_are_asked_for_and_committed() {
    let broker = broker();
    let mut client = Remoting::connect(broker.address);
    let of_queue = |code, queue: i32| {
        Command::request(code, 0)
            .field("topic", TOPIC)
            .field("queueId", queue)
            .field("consumerGroup", "consumers")
    };
    let query = || of_queue(request_code::QUERY_CONSUMER_OFFSET, 0);
    let update = |offset: i64| {
        of_queue(request_code::UPDATE_CONSUMER_OFFSET, 0).field("commitOffset", offset)
    };
    assert_eq!(
        client.call(update(0), &[]).0.code,
        code::SUBSCRIPTION_GROUP_NOT_EXIST
    );
    for _ in 0..5 {
        client.send(0, "", b"x");
    }
    // The first message is in memory.
    assert_eq!(number(&client.call(query(), &[]).0, "offset"), 0);
    let strict = query().field("setZeroIfNotFound", false);
    assert_eq!(client.call(strict, &[]).0.code, code::QUERY_NOT_FOUND);
    // A pull makes the group.
    client.pull(0, 0);
    assert_eq!(client.call(update(3), &[]).0.code, code::SUCCESS);
    assert_eq!(number(&client.call(query(), &[]).0, "offset"), 3);
    client.begin(update(2).oneway(), &[]);
    assert_eq!(number(&client.call(query(), &[]).0, "offset"), 2);
    assert_eq!(client.call(update(99), &[]).0.code, code::SUCCESS);
    assert_eq!(number(&client.call(query(), &[]).0, "offset"), 5);
    client.begin(update(4).oneway(), &[]);
    let max = of_queue(request_code::GET_MAX_OFFSET, 0);
    assert_eq!(number(&client.call(max, &[]).0, "offset"), 5);
    let min = of_queue(request_code::GET_MIN_OFFSET, 9);
    assert_eq!(number(&client.call(min, &[]).0, "offset"), 0);
    let at =
        |time: i64| of_queue(request_code::SEARCH_OFFSET_BY_TIMESTAMP, 0).field("timestamp", time);
    assert_eq!(number(&client.call(at(0), &[]).0, "offset"), 0);
    assert_eq!(number(&client.call(at(i64::MAX), &[]).0, "offset"), 5);
    let upper = at(i64::MAX - 1).field("boundaryType", "UPPER");
    assert_eq!(number(&client.call(upper, &[]).0, "offset"), 4);
    let earliest = |queue| of_queue(request_code::GET_EARLIEST_MSG_STORETIME, queue);
    assert!(number(&client.call(earliest(0), &[]).0, "timestamp") > 0);
    assert_eq!(number(&client.call(earliest(1), &[]).0, "timestamp"), -1);
    // A commit that nobody waited for survives a clean stop.
    let broker = broker.restart(Limits::DEFAULT);
    let mut client = Remoting::connect(broker.address);
    assert_eq!(number(&client.call(query(), &[]).0, "offset"), 4);
}
