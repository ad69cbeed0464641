//! Single messages by position, offset and key.

use crate::broker::Broker;
use crate::client::*;
use ringmq_wire::batch::BatchOptions;
use ringmq_wire::codes::ErrorCode;
use ringmq_wire::native::schema::{MessageQueryBy, MessageQueryRequestT};

#[test]
fn single_messages_are_found() {
    let broker = Broker::new();
    let mut client = Client::connect(broker.address);
    client.create_topic("orders", 2);
    let message = |body, keys| Message {
        body,
        keys,
        tag: "",
    };
    let mut positions = Vec::new();
    for queue in 0..2 {
        let messages = [
            message(b"one", &["k1", "shared"]),
            message(b"two", &["k2"]),
            message(b"three", &["shared"]),
        ];
        let batch = batch_with(&messages, BatchOptions::default());
        positions.push(client.produce("orders", queue, &batch).produced().position);
    }
    let by_position = |position| MessageQueryRequestT {
        by: MessageQueryBy::Position,
        position,
        ..MessageQueryRequestT::default()
    };
    let (messages, batches) = client.query(&by_position(positions[1] + 2)).found();
    let found = &messages[0];
    assert_eq!(found.topic.as_deref(), Some("orders"));
    assert_eq!((found.queue, found.offset), (1, 2));
    assert_eq!(found.position, positions[1] + 2);
    assert_eq!(bodies(&batches[0])[2], b"three");
    let nowhere = client.query(&by_position(1 << 50));
    assert_eq!(nowhere.code(), ErrorCode::MessageNotFound);

    let by_offset = |offset| MessageQueryRequestT {
        by: MessageQueryBy::Offset,
        topic: Some("orders".to_owned()),
        queue: 0,
        offset,
        ..MessageQueryRequestT::default()
    };
    let (messages, _) = client.query(&by_offset(1)).found();
    assert_eq!(
        (messages[0].offset, messages[0].position),
        (1, positions[0] + 1)
    );
    let end = client.query(&by_offset(3));
    assert_eq!(end.code(), ErrorCode::MessageNotFound);

    let by_key = |key: &str, max_messages| MessageQueryRequestT {
        by: MessageQueryBy::Key,
        topic: Some("orders".to_owned()),
        key: Some(key.to_owned()),
        max_messages,
        ..MessageQueryRequestT::default()
    };
    let (messages, _) = client.query(&by_key("shared", 10)).found();
    let seen: Vec<_> = messages.iter().map(|m| (m.queue, m.offset)).collect();
    assert_eq!(seen, [(1, 2), (1, 0), (0, 2), (0, 0)], "newest first");
    let (messages, _) = client.query(&by_key("k2", 1)).found();
    assert_eq!((messages.len(), messages[0].queue), (1, 1));
    let (none, _) = client.query(&by_key("absent", 10)).found();
    assert_eq!(none, []);
    let bad = client.query(&MessageQueryRequestT {
        topic: Some("missing".to_owned()),
        ..by_key("k1", 1)
    });
    assert_eq!(bad.code(), ErrorCode::TopicNotFound);
}
