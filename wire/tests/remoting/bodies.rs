//! JSON bodies: captured ones, Java's dialect, and what other languages make of it.

use proptest::prelude::*;
use ringmq_wire::remoting::body::connections::{Connection, ProducerConnections};
use ringmq_wire::remoting::body::dialect::parse;
use ringmq_wire::remoting::body::groups::{ConsumerIds, GroupConfig, GroupList};
use ringmq_wire::remoting::body::heartbeat::{
    CheckClient, ConsumeFrom, ConsumeType, Heartbeat, MessageModel, tags,
};
use ringmq_wire::remoting::body::locks::{LockAnswer, LockRequest, MessageQueue};
use ringmq_wire::remoting::body::queue_map::QueueMap;
use ringmq_wire::remoting::body::routes::{ClusterInfo, Pairs, TopicRoute};
use ringmq_wire::remoting::body::stats::{
    BrokerConsumeStats, BrokerStats, ClientStatus, ConsumeOffset, ConsumeStats, GroupStatus,
    ResetOffsets, TopicStats,
};
use ringmq_wire::remoting::body::topics::TopicList;
use ringmq_wire::remoting::body::{BodyError, decode, encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::captures::{Frame, frames};

/// Reads every captured body of that kind and compares our form of it with theirs, as values: everything that
/// theirs says, ours says, too.
fn captured<T: DeserializeOwned + Serialize>(direction: &str, code: i32) -> Vec<T> {
    let frames = bodies(direction, code);
    let bodies = frames.iter().map(|frame| {
        let body = frame.body();
        let read: T = decode(body).unwrap();
        let ours: Value = serde_json::from_slice(&encode(&read)).unwrap();
        assert_covers(&ours, &parse(body).unwrap());
        read
    });
    bodies.collect()
}

fn bodies(direction: &str, code: i32) -> Vec<Frame> {
    let mut frames = frames();
    frames.retain(|frame| frame.is(direction, code) && !frame.body().is_empty());
    assert!(!frames.is_empty(), "nothing captured of {code}");
    frames
}

/// Nothing that an object says is missing or other; names that only their sender knows may be.
fn assert_covers(ours: &Value, theirs: &Value) {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            for (name, value) in theirs {
                match ours.get(name) {
                    Some(found) => assert_covers(found, value),
                    None => assert!(
                        value.is_null()
                            || ["zoneName", "topicQueueMappingInfo"].contains(&name.as_str()),
                        "`{name}` is lost"
                    ),
                }
            }
        }
        (Value::Array(ours), Value::Array(theirs)) => {
            assert_eq!(ours.len(), theirs.len());
            ours.iter()
                .zip(theirs)
                .for_each(|(a, b)| assert_covers(a, b));
        }
        _ => assert_eq!(ours, theirs),
    }
}

#[test]
fn captured_heartbeats() {
    let beats: Vec<Heartbeat> = captured("client>broker", 34);
    assert!(beats.iter().all(|beat| beat.client_id.contains('@')));
    let consumers = || beats.iter().flat_map(|beat| &beat.consumers);
    assert!(consumers().any(|c| c.message_model == MessageModel::Broadcasting));
    assert!(consumers().any(|c| c.consume_type == ConsumeType::Passively));
    let by_sql = consumers().flat_map(|c| &c.subscriptions);
    assert!(by_sql.filter(|s| !s.is_by_tag()).count() > 0);
}

#[test]
fn other_captured_bodies() {
    captured::<CheckClient>("client>broker", 46);
    captured::<LockRequest>("client>broker", 41);
    captured::<LockAnswer>("broker>client", 41);
    captured::<ConsumerIds>("broker>client", 38);
    captured::<GroupConfig>("client>broker", 200);
    captured::<GroupList>("broker>client", 300);
    captured::<BrokerStats>("broker>client", 315);
    captured::<Pairs>("broker>client", 28);
    captured::<TopicList>("namesrv>client", 206);
    captured::<TopicRoute>("client>namesrv", 217);
    captured::<ClusterInfo>("namesrv>client", 106);
    let routes: Vec<TopicRoute> = captured("namesrv>client", 105);
    for route in routes {
        assert_eq!(
            route.brokers[0]
                .addresses
                .keys()
                .copied()
                .collect::<Vec<_>>(),
            [0]
        );
    }
}

/// What RocketMQ 5.3.3 answers is what we would answer.
#[test]
fn a_route_is_written_byte_for_byte() {
    let frames = bodies("namesrv>client", 105);
    let java = frames
        .iter()
        .find(|frame| frame.program == "java5-compressed");
    let body = java.unwrap().body();
    let route: TopicRoute = decode(body).unwrap();
    assert_eq!(
        String::from_utf8(encode(&route)).unwrap(),
        String::from_utf8_lossy(body)
    );
}

#[test]
fn captured_maps_with_queues_as_keys_are_read_whole() {
    let topic = bodies("broker>client", 202);
    let stats: TopicStats = decode(topic[0].body()).unwrap();
    assert_eq!(stats.offsets.0.len(), 4);
    assert!(stats.offsets.0.iter().all(|(queue, offsets)| {
        queue.topic == "TopicTest" && offsets.max_offset > 0 && offsets.last_update_timestamp > 0
    }));
    let group = bodies("broker>client", 208);
    let stats: ConsumeStats = decode(group[0].body()).unwrap();
    assert!(stats.offsets.0.len() >= 4);
    let again: ConsumeStats = decode(&stats.encode()).unwrap();
    assert_eq!(again, stats);
}

fn queue(id: i32) -> MessageQueue {
    MessageQueue {
        broker_name: "b".into(),
        queue_id: id,
        topic: "T".into(),
    }
}

const QUEUE_0: &str = r#"{"brokerName":"b","queueId":0,"topic":"T"}"#;
const QUEUE_1: &str = r#"{"brokerName":"b","queueId":1,"topic":"T"}"#;

fn text(body: Vec<u8>) -> String {
    String::from_utf8(body).unwrap()
}

#[test]
fn maps_with_queues_as_keys_are_written_as_java_writes_them() {
    let reset = ResetOffsets {
        offsets: QueueMap(vec![(queue(0), 5), (queue(1), 0)]),
    };
    assert_eq!(
        text(reset.encode()),
        format!("{{\"offsetTable\":{{{QUEUE_0}:5,{QUEUE_1}:0}}}}")
    );
    assert_eq!(
        text(reset.encode_for_cpp()),
        r#"{"offsetTable":[{"brokerName":"b","queueId":0,"topic":"T","offset":5},{"brokerName":"b","queueId":1,"topic":"T","offset":0}]}"#
    );
    let status = GroupStatus {
        consumers: [
            ("c1".to_owned(), reset.offsets.clone()),
            ("c2".to_owned(), QueueMap(Vec::new())),
        ]
        .into(),
    };
    assert_eq!(
        text(status.encode()),
        format!(
            "{{\"consumerTable\":{{\"c1\":{{{QUEUE_0}:5,{QUEUE_1}:0}},\"c2\":{{}}}},\"messageQueueTable\":{{}}}}"
        )
    );
    let offset = ConsumeOffset {
        broker_offset: 9,
        ..ConsumeOffset::default()
    };
    let stats = ConsumeStats {
        consume_tps: 0.5,
        offsets: QueueMap(vec![(queue(0), offset)]),
    };
    let one = format!(
        "{{\"consumeTps\":0.5,\"offsetTable\":{{{QUEUE_0}:{{\"brokerOffset\":9,\"consumerOffset\":0,\"lastTimestamp\":0,\"pullOffset\":0}}}}}}"
    );
    assert_eq!(text(stats.encode()), one);
    let all = BrokerConsumeStats {
        broker_addr: "a:1".into(),
        groups: vec![("g".into(), vec![stats.clone(), stats])],
        total_diff: 3,
        total_inflight_diff: 0,
    };
    assert_eq!(
        text(all.encode()),
        format!(
            "{{\"brokerAddr\":\"a:1\",\"consumeStatsList\":[{{\"g\":[{one},{one}]}}],\"totalDiff\":3,\"totalInflightDiff\":0}}"
        )
    );
    assert_eq!(
        text(TopicStats::default().encode()),
        r#"{"topicPutTps":0.0,"offsetTable":{}}"#
    );
}

#[test]
fn keys_that_are_objects_and_keys_that_are_strings_mean_the_same() {
    let expected = QueueMap(vec![(queue(0), 5_i64), (queue(1), 7)]);
    let escaped = [QUEUE_0, QUEUE_1].map(|queue| queue.replace('"', "\\\""));
    let forms = [
        format!("{{\"messageQueueTable\":{{{QUEUE_0}:5,{QUEUE_1}:7}}}}"),
        format!(
            "{{\"messageQueueTable\":{{\"{}\":5,\"{}\":7}}}}",
            escaped[0], escaped[1]
        ),
    ];
    for form in forms {
        let status: ClientStatus = decode(form.as_bytes()).unwrap();
        assert_eq!(status.queues, expected);
    }
}

/// Ordinals for names, strings for numbers, absent sets: the C++ client; numbers of tags in strings: the Go client.
#[test]
fn heartbeats_of_other_languages() {
    let cpp = br#"{"clientID":"c@1","consumerDataSet":[{"consumeFromWhere":4,"consumeType":1,"groupName":"g",
        "messageModel":0,"subscriptionDataSet":[{"subString":"A || B","subVersion":"17","topic":"T"}]}]}
"#;
    let beat: Heartbeat = decode(cpp).unwrap();
    let consumer = &beat.consumers[0];
    assert_eq!(consumer.consume_from_where, ConsumeFrom::FirstOffset);
    assert_eq!(consumer.consume_type, ConsumeType::Passively);
    assert_eq!(consumer.message_model, MessageModel::Broadcasting);
    let subscription = &consumer.subscriptions[0];
    assert_eq!(subscription.version, 17);
    assert!(subscription.is_by_tag());
    assert_eq!(subscription.tags().collect::<Vec<_>>(), ["A", "B"]);
    assert!(beat.producers.is_empty());
    let go = br#"{"clientID":"c@1","producerDataSet":null,"consumerDataSet":[{"groupName":"g","messageModel":"CLUSTERING",
        "subscriptionDataSet":[{"codeSet":["65","-7"],"subString":"A","tagsSet":["A"],"topic":"T"}]}]}"#;
    let beat: Heartbeat = decode(go).unwrap();
    let codes = beat.consumers[0].subscriptions[0].code_set.iter();
    assert_eq!(codes.map(|code| code.0).collect::<Vec<_>>(), [65, -7]);
    let wrong = decode::<Heartbeat>(br#"{"consumerDataSet":[{"consumeType":"CONSUME_LOUDLY"}]}"#);
    assert!(matches!(wrong, Err(BodyError::Content(_))), "{wrong:?}");
}

#[test]
fn tags_of_an_expression() {
    for everything in ["", "*", " * ", "||"] {
        assert_eq!(tags(everything).count(), 0, "{everything:?}");
    }
    assert_eq!(tags(" A||B || C ").collect::<Vec<_>>(), ["A", "B", "C"]);
}

#[test]
fn group_settings_that_a_client_leaves_out_are_java_s() {
    let config: GroupConfig = decode(br#"{"groupName":"g","retryMaxTimes":"3"}"#).unwrap();
    let expected = GroupConfig {
        name: "g".into(),
        retry_max_times: 3,
        ..GroupConfig::default()
    };
    assert_eq!(config, expected);
    assert!(config.consume_enable && config.consume_broadcast_enable);
}

#[test]
fn nothing_is_a_string_number_or_set() {
    let ids: ConsumerIds = decode(br#"{"consumerIdList":null}"#).unwrap();
    assert!(ids.ids.is_empty());
    let connections = ProducerConnections {
        connections: vec![Connection::default()],
    };
    assert_eq!(
        text(encode(&connections)),
        r#"{"connectionSet":[{"clientAddr":"","clientId":"","language":"","version":0}]}"#
    );
}

#[test]
fn the_dialect_beyond_json() {
    let read = |text: &str| parse(text.as_bytes());
    assert_eq!(
        read("{0:'a\u{1}b',x:1.5,'y':[ ]}"),
        Ok(json!({"0": "a\u{1}b", "x": 1.5, "y": []}))
    );
    assert_eq!(
        read(r#"{"a":[{"b":1}],"c":{"$ref":"$.a[0]"},"d":{"$ref":"$.nowhere"},"e":{"$ref":".."}}"#),
        Ok(json!({"a": [{"b": 1}], "c": {"b": 1}, "d": null, "e": null}))
    );
    for broken in [
        "",
        "{",
        "[1",
        "{a}",
        "{\"a\":}",
        "[1,]",
        "'x",
        "1 2",
        "{\"a\":1,}",
        "nul",
    ] {
        assert!(
            matches!(read(broken), Err(BodyError::Syntax { .. })),
            "{broken}"
        );
    }
    let deep = "[".repeat(100_000);
    assert_eq!(read(&deep), Err(BodyError::Depth));
    let keys = "{".repeat(100_000);
    assert_eq!(read(&keys), Err(BodyError::Depth));
}

/// A few bytes must not become millions of values.
#[test]
fn references_are_counted() {
    let items = "0,".repeat(9_999);
    let references = r#"{"$ref":"$.a"},"#.repeat(999);
    let body = format!("{{\"a\":[{items}0],\"b\":[{references}0]}}");
    assert_eq!(parse(body.as_bytes()), Err(BodyError::TooManyValues));
}

proptest! {
    #[test]
    fn any_text_is_a_value_or_an_error(text: String) {
        let _ = parse(text.as_bytes());
    }

    #[test]
    fn any_pieces_are_a_value_or_an_error(
        pieces in prop::collection::vec(prop::sample::select(vec![
            "{", "}", "[", "]", ":", ",", "\"a\"", "'b'", "c", "1", "{\"$ref\":\"$.a\"}", "null", "-", "\\", "\"",
        ]), 0..30),
    ) {
        let text = pieces.concat();
        let _ = parse(text.as_bytes());
        let _ = decode::<Heartbeat>(text.as_bytes());
        let _ = decode::<ClientStatus>(text.as_bytes());
    }

    /// Strict JSON means the same in the dialect.
    #[test]
    fn json_is_part_of_the_dialect(
        strings in prop::collection::vec(any::<String>(), 0..5), numbers in prop::collection::vec(any::<i64>(), 0..5),
    ) {
        let value = json!({"s": strings, "n": numbers, "o": {"x": null, "y": [true, false]}});
        prop_assert_eq!(parse(value.to_string().as_bytes()), Ok(value));
    }
}
