//! What a RocketMQ message has beyond ours, kept so that it leaves as it came.
//!
//! ```text
//! flag i32 | sys_flag i32 | reconsume_times i32 | body_crc u32 | prepared_position u64
//! host kind u8 (0 none, 4, 6) | address 4 or 16 bytes | port u32 | property string: the rest
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// RocketMQ's own fields of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// The user's flag.
    pub flag: i32,
    /// `sysFlag` as sent: body compression, transaction state.
    pub sys_flag: i32,
    pub reconsume_times: i32,
    /// CRC-32 of the body as stored.
    pub body_crc: u32,
    /// Log position of the half message that a committed one came from; 0: none.
    pub prepared_position: u64,
    /// Where the message came from.
    pub born_host: Option<(IpAddr, u32)>,
    /// All properties in RocketMQ's own encoding, verbatim.
    pub properties: &'a str,
}

const FIXED_BYTES: usize = 24;

impl<'a> Envelope<'a> {
    /// Bytes of the encoding.
    pub fn encoded_bytes(&self) -> usize {
        let host_bytes = match self.born_host {
            None => 0,
            Some((IpAddr::V4(_), _)) => 8,
            Some((IpAddr::V6(_), _)) => 20,
        };
        FIXED_BYTES + 1 + host_bytes + self.properties.len()
    }

    /// Appends the encoding.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.flag.to_le_bytes());
        out.extend_from_slice(&self.sys_flag.to_le_bytes());
        out.extend_from_slice(&self.reconsume_times.to_le_bytes());
        out.extend_from_slice(&self.body_crc.to_le_bytes());
        out.extend_from_slice(&self.prepared_position.to_le_bytes());
        match self.born_host {
            None => out.push(0),
            Some((IpAddr::V4(address), port)) => {
                out.push(4);
                out.extend_from_slice(&address.octets());
                out.extend_from_slice(&port.to_le_bytes());
            }
            Some((IpAddr::V6(address), port)) => {
                out.push(6);
                out.extend_from_slice(&address.octets());
                out.extend_from_slice(&port.to_le_bytes());
            }
        }
        out.extend_from_slice(self.properties.as_bytes());
    }

    /// The id that the producing client gave the message, one of its properties; looked up like a key.
    pub fn unique_key(&self) -> Option<&'a str> {
        let mut rest = self.properties;
        loop {
            let end = rest.as_bytes().iter().rposition(|byte| *byte == 2);
            let pair = &rest[end.map_or(0, |end| end + 1)..];
            if let Some(key) = pair.strip_prefix("UNIQ_KEY\u{1}") {
                return Some(key).filter(|key| !key.is_empty());
            }
            rest = &rest[..end?];
        }
    }

    /// Reads an envelope that is exactly `bytes`.
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (fixed, rest) = bytes.split_first_chunk::<FIXED_BYTES>()?;
        let word = |at: usize| {
            u32::from_le_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]])
        };
        let (&kind, rest) = rest.split_first()?;
        let (born_host, rest) = match kind {
            0 => (None, rest),
            4 => {
                let (address, rest) = rest.split_first_chunk::<4>()?;
                let (port, rest) = rest.split_first_chunk::<4>()?;
                let address = IpAddr::V4(Ipv4Addr::from(*address));
                (Some((address, u32::from_le_bytes(*port))), rest)
            }
            6 => {
                let (address, rest) = rest.split_first_chunk::<16>()?;
                let (port, rest) = rest.split_first_chunk::<4>()?;
                let address = IpAddr::V6(Ipv6Addr::from(*address));
                (Some((address, u32::from_le_bytes(*port))), rest)
            }
            _ => return None,
        };
        Some(Self {
            flag: word(0) as i32,
            sys_flag: word(4) as i32,
            reconsume_times: word(8) as i32,
            body_crc: word(12),
            prepared_position: u64::from(word(16)) | u64::from(word(20)) << 32,
            born_host,
            properties: std::str::from_utf8(rest).ok()?,
        })
    }
}
