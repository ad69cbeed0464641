//! Typed fields of sends and pulls.

use std::borrow::Cow;

use ringmq_wire::remoting::fields::{PullFields, SendFields, pull_flag};
use ringmq_wire::remoting::{Command, Header, Serialization};

use crate::captures::frames;

#[test]
fn every_captured_send_is_read() {
    let mut forms = [0; 3];
    for frame in frames().iter().filter(|f| f.direction == "client>broker") {
        let header = frame.header();
        let fields = match frame.code {
            10 => SendFields::parse_v1(&header),
            310 | 320 | 325 => SendFields::parse_v2(&header),
            _ => continue,
        };
        let fields = fields.unwrap();
        let names = if frame.code == 10 {
            ["topic", "queueId", "bornTimestamp", "properties"]
        } else {
            ["b", "e", "g", "i"]
        };
        assert_eq!(Some(fields.topic), header.field(names[0]));
        assert_eq!(
            Some(fields.queue_id.to_string()).as_deref(),
            header.field(names[1]).as_deref()
        );
        assert_eq!(fields.born_timestamp / 1_000_000_000_000, 1);
        assert_eq!(Some(fields.properties.to_str()), header.field(names[3]));
        assert_eq!(fields.batch, frame.code == 320);
        forms[[10, 310, 320]
            .iter()
            .position(|c| *c == frame.code)
            .unwrap_or(1)] += 1;
    }
    assert!(forms.iter().all(|count| *count > 0), "{forms:?}");
}

#[test]
fn every_captured_pull_is_read() {
    let mut count = 0;
    for frame in frames().iter().filter(|f| f.direction == "client>broker") {
        if ![11, 361].contains(&frame.code) {
            continue;
        }
        let header = frame.header();
        let fields = PullFields::parse(&header).unwrap();
        assert_eq!(Some(fields.consumer_group), header.field("consumerGroup"));
        assert_eq!(fields.subscription, header.field("subscription"));
        assert_eq!(fields.expression_type, header.field("expressionType"));
        assert!(fields.sys_flag & pull_flag::SUSPEND != 0);
        assert!(fields.max_messages > 0 && fields.suspend_millis >= 15_000);
        count += 1;
    }
    assert!(count > 5);
}

/// Nothing is copied but properties with escapes, and those only into the caller's buffer.
#[test]
fn strings_of_a_send_are_borrowed() {
    let command = Command::request(310, 1)
        .field("a", "group")
        .field("b", "topic")
        .field("c", "TBW102")
        .field("d", 4)
        .field("e", -1)
        .field("f", 0x301)
        .field("g", 1_795_233_796_222_i64)
        .field("h", 0)
        .field("i", "KEYS\u{1}k\u{2}");
    for serialization in [Serialization::Json, Serialization::Binary] {
        let bytes = command.encode(serialization, b"");
        let header = Header::parse(serialization, &bytes[8..]).unwrap();
        let fields = SendFields::parse_v2(&header).unwrap();
        assert!(matches!(fields.topic, Cow::Borrowed("topic")));
        assert!(matches!(fields.producer_group, Cow::Borrowed("group")));
        assert_eq!((fields.queue_id, fields.sys_flag), (-1, 769));
        assert_eq!(fields.properties.to_str(), "KEYS\u{1}k\u{2}");
        assert_eq!(fields.max_reconsume_times, None);
        assert!(!fields.batch && !fields.unit_mode);
    }
}

#[test]
fn a_missing_field_has_the_name_of_the_request() {
    let bytes = Command::request(310, 1)
        .field("a", "g")
        .encode(Serialization::Json, b"");
    let header = Header::parse(Serialization::Json, &bytes[8..]).unwrap();
    assert_eq!(SendFields::parse_v2(&header).unwrap_err().name, "b");
    assert_eq!(
        SendFields::parse_v1(&header).unwrap_err().name,
        "producerGroup"
    );
    assert_eq!(
        PullFields::parse(&header).unwrap_err().name,
        "consumerGroup"
    );
}
