//! The native frame.
//!
//! ```text
//!  0        4          8      10     12           16               24
//!  +--------+----------+------+------+------------+----------------+---------+---------+
//!  | length | header   | kind | flags| header     | correlation id | header  | payload |
//!  |        | length   |      |      | checksum   |                | (table) |         |
//!  +--------+----------+------+------+------------+----------------+---------+---------+
//!  length counts everything behind itself; the checksum is CRC-32 over bytes 0..12, 16..24 and the header.
//! ```
//! The payload is not covered: record batches carry their own checksums.

use crate::limits::{FRAME_BYTES_MAX, FRAME_HEADER_BYTES_MAX};

/// Bytes before the header table.
pub const FRAME_PREFIX_BYTES: usize = 24;

/// Bits of the flags field. Unknown bits are refused.
pub mod flags {
    /// An answer.
    pub const RESPONSE: u16 = 1;
    /// The header is an `ErrorResponse`.
    pub const ERROR: u16 = 2;
    /// More answers with this correlation id will follow.
    pub const MORE: u16 = 4;
    /// All known bits.
    pub const ALL: u16 = RESPONSE | ERROR | MORE;
}

/// The fixed part of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FramePrefix {
    /// Whole frame, length field included.
    pub frame_bytes: usize,
    /// Bytes of the header table.
    pub header_bytes: usize,
    /// A [`crate::codes::Kind`], possibly unknown here.
    pub kind: u16,
    /// See [`flags`].
    pub flags: u16,
    /// Chosen by the requester, repeated in the answer.
    pub correlation_id: u64,
}

/// A frame at the start of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoded {
    /// More bytes are needed: at least this many in all.
    Incomplete(usize),
    /// The prefix and the header are whole and checked; the payload may still be on its way.
    Ready(FramePrefix),
}

/// Why bytes are not a frame. The stream cannot be read further.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("frame of {bytes} bytes is over the limit of {FRAME_BYTES_MAX}")]
    TooLarge { bytes: usize },
    #[error(
        "frame of {frame_bytes} bytes cannot hold a header of {header_bytes} bytes (limit {FRAME_HEADER_BYTES_MAX})"
    )]
    BadLengths {
        frame_bytes: usize,
        header_bytes: usize,
    },
    #[error("unknown flag bits {0:#06x}")]
    UnknownFlags(u16),
    #[error("header checksum is {found:#010x}, should be {expected:#010x}")]
    Checksum { expected: u32, found: u32 },
    #[error("header table cannot be read: {0}")]
    Header(String),
}

impl FramePrefix {
    /// Bytes behind the header.
    pub fn payload_bytes(&self) -> usize {
        self.frame_bytes - FRAME_PREFIX_BYTES - self.header_bytes
    }
    /// Where the header is in the frame.
    pub fn header_range(&self) -> std::ops::Range<usize> {
        FRAME_PREFIX_BYTES..FRAME_PREFIX_BYTES + self.header_bytes
    }
    /// Where the payload is in the frame.
    pub fn payload_range(&self) -> std::ops::Range<usize> {
        FRAME_PREFIX_BYTES + self.header_bytes..self.frame_bytes
    }
}

/// Looks for a frame at the start of `bytes`. Lengths are checked as soon as they are there, so that a wrong one
/// never makes the reader wait for, or allocate, what will not come.
pub fn decode(bytes: &[u8]) -> Result<Decoded, FrameError> {
    let Some(length) = read_u32(bytes, 0) else {
        return Ok(Decoded::Incomplete(FRAME_PREFIX_BYTES));
    };
    let frame_bytes = length as usize + 4;
    if frame_bytes > FRAME_BYTES_MAX {
        return Err(FrameError::TooLarge { bytes: frame_bytes });
    }
    let Some(prefix) = bytes.get(..FRAME_PREFIX_BYTES) else {
        return Ok(Decoded::Incomplete(FRAME_PREFIX_BYTES));
    };
    let header_bytes = u32::from_le_bytes([prefix[4], prefix[5], prefix[6], prefix[7]]) as usize;
    if header_bytes > FRAME_HEADER_BYTES_MAX || FRAME_PREFIX_BYTES + header_bytes > frame_bytes {
        return Err(FrameError::BadLengths {
            frame_bytes,
            header_bytes,
        });
    }
    let frame_flags = u16::from_le_bytes([prefix[10], prefix[11]]);
    if frame_flags & !flags::ALL != 0 {
        return Err(FrameError::UnknownFlags(frame_flags));
    }
    let Some(header) = bytes.get(FRAME_PREFIX_BYTES..FRAME_PREFIX_BYTES + header_bytes) else {
        return Ok(Decoded::Incomplete(FRAME_PREFIX_BYTES + header_bytes));
    };
    let found = u32::from_le_bytes([prefix[12], prefix[13], prefix[14], prefix[15]]);
    let expected = checksum(prefix, header);
    if found != expected {
        return Err(FrameError::Checksum { expected, found });
    }
    let mut correlation = [0; 8];
    correlation.copy_from_slice(&prefix[16..24]);
    Ok(Decoded::Ready(FramePrefix {
        frame_bytes,
        header_bytes,
        kind: u16::from_le_bytes([prefix[8], prefix[9]]),
        flags: frame_flags,
        correlation_id: u64::from_le_bytes(correlation),
    }))
}

/// The fixed part of a frame with this header and a payload of `payload_bytes`.
///
/// # Panics
/// If the frame would be over the limits: callers bound their answers.
pub fn encode_prefix(
    kind: u16,
    frame_flags: u16,
    correlation_id: u64,
    header: &[u8],
    payload_bytes: usize,
) -> [u8; FRAME_PREFIX_BYTES] {
    let frame_bytes = FRAME_PREFIX_BYTES + header.len() + payload_bytes;
    assert!(frame_bytes <= FRAME_BYTES_MAX && header.len() <= FRAME_HEADER_BYTES_MAX);
    let mut prefix = [0; FRAME_PREFIX_BYTES];
    prefix[0..4].copy_from_slice(&((frame_bytes - 4) as u32).to_le_bytes());
    prefix[4..8].copy_from_slice(&(header.len() as u32).to_le_bytes());
    prefix[8..10].copy_from_slice(&kind.to_le_bytes());
    prefix[10..12].copy_from_slice(&frame_flags.to_le_bytes());
    prefix[16..24].copy_from_slice(&correlation_id.to_le_bytes());
    let sum = checksum(&prefix, header);
    prefix[12..16].copy_from_slice(&sum.to_le_bytes());
    prefix
}

fn checksum(prefix: &[u8], header: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&prefix[0..12]);
    hasher.update(&prefix[16..FRAME_PREFIX_BYTES]);
    hasher.update(header);
    hasher.finalize()
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..at + 4)?;
    Some(u32::from_le_bytes([field[0], field[1], field[2], field[3]]))
}
