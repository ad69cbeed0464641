//! What a producer is told of messages that are in the log.

use super::send::REGION;
use ringmq_storage_engine::position::{Position, QueueOffset};
use ringmq_wire::remoting::command::{Head, Value};
use ringmq_wire::remoting::message::Host;
use ringmq_wire::remoting::message_id::{MessageId, TEXT_BYTES_MAX};
use ringmq_wire::remoting::{Serialization, response_code};

/// A message, or a batch of them, that is in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    pub queue_id: u32,
    /// Of the first message.
    pub offset: QueueOffset,
    /// Of the first message; the others follow it.
    pub position: Position,
    pub messages: u32,
    /// What must be durable before the answer.
    pub end: Position,
    /// Of a single message.
    pub unique_key: Option<String>,
}

impl Sent {
    /// Appends the answer to the request with this `opaque`: for when the messages are durable.
    pub fn write_answer(
        &self,
        out: &mut Vec<u8>,
        serialization: Serialization,
        opaque: i32,
        store_host: Host,
    ) {
        let ids = self.ids(store_host);
        let transaction = self.unique_key.as_deref();
        let fields = [
            Some(("msgId", Value::Text(&ids))),
            Some(("queueId", Value::Number(self.queue_id.into()))),
            Some(("queueOffset", Value::Number(self.offset.0 as i64))),
            transaction.map(|key| ("transactionId", Value::Text(key))),
            Some(("MSG_REGION", Value::Text(REGION))),
            Some(("TRACE_ON", Value::Text("true"))),
        ];
        let head = Head::response(response_code::SUCCESS, opaque);
        head.append_to(out, serialization, fields.into_iter().flatten(), 0);
    }

    fn ids(&self, host: Host) -> String {
        let mut ids = String::with_capacity(self.messages as usize * (TEXT_BYTES_MAX + 1));
        for index in 0..u64::from(self.messages) {
            if index > 0 {
                ids.push(',');
            }
            let offset = (self.position.0 + index) as i64;
            MessageId { host, offset }.append_to(&mut ids);
        }
        ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringmq_wire::limits::BATCH_RECORDS_MAX;
    use ringmq_wire::remoting::{FramePrefix, Header};
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    fn answer(messages: u32, host: IpAddr) -> Vec<u8> {
        let sent = Sent {
            queue_id: 3,
            offset: QueueOffset(12),
            position: Position(0x1C0),
            messages,
            end: Position(0x2A8),
            unique_key: None,
        };
        let mut out = Vec::new();
        sent.write_answer(&mut out, Serialization::Json, 7, Host::new(host, 10911));
        out
    }

    #[test]
    fn an_answer_says_where_each_message_lies() {
        let bytes = answer(2, Ipv4Addr::LOCALHOST.into());
        let header = Header::parse(Serialization::Json, &bytes[8..]);
        let header = header.expect("it was just written");
        assert_eq!((header.code, header.opaque), (response_code::SUCCESS, 7));
        let ids = "7F00000100002A9F00000000000001C0,7F00000100002A9F00000000000001C1";
        assert_eq!(header.field("msgId").as_deref(), Some(ids));
        assert_eq!(header.field("queueId").as_deref(), Some("3"));
        assert_eq!(header.field("queueOffset").as_deref(), Some("12"));
        assert_eq!(header.field("transactionId"), None);
        assert_eq!(header.field("MSG_REGION").as_deref(), Some(REGION));
    }

    #[test]
    fn the_largest_batch_can_be_answered() {
        let bytes = answer(BATCH_RECORDS_MAX as u32, Ipv6Addr::LOCALHOST.into());
        let total = bytes
            .first_chunk::<4>()
            .map(|bytes| u32::from_be_bytes(*bytes));
        assert_eq!(total, Some(bytes.len() as u32 - 4));
        // Longer than any header that is sent to us.
        assert!(FramePrefix::parse(&bytes).is_err());
    }
}
