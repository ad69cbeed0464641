//! Stored messages, batches and properties: what is read and written is read again the same.

use ringmq_wire::remoting::batch::InnerMessages;
use ringmq_wire::remoting::message::StoredMessages;
use ringmq_wire::remoting::properties;

pub fn check(bytes: &[u8]) {
    for message in StoredMessages::new(bytes).flatten() {
        let mut again = Vec::new();
        if message.encode(&mut again).is_err() {
            continue; // a topic longer than anybody writes
        }
        let read: Vec<_> = StoredMessages::new(&again).collect();
        assert_eq!(read.len(), 1);
        assert_eq!(
            read[0].as_ref().expect("what was written").body,
            message.body
        );
        let mut text = message.properties.to_owned();
        properties::set(&mut text, "KEYS", "k");
        assert_eq!(properties::get(&text, "KEYS"), Some("k"));
    }
    for message in InnerMessages::new(bytes).flatten() {
        let mut again = Vec::new();
        message.encode(&mut again).expect("it was as short");
        let read: Vec<_> = InnerMessages::new(&again).collect();
        assert_eq!(read, [Ok(message)]);
    }
}
