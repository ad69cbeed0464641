//! A message as RocketMQ stores and delivers it.
//!
//! ```text
//! total i32 | magic i32 | body crc i32 | queue id i32 | flag i32 | queue offset i64 | physical offset i64
//! sys flag i32 | born time i64 | born host 8 or 20 | store time i64 | store host 8 or 20 | reconsume times i32
//! prepared transaction offset i64 | body length i32 | body
//! topic length u8 (version 1) or i16 (version 2) | topic | properties length i16 | properties
//! ```
//! A host is an address of 4 or 16 bytes and a port of 4; two bits of the sys flag tell which. The answer to a pull is
//! such messages one behind the other, without anything between them.

mod decode;
mod encode;

use std::net::{IpAddr, Ipv4Addr};

pub use decode::{MessageError, StoredMessages};
pub use encode::TooLong;

/// Marks version 1: topics up to [`TOPIC_BYTES_MAX_V1`].
const MAGIC_V1: u32 = 0xDAA3_20A7;
/// Marks version 2: longer topics, such as the retry topic of a group with a long name. Only newer clients know it.
const MAGIC_V2: u32 = 0xDAA3_20AB;

/// Longest topic that version 1 is used for.
pub const TOPIC_BYTES_MAX_V1: usize = 127;
/// Longest topic at all.
pub const TOPIC_BYTES_MAX: usize = 255;
/// Most bytes of properties: their length has 16 bits and a sign.
pub const PROPERTIES_BYTES_MAX: usize = i16::MAX as usize;

/// Bits of a message's `sys_flag`.
pub mod sys_flag {
    /// The producer compressed the body.
    pub const COMPRESSED: i32 = crate::batch::body::COMPRESSED;
    pub const MULTI_TAGS: i32 = 2;
    /// Both bits of the transaction state.
    pub const TRANSACTION: i32 = 0xC;
    pub const TRANSACTION_PREPARED: i32 = 0x4;
    pub const TRANSACTION_COMMIT: i32 = 0x8;
    pub const TRANSACTION_ROLLBACK: i32 = 0xC;
    /// The born host is an IPv6 address.
    pub const BORN_HOST_V6: i32 = 0x10;
    /// The store host is an IPv6 address.
    pub const STORE_HOST_V6: i32 = 0x20;
    /// The three bits of the kind of compression: 0 zlib of old clients, 1 LZ4 frame, 2 Zstandard, 3 zlib.
    pub const COMPRESSION: i32 = crate::batch::body::KIND;
}

/// An address and a port. RocketMQ writes ports with 32 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Host {
    pub address: IpAddr,
    pub port: u32,
}

impl Host {
    /// An IPv4 address in IPv6 clothes is taken as the IPv4 address that it is: old clients read no other.
    pub fn new(address: IpAddr, port: u32) -> Self {
        Self {
            address: address.to_canonical(),
            port,
        }
    }
    /// What is written when an address is not known.
    pub const NONE: Self = Self {
        address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        port: 0,
    };
    fn is_v6(&self) -> bool {
        self.address.is_ipv6()
    }
}

impl From<std::net::SocketAddr> for Host {
    fn from(address: std::net::SocketAddr) -> Self {
        Self::new(address.ip(), u32::from(address.port()))
    }
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMessage<'a> {
    pub queue_id: i32,
    /// The user's flag.
    pub flag: i32,
    pub queue_offset: i64,
    /// Where the message lies in the broker's log; clients only hand it back.
    pub physical_offset: i64,
    /// See [`sys_flag`]. The two bits of the hosts follow from the hosts when a message is written.
    pub sys_flag: i32,
    /// The producer's clock, in milliseconds.
    pub born_timestamp: i64,
    pub born_host: Host,
    /// The broker's clock, in milliseconds.
    pub store_timestamp: i64,
    pub store_host: Host,
    pub reconsume_times: i32,
    /// Where the half message of a committed one lies; otherwise 0.
    pub prepared_transaction_offset: i64,
    /// As the producer made it: compressed, if it did that.
    pub body: &'a [u8],
    /// See [`body_crc`].
    pub body_crc: u32,
    pub topic: &'a str,
    /// See [`crate::remoting::properties`].
    pub properties: &'a str,
}

/// The checksum of a body as stored: CRC-32 without its top bit.
pub fn body_crc(body: &[u8]) -> u32 {
    crc32fast::hash(body) & 0x7FFF_FFFF
}
