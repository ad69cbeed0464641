//! Stored messages as RocketMQ's clients read them.
//!
//! What came by remoting leaves as it came. For a message of a native producer the rest is made up: properties from
//! keys, tag and properties, and a unique key from its place, so that every delivery of it has the same.

use ringmq_storage_engine::position::Position;
use ringmq_wire::batch::{BatchHeader, RecordView};
use ringmq_wire::remoting::message::{
    Host, PROPERTIES_BYTES_MAX, StoredMessage, TooLong, body_crc,
};
use ringmq_wire::remoting::message_id::MessageId;
use ringmq_wire::remoting::properties::{self, name};

/// What all messages of an answer have in common.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    pub topic: &'a str,
    /// RocketMQ's number: local to the shard.
    pub queue_id: i32,
    pub store_host: Host,
}

impl Place<'_> {
    /// Appends one message. `position` is the message's own.
    pub fn encode(
        &self,
        out: &mut Vec<u8>,
        batch: &BatchHeader,
        position: Position,
        record: &RecordView<'_>,
    ) -> Result<(), TooLong> {
        let made_up;
        let mut message = StoredMessage {
            queue_id: self.queue_id,
            flag: 0,
            queue_offset: (batch.base_offset + u64::from(record.offset_delta)) as i64,
            physical_offset: position.0 as i64,
            sys_flag: 0,
            born_timestamp: record.born_time_ms,
            born_host: Host::NONE,
            store_timestamp: batch.store_time_ms,
            store_host: self.store_host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: record.body,
            body_crc: 0,
            topic: self.topic,
            properties: "",
        };
        if let Some(envelope) = &record.envelope {
            message.flag = envelope.flag;
            message.sys_flag = envelope.sys_flag;
            message.reconsume_times = envelope.reconsume_times;
            message.prepared_transaction_offset = envelope.prepared_position as i64;
            message.body_crc = envelope.body_crc;
            message.properties = envelope.properties;
            if let Some((address, port)) = envelope.born_host {
                message.born_host = Host::new(address, port);
            }
        } else {
            made_up = native_properties(record, self.id(position));
            message.properties = &made_up;
            message.body_crc = body_crc(record.body);
        }
        let cut;
        if message.properties.len() > PROPERTIES_BYTES_MAX {
            // It was refused by no one when it was stored. Without an answer its consumers would stand still for good.
            cut = within_limit(message.properties);
            message.properties = &cut;
        }
        message.encode(out)
    }

    fn id(&self, position: Position) -> MessageId {
        MessageId {
            host: self.store_host,
            offset: position.0 as i64,
        }
    }
}

fn native_properties(record: &RecordView<'_>, id: MessageId) -> String {
    let mut text = properties::encode(record.properties.iter());
    if !record.keys.is_empty() {
        properties::append(&mut text, name::KEYS, record.keys);
    }
    if !record.tag.is_empty() {
        properties::append(&mut text, name::TAGS, record.tag);
    }
    let plain_bytes = text.len();
    if properties::get(&text, name::UNIQUE_KEY).is_none() {
        properties::append(&mut text, name::UNIQUE_KEY, &id.to_string());
    }
    if text.len() > PROPERTIES_BYTES_MAX && plain_bytes <= PROPERTIES_BYTES_MAX {
        // No room for what the producer did not write.
        text.truncate(plain_bytes);
    }
    text
}

/// What counts before a user's own properties.
const FIRST: [&str; 3] = [name::UNIQUE_KEY, name::KEYS, name::TAGS];
/// How many properties are left out, there being no room for them in a message of RocketMQ's.
const LEFT_OUT: &str = "RINGMQ_LEFT_OUT";

/// As many of the properties as a message takes, in their order.
fn within_limit(text: &str) -> String {
    let room = PROPERTIES_BYTES_MAX - LEFT_OUT.len() - "65535".len() - 2;
    let (mut kept, mut left_out) = (String::new(), 0);
    let is_first = |name: &str| FIRST.contains(&name);
    let first = properties::pairs(text).filter(|(name, _)| is_first(name));
    let others = properties::pairs(text).filter(|(name, _)| !is_first(name));
    for (name, value) in first.chain(others) {
        if kept.len() + name.len() + value.len() + 2 <= room {
            properties::append(&mut kept, name, value);
        } else {
            left_out += 1;
        }
    }
    properties::append(&mut kept, LEFT_OUT, &left_out.to_string());
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_left_out_and_counted() {
        let long = "x".repeat(20_000);
        let pairs = [("a", &*long), ("b", &*long), ("c", "d"), (name::KEYS, "k")];
        let text = within_limit(&properties::encode(pairs));
        assert!(text.len() <= PROPERTIES_BYTES_MAX);
        let kept: Vec<_> = properties::pairs(&text).collect();
        let expected = [
            (name::KEYS, "k"),
            ("a", &*long),
            ("c", "d"),
            (LEFT_OUT, "1"),
        ];
        assert_eq!(kept, expected);
        // Not even the keys fit.
        let keys = "k".repeat(40_000);
        let text = within_limit(&properties::encode([(name::KEYS, &*keys)]));
        assert_eq!(
            properties::pairs(&text).collect::<Vec<_>>(),
            [(LEFT_OUT, "1")]
        );
    }
}
