//! The id that a broker gives a message: where it lies. Upper-case hex of address, port (32 bits) and log offset.
//!
//! Clients take it apart: they view a message at that address, and end a transaction with that offset.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::message::Host;
use super::reader::Reader;
use super::text::append_hex;

/// A broker's address and an offset in its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageId {
    pub host: Host,
    pub offset: i64,
}

/// Longest text of an id: that of an IPv6 address.
pub const TEXT_BYTES_MAX: usize = 56;

/// A text that is no message id, such as one that a client gave itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a message id has 32 or 56 hexadecimal digits")]
pub struct NotAMessageId;

impl MessageId {
    /// Appends the text.
    pub fn append_to(&self, out: &mut String) {
        match self.host.address {
            IpAddr::V4(address) => append_hex(out, &address.octets()),
            IpAddr::V6(address) => append_hex(out, &address.octets()),
        }
        append_hex(out, &self.host.port.to_be_bytes());
        append_hex(out, &self.offset.to_be_bytes());
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(TEXT_BYTES_MAX);
        self.append_to(&mut text);
        out.write_str(&text)
    }
}

impl FromStr for MessageId {
    type Err = NotAMessageId;

    fn from_str(text: &str) -> Result<Self, NotAMessageId> {
        let mut bytes = [0; 28];
        let digits = text.as_bytes();
        if digits.len() != 32 && digits.len() != TEXT_BYTES_MAX {
            return Err(NotAMessageId);
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        read(&bytes[..digits.len() / 2]).ok_or(NotAMessageId)
    }
}

fn digit(byte: u8) -> Result<u8, NotAMessageId> {
    let digit = char::from(byte).to_digit(16).ok_or(NotAMessageId)?;
    Ok(digit as u8)
}

fn read(bytes: &[u8]) -> Option<MessageId> {
    let mut reader = Reader { rest: bytes };
    let address = if bytes.len() == 16 {
        IpAddr::from(reader.array::<4>("address").ok()?)
    } else {
        IpAddr::from(reader.array::<16>("address").ok()?)
    };
    let port = reader.u32("port").ok()?;
    let offset = reader.i64("offset").ok()?;
    Some(MessageId {
        host: Host { address, port },
        offset,
    })
}
