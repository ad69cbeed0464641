//! What RocketMQ's tools ask a broker: statistics and configuration, of what is there and of what is not.

use crate::broker::Broker;
use crate::client::{Client, Message, batch, batch_with};
use ringmq_wire::batch::{BatchOptions, tags_code};
use ringmq_wire::remoting::frame::FRAME_PREFIX_BYTES;
use ringmq_wire::remoting::{
    Command, FramePrefix, Header, Serialization, request_code, response_code,
};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A tool's connection.
struct Tool(TcpStream);

impl Tool {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the shard listens");
        let patience = Some(Duration::from_secs(30));
        stream.set_read_timeout(patience).expect("a valid time");
        Self(stream)
    }

    fn ask(
        &mut self,
        code: i32,
        fields: &[(&'static str, &str)],
        body: &[u8],
    ) -> (Command, Vec<u8>) {
        let start = Command::request(code, 7);
        let request = fields
            .iter()
            .fold(start, |command, (name, value)| command.field(*name, value));
        let bytes = request.encode(Serialization::Json, body);
        self.0.write_all(&bytes).expect("the connection is open");
        let mut head = [0; FRAME_PREFIX_BYTES];
        self.0.read_exact(&mut head).expect("an answer");
        let prefix = FramePrefix::parse(&head)
            .expect("a frame")
            .expect("all of it");
        let mut rest = vec![0; prefix.header_bytes() + prefix.body_bytes()];
        self.0.read_exact(&mut rest).expect("the rest of it");
        let body = rest.split_off(prefix.header_bytes());
        let header = Header::parse(prefix.serialization(), &rest).expect("a header");
        assert_eq!(header.opaque, 7);
        (Command::from_header(&header), body)
    }

    /// The body of a success.
    fn text(&mut self, code: i32, fields: &[(&'static str, &str)]) -> String {
        let (answer, body) = self.ask(code, fields, &[]);
        assert_eq!(answer.code, 0, "{:?}", answer.remark);
        String::from_utf8(body).expect("text")
    }

    fn json(&mut self, code: i32, fields: &[(&'static str, &str)]) -> Value {
        serde_json::from_str(&self.text(code, fields)).expect("JSON")
    }

    fn code(&mut self, code: i32, fields: &[(&'static str, &str)], body: &[u8]) -> i32 {
        self.ask(code, fields, body).0.code
    }
}

/// A topic `t` of two queues: three messages in the first, of which group `g` committed two; none in the second.
fn broker_with_messages() -> (Broker, Tool) {
    let broker = Broker::new();
    let mut native = Client::connect(broker.address);
    native.create_topic("t", 2);
    native.produce("t", 0, &batch(&[b"one", b"two"]));
    let tagged = Message {
        body: b"three",
        tag: "TagA",
        keys: &[],
    };
    native.produce("t", 0, &batch_with(&[tagged], BatchOptions::default()));
    native.reset_offset("g", "t", 0, 2);
    let tool = Tool::connect(broker.address);
    (broker, tool)
}

#[test]
fn topics_have_statistics() {
    let (_broker, mut tool) = broker_with_messages();
    let text = tool.text(request_code::GET_TOPIC_STATS_INFO, &[("topic", "t")]);
    let key = |queue| format!(r#"{{"brokerName":"s00-test","queueId":{queue},"topic":"t"}}:"#);
    assert!(
        text.contains(&format!(r#"{{"offsetTable":{{{}{{"#, key(0))),
        "{text}"
    );
    assert!(text.contains(r#""maxOffset":3,"minOffset":0"#), "{text}");
    let empty = format!(
        r#"{}{{"lastUpdateTimestamp":0,"maxOffset":0,"minOffset":0}}"#,
        key(1)
    );
    assert!(text.contains(&empty), "{text}");
    let unknown = tool.code(request_code::GET_TOPIC_STATS_INFO, &[("topic", "no")], &[]);
    assert_eq!(unknown, response_code::TOPIC_NOT_EXIST);

    let entries = [
        ("topic", "t"),
        ("queueId", "0"),
        ("index", "1"),
        ("count", "5"),
    ];
    let entries = tool.json(request_code::QUERY_CONSUME_QUEUE, &entries);
    let found = entries["queueData"].as_array().expect("a list");
    assert_eq!((found.len(), &entries["maxQueueIndex"]), (2, &json!(3)));
    assert_eq!(found[1]["tagsCode"], json!(tags_code("TagA")));
    assert_eq!(found[1]["physicSize"], json!(5));
}

#[test]
fn groups_have_statistics() {
    let (_broker, mut tool) = broker_with_messages();
    let text = tool.text(request_code::GET_CONSUME_STATS, &[("consumerGroup", "g")]);
    assert!(
        text.contains(r#""brokerOffset":3,"consumerOffset":2"#),
        "{text}"
    );
    assert!(
        !text.contains(r#""consumerOffset":2,"lastTimestamp":0"#),
        "{text}"
    );
    let nothing = r#"{"consumeTps":0.0,"offsetTable":{}}"#;
    for fields in [
        &[("consumerGroup", "no")][..],
        &[("consumerGroup", "g"), ("topic", "no")],
    ] {
        assert_eq!(tool.text(request_code::GET_CONSUME_STATS, fields), nothing);
    }
    let of_topic = tool.json(request_code::QUERY_TOPIC_CONSUME_BY_WHO, &[("topic", "t")]);
    assert_eq!(of_topic, json!({ "groupList": ["g"] }));
    let of_nothing = tool.json(request_code::QUERY_TOPIC_CONSUME_BY_WHO, &[("topic", "no")]);
    assert_eq!(of_nothing, json!({ "groupList": [] }));
    let of_group = tool.json(request_code::QUERY_TOPICS_BY_CONSUMER, &[("group", "g")]);
    assert_eq!(of_group["topicList"], json!(["t"]));
    let wish = [("group", "g"), ("topic", "t")];
    let wish = tool.json(request_code::QUERY_SUBSCRIPTION_BY_CONSUMER, &wish);
    assert_eq!(
        wish,
        json!({ "group": "g", "subscriptionData": null, "topic": "t" })
    );

    let spans = tool.json(
        request_code::QUERY_CONSUME_TIME_SPAN,
        &[("group", "g"), ("topic", "t")],
    );
    let first = &spans["consumeTimeSpanSet"][0];
    assert_eq!(first["messageQueue"]["queueId"], json!(0));
    assert!(first["minTimeStamp"].as_i64() > Some(0), "{first}");
    assert!(
        first["maxTimeStamp"].as_i64() >= first["minTimeStamp"].as_i64(),
        "{first}"
    );

    let all = tool.text(
        request_code::GET_BROKER_CONSUME_STATS,
        &[("isOrder", "false")],
    );
    assert!(
        all.contains(r#""consumeStatsList":[{"g":[{"consumeTps""#),
        "{all}"
    );
    assert!(all.contains(r#""totalDiff":1,"#), "{all}");
    let ordered = tool.text(
        request_code::GET_BROKER_CONSUME_STATS,
        &[("isOrder", "true")],
    );
    assert!(ordered.contains(r#""consumeStatsList":[]"#), "{ordered}");
}

#[test]
fn offsets_are_cloned() {
    let (_broker, mut tool) = broker_with_messages();
    let clone = [("srcGroup", "g"), ("destGroup", "h"), ("topic", "t")];
    assert_eq!(tool.code(request_code::CLONE_GROUP_OFFSET, &clone, &[]), 0);
    let text = tool.text(request_code::GET_CONSUME_STATS, &[("consumerGroup", "h")]);
    assert!(text.contains(r#""consumerOffset":2"#), "{text}");
    let other = [("srcGroup", "g"), ("destGroup", "i"), ("topic", "no")];
    assert_eq!(tool.code(request_code::CLONE_GROUP_OFFSET, &other, &[]), 0);
    let text = tool.text(request_code::GET_CONSUME_STATS, &[("consumerGroup", "i")]);
    assert_eq!(text, r#"{"consumeTps":0.0,"offsetTable":{}}"#);
}

#[test]
fn the_broker_tells_its_numbers_and_settings() {
    let (_broker, mut tool) = broker_with_messages();
    let table = tool.json(request_code::GET_BROKER_RUNTIME_INFO, &[])["table"].take();
    for rates in [
        "putTps",
        "getTransferedTps",
        "getTransferredTps",
        "getTotalTps",
    ] {
        let text = table[rates].as_str().unwrap_or_default();
        let three: Vec<f64> = text
            .split(' ')
            .filter_map(|rate| rate.parse().ok())
            .collect();
        assert_eq!(three.len(), 3, "{rates}: {text}");
    }
    assert_eq!(table["msgPutTotalTodayNow"], json!("3"));
    assert_ne!(table["earliestMessageTimeStamp"], json!("-1"));
    let put = [("statsName", "TOPIC_PUT_NUMS"), ("statsKey", "t")];
    let put = tool.json(request_code::VIEW_BROKER_STATS_DATA, &put);
    assert_eq!(put["statsMinute"]["sum"], json!(3));
    let none = [("statsName", "TOPIC_PUT_NUMS"), ("statsKey", "no")];
    let none = tool.code(request_code::VIEW_BROKER_STATS_DATA, &none, &[]);
    assert_eq!(none, response_code::SYSTEM_ERROR);

    let (answer, body) = tool.ask(request_code::GET_BROKER_CONFIG, &[], &[]);
    let version: Value = serde_json::from_str(answer.get("version").expect("there")).expect("JSON");
    assert_eq!(version["timestamp"], json!(1));
    let body = String::from_utf8(body).expect("text");
    assert!(
        body.lines().any(|line| line == "brokerName=s00-test"),
        "{body}"
    );
    assert!(
        body.lines().any(|line| line == "brokerPermission=6"),
        "{body}"
    );
}

#[test]
fn only_the_permission_can_be_changed() {
    let (broker, mut tool) = broker_with_messages();
    let mut update =
        |text: &str| tool.code(request_code::UPDATE_BROKER_CONFIG, &[], text.as_bytes());
    assert_eq!(
        update("brokerConfigPath=/tmp/x"),
        response_code::NO_PERMISSION
    );
    assert_eq!(update("maxMessageSize=1"), response_code::INVALID_PARAMETER);
    assert_eq!(
        update("brokerPermission=all"),
        response_code::INVALID_PARAMETER
    );
    assert_eq!(update("nonsense"), response_code::INVALID_PARAMETER);
    assert_eq!(
        update("# as it is\nbrokerName=s00-test\n"),
        response_code::SUCCESS
    );
    assert_eq!(update("brokerPermission=4"), response_code::SUCCESS);
    // The shard's mailbox is emptied in order: once it answers this, it has heard that.
    broker.metrics();
    let mut native = Client::connect(broker.address);
    let refused = native.produce("t", 0, &batch(&[b"four"]));
    assert!(refused.error().is_some());
    assert_eq!(
        tool.code(
            request_code::UPDATE_BROKER_CONFIG,
            &[],
            b"brokerPermission=6"
        ),
        0
    );
    broker.metrics();
    assert!(native.produce("t", 0, &batch(&[b"four"])).error().is_none());
}
