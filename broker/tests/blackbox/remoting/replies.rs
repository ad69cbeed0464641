//! Request and reply: the reply reaches who waits for it, whatever shard it was sent to.

use ringmq_wire::remoting::body::heartbeat::{Heartbeat, ProducerData};
use ringmq_wire::remoting::message_id::MessageId;
use ringmq_wire::remoting::properties::{self, name};
use ringmq_wire::remoting::{Command, body, request_code as code, response_code};

use super::client::Client;
use crate::harness::{Broker, scratch};

const REQUESTER: &str = "192.0.2.2@reqq";

/// A reply as responders send it, by the request with short or long names.
fn reply(short: bool, topic: &str, to: &str) -> Command {
    let properties = [
        (name::MESSAGE_TYPE, "reply"),
        (name::CORRELATION_ID, "7"),
        (name::REPLY_TO_CLIENT, to),
        (name::TTL, "8000"),
    ];
    let values = [
        "responders".to_owned(),
        topic.to_owned(),
        "TBW102".to_owned(),
        "4".to_owned(),
        "0".to_owned(),
        "0".to_owned(),
        "1700000000000".to_owned(),
        "3".to_owned(),
        properties::encode(properties),
    ];
    let long = [
        "producerGroup",
        "topic",
        "defaultTopic",
        "defaultTopicQueueNums",
        "queueId",
        "sysFlag",
        "bornTimestamp",
        "flag",
        "properties",
    ];
    let letters = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
    let (number, names) = if short {
        (code::SEND_REPLY_MESSAGE_V2, letters)
    } else {
        (code::SEND_REPLY_MESSAGE, long)
    };
    let fields = names.into_iter().zip(values);
    fields.fold(Command::request(number, 0), |command, (name, value)| {
        command.field(name, value)
    })
}

#[test]
fn a_reply_is_pushed_to_who_waits_and_the_responder_is_told_how_it_went() {
    let home = scratch();
    let broker = Broker::dev(
        &home.path().join("data"),
        &["--shards", "2", "--set", "cluster=replies"],
    );
    let topic = "replies_REPLY_TOPIC";
    let mut requester = Client::connect(broker.shards[0]);
    let heartbeat = Heartbeat {
        client_id: REQUESTER.to_owned(),
        producers: vec![ProducerData {
            group: "requesters".to_owned(),
        }],
        ..Heartbeat::default()
    };
    let command = Command::request(code::HEART_BEAT, 0);
    assert_eq!(requester.ask(command, &body::encode(&heartbeat)).0.code, 0);

    for (shard, short) in [(0, true), (1, true), (1, false)] {
        let mut responder = Client::connect(broker.shards[shard]);
        let opaque = responder.send(reply(short, topic, REQUESTER), b"pong");
        let (pushed, bytes) = requester.request(code::PUSH_REPLY_MESSAGE_TO_CLIENT);
        assert_eq!(bytes, b"pong");
        let field = |name| pushed.get(name).unwrap_or_else(|| panic!("no {name}"));
        assert_eq!(field("topic"), topic);
        assert_eq!(field("producerGroup"), "responders");
        assert_eq!(field("bornTimestamp"), "1700000000000");
        assert_eq!((field("flag"), field("queueId")), ("3", "0"));
        for host in ["bornHost", "storeHost"] {
            assert!(field(host).starts_with("127.0.0.1:"), "{}", field(host));
        }
        let said = field("properties");
        assert_eq!(properties::get(said, name::CORRELATION_ID), Some("7"));
        assert_eq!(properties::get(said, name::CLUSTER), Some("replies"));
        assert!(properties::get(said, name::PUSH_REPLY_TIME).is_some());
        // The responder is answered by what the requester says.
        let outcome = if short { 0 } else { 1 };
        requester.answer(Command::response(outcome, pushed.opaque), b"");
        let (answer, _) = responder.answer_to(opaque);
        assert_eq!(answer.code, outcome);
        let id = answer.get("msgId").expect("it is stored anyway");
        id.parse::<MessageId>().expect("a message id");
        assert_eq!(answer.get("queueId"), Some("0"));
    }

    let mut responder = Client::connect(broker.shards[0]);
    let (answer, _) = responder.ask(reply(true, topic, "nobody"), b"pong");
    assert_eq!(answer.code, response_code::SYSTEM_ERROR);
    let remark = "push reply message fail, channel of <nobody> not found.";
    assert_eq!(answer.remark.as_deref(), Some(remark));
    let (answer, _) = responder.ask(reply(true, "nowhere", REQUESTER), b"pong");
    assert_eq!(answer.code, response_code::TOPIC_NOT_EXIST);
}
