//! Reading messages.

use std::net::IpAddr;

use super::{Host, MAGIC_V1, MAGIC_V2, StoredMessage, sys_flag};
use crate::remoting::reader::{LengthError, Reader};

/// Why bytes are not a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    #[error(transparent)]
    Length(#[from] LengthError),
    #[error("unknown magic {0:#010x}")]
    Magic(u32),
    #[error("{0} bytes are left over in the message")]
    LeftOver(usize),
    #[error("{0} is not UTF-8")]
    NotUtf8(&'static str),
}

/// The messages of a body, one behind the other. Nothing follows an error.
#[derive(Debug, Clone)]
pub struct StoredMessages<'a> {
    reader: Reader<'a>,
}

impl<'a> StoredMessages<'a> {
    pub fn new(body: &'a [u8]) -> Self {
        Self {
            reader: Reader { rest: body },
        }
    }

    fn read(&mut self) -> Result<StoredMessage<'a>, MessageError> {
        let mut ahead = self.reader;
        let total = ahead.i32("total length")?;
        let whole = self.reader.take("message", total)?;
        StoredMessage::decode(whole)
    }
}

impl<'a> Iterator for StoredMessages<'a> {
    type Item = Result<StoredMessage<'a>, MessageError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.rest.is_empty() {
            return None;
        }
        let message = self.read();
        if message.is_err() {
            self.reader.rest = &[];
        }
        Some(message)
    }
}

impl<'a> StoredMessage<'a> {
    /// Reads the message that is exactly `bytes`. The checksum of the body is not compared.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, MessageError> {
        let mut reader = Reader { rest: bytes };
        let reader = &mut reader;
        let total = reader.i32("total length")?;
        if i64::from(total) != bytes.len() as i64 {
            return Err(LengthError {
                what: "message",
                length: total.into(),
                left: bytes.len(),
            }
            .into());
        }
        let magic = reader.u32("magic")?;
        if magic != MAGIC_V1 && magic != MAGIC_V2 {
            return Err(MessageError::Magic(magic));
        }
        let body_crc = reader.u32("body crc")?;
        let queue_id = reader.i32("queue id")?;
        let flag = reader.i32("flag")?;
        let queue_offset = reader.i64("queue offset")?;
        let physical_offset = reader.i64("physical offset")?;
        let sys_flag = reader.i32("sys flag")?;
        let born_timestamp = reader.i64("born time")?;
        let born_host = host(reader, sys_flag & sys_flag::BORN_HOST_V6 != 0)?;
        let store_timestamp = reader.i64("store time")?;
        let store_host = host(reader, sys_flag & sys_flag::STORE_HOST_V6 != 0)?;
        let reconsume_times = reader.i32("reconsume times")?;
        let prepared_transaction_offset = reader.i64("prepared transaction offset")?;
        let body_length = reader.i32("body length")?;
        let body = reader.take("body", body_length)?;
        let topic_length = if magic == MAGIC_V1 {
            i64::from(reader.u8("topic length")?)
        } else {
            i64::from(reader.i16("topic length")?)
        };
        let topic = text("topic", reader.take("topic", topic_length)?)?;
        let properties_length = reader.i16("properties length")?;
        let properties = text("properties", reader.take("properties", properties_length)?)?;
        if !reader.rest.is_empty() {
            return Err(MessageError::LeftOver(reader.rest.len()));
        }
        Ok(Self {
            queue_id,
            flag,
            queue_offset,
            physical_offset,
            sys_flag,
            born_timestamp,
            born_host,
            store_timestamp,
            store_host,
            reconsume_times,
            prepared_transaction_offset,
            body,
            body_crc,
            topic,
            properties,
        })
    }
}

fn host(reader: &mut Reader<'_>, v6: bool) -> Result<Host, LengthError> {
    let address = if v6 {
        IpAddr::from(reader.array::<16>("address")?)
    } else {
        IpAddr::from(reader.array::<4>("address")?)
    };
    let port = reader.u32("port")?;
    Ok(Host { address, port })
}

fn text<'a>(what: &'static str, bytes: &'a [u8]) -> Result<&'a str, MessageError> {
    std::str::from_utf8(bytes).map_err(|_| MessageError::NotUtf8(what))
}
