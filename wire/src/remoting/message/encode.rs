//! Writing messages.

use std::net::IpAddr;

use super::{
    Host, MAGIC_V1, MAGIC_V2, PROPERTIES_BYTES_MAX, StoredMessage, TOPIC_BYTES_MAX,
    TOPIC_BYTES_MAX_V1, sys_flag,
};

/// Bytes of a message beside body, topic and properties, with IPv4 hosts, in version 1.
const FIXED_BYTES: usize = 91;
/// What an IPv6 host takes more.
const V6_EXTRA_BYTES: usize = 12;

/// A message that the format has no room for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TooLong {
    #[error("topic of {0} bytes (limit {TOPIC_BYTES_MAX})")]
    Topic(usize),
    #[error("properties of {0} bytes (limit {PROPERTIES_BYTES_MAX})")]
    Properties(usize),
    #[error("body of {0} bytes")]
    Body(usize),
}

impl StoredMessage<'_> {
    /// Bytes of the whole encoding.
    pub fn encoded_bytes(&self) -> usize {
        let hosts = usize::from(self.born_host.is_v6()) + usize::from(self.store_host.is_v6());
        FIXED_BYTES
            + usize::from(self.is_v2())
            + hosts * V6_EXTRA_BYTES
            + self.body.len()
            + self.topic.len()
            + self.properties.len()
    }

    /// Appends the encoding; nothing is appended if the message is too long.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        self.check()?;
        out.reserve(self.encoded_bytes());
        self.encode_before_body(out);
        out.extend_from_slice(self.body);
        self.encode_behind_body(out);
        Ok(())
    }

    /// Whether the format has room for the message: what the two halves below assume.
    pub fn check(&self) -> Result<(), TooLong> {
        if self.topic.len() > TOPIC_BYTES_MAX {
            return Err(TooLong::Topic(self.topic.len()));
        }
        if self.properties.len() > PROPERTIES_BYTES_MAX {
            return Err(TooLong::Properties(self.properties.len()));
        }
        if i32::try_from(self.encoded_bytes()).is_err() {
            return Err(TooLong::Body(self.body.len()));
        }
        Ok(())
    }

    /// Appends everything before the body, for senders that do not want to copy it.
    pub fn encode_before_body(&self, out: &mut Vec<u8>) {
        let magic = if self.is_v2() { MAGIC_V2 } else { MAGIC_V1 };
        out.extend_from_slice(&(self.encoded_bytes() as i32).to_be_bytes());
        out.extend_from_slice(&magic.to_be_bytes());
        out.extend_from_slice(&self.body_crc.to_be_bytes());
        out.extend_from_slice(&self.queue_id.to_be_bytes());
        out.extend_from_slice(&self.flag.to_be_bytes());
        out.extend_from_slice(&self.queue_offset.to_be_bytes());
        out.extend_from_slice(&self.physical_offset.to_be_bytes());
        out.extend_from_slice(&self.written_sys_flag().to_be_bytes());
        out.extend_from_slice(&self.born_timestamp.to_be_bytes());
        host(out, self.born_host);
        out.extend_from_slice(&self.store_timestamp.to_be_bytes());
        host(out, self.store_host);
        out.extend_from_slice(&self.reconsume_times.to_be_bytes());
        out.extend_from_slice(&self.prepared_transaction_offset.to_be_bytes());
        out.extend_from_slice(&(self.body.len() as i32).to_be_bytes());
    }

    /// Appends everything behind the body.
    pub fn encode_behind_body(&self, out: &mut Vec<u8>) {
        if self.is_v2() {
            out.extend_from_slice(&(self.topic.len() as i16).to_be_bytes());
        } else {
            out.push(self.topic.len() as u8);
        }
        out.extend_from_slice(self.topic.as_bytes());
        out.extend_from_slice(&(self.properties.len() as i16).to_be_bytes());
        out.extend_from_slice(self.properties.as_bytes());
    }

    fn is_v2(&self) -> bool {
        self.topic.len() > TOPIC_BYTES_MAX_V1
    }

    fn written_sys_flag(&self) -> i32 {
        let mut flag = self.sys_flag & !(sys_flag::BORN_HOST_V6 | sys_flag::STORE_HOST_V6);
        if self.born_host.is_v6() {
            flag |= sys_flag::BORN_HOST_V6;
        }
        if self.store_host.is_v6() {
            flag |= sys_flag::STORE_HOST_V6;
        }
        flag
    }
}

fn host(out: &mut Vec<u8>, host: Host) {
    match host.address {
        IpAddr::V4(address) => out.extend_from_slice(&address.octets()),
        IpAddr::V6(address) => out.extend_from_slice(&address.octets()),
    }
    out.extend_from_slice(&host.port.to_be_bytes());
}
