//! The header of a frame.
//!
//! One group commit writes one frame: header, records ([`super::record`]), zeros up to the next multiple of 4096.
//!
//! ```text
//!      replicated part: equal on every copy of the log
//!   0  magic u32 = "RQF1" | version u16 = 1 | reserved u16, zero
//!   8  term u64
//!  16  index u64                  dense from 0
//!  24  position u64               of this header
//!  32  body_bytes u32             of the records, a multiple of 8 | record_count u32
//!  40  first_store_time_ms i64 | last_store_time_ms i64
//!  56  previous_checksum u32      `checksum` of the frame before; 0 in frame 0
//!  60  body_checksum u32          CRC-32 over the records
//!  64  reserved, 8 bytes, zero
//!  72  checksum u32               CRC-32 over bytes 0..72
//!      local part: a follower writes its own
//!  76  local_checksum u32         CRC-32 over bytes 72..76 and 80..120
//!  80  log_id u128                random, of this copy of the log
//!  96  epoch u64                  of the opening of this copy
//! 104  durable u64                durable frontier when the frame was sealed
//! 112  reserved, 8 bytes, zero
//! 120  zeros, 8 bytes
//! 128  records
//! ```
//! A frame is valid only in its place: see [`FrameHeader::check_follows`]. So a frame left over in a recycled
//! segment, or cut off by an earlier recovery, is invalid by itself.

use crate::disk::BLOCK_BYTES;
use crate::format::{COUNT_MAX, i64_at, put, round_up, u16_at, u32_at, u64_at, u128_at};
use crate::position::Position;

/// Bytes before the records.
pub const FRAME_HEADER_BYTES: usize = 128;
const MAGIC: u32 = u32::from_le_bytes(*b"RQF1");
const VERSION: u16 = 1;

/// The decoded header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    pub term: u64,
    pub index: u64,
    pub position: Position,
    pub body_bytes: u32,
    pub record_count: u32,
    pub first_store_time_ms: i64,
    pub last_store_time_ms: i64,
    pub previous_checksum: u32,
    pub body_checksum: u32,
    pub log_id: u128,
    pub epoch: u64,
    pub durable: Position,
}

/// What the next frame must fit to: the end of the chain so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Index of the next frame.
    pub next_index: u64,
    /// `checksum` of the last header.
    pub checksum: u32,
    pub term: u64,
    pub epoch: u64,
    pub store_time_ms: i64,
    /// End of the last frame.
    pub end: Position,
}

impl Link {
    /// Before frame 0.
    pub const GENESIS: Self = Self {
        next_index: 0,
        checksum: 0,
        term: 0,
        epoch: 0,
        store_time_ms: i64::MIN,
        end: Position(0),
    };
}

/// Why bytes are not a frame, or not the one that belongs here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("no frame starts here")]
    NoFrame,
    #[error("frame version {0} is not known")]
    Version(u16),
    #[error("the {0} part of the frame header is damaged")]
    HeaderChecksum(&'static str),
    #[error("frame field {field} is {value}")]
    Field { field: &'static str, value: u64 },
    #[error("the frame belongs to another log")]
    OtherLog,
    #[error("the frame does not follow its predecessor: {field} is {found}, should be {expected}")]
    Chain {
        field: &'static str,
        expected: u64,
        found: u64,
    },
    #[error("the records of the frame are damaged")]
    BodyChecksum,
    #[error("a frame of {0} bytes is cut short")]
    Truncated(usize),
}

impl FrameHeader {
    /// Writes the header into the first [`FRAME_HEADER_BYTES`] and returns its checksum.
    pub fn encode(&self, out: &mut [u8]) -> u32 {
        let out = &mut out[..FRAME_HEADER_BYTES];
        out.fill(0);
        put(out, 0, &MAGIC.to_le_bytes());
        put(out, 4, &VERSION.to_le_bytes());
        put(out, 8, &self.term.to_le_bytes());
        put(out, 16, &self.index.to_le_bytes());
        put(out, 24, &self.position.0.to_le_bytes());
        put(out, 32, &self.body_bytes.to_le_bytes());
        put(out, 36, &self.record_count.to_le_bytes());
        put(out, 40, &self.first_store_time_ms.to_le_bytes());
        put(out, 48, &self.last_store_time_ms.to_le_bytes());
        put(out, 56, &self.previous_checksum.to_le_bytes());
        put(out, 60, &self.body_checksum.to_le_bytes());
        let checksum = crc32fast::hash(&out[..72]);
        put(out, 72, &checksum.to_le_bytes());
        put(out, 80, &self.log_id.to_le_bytes());
        put(out, 96, &self.epoch.to_le_bytes());
        put(out, 104, &self.durable.0.to_le_bytes());
        let local = local_checksum(out);
        put(out, 76, &local.to_le_bytes());
        checksum
    }

    /// Decodes and checks the header; `bytes` may go on behind it. The second value is its checksum.
    pub fn parse(bytes: &[u8]) -> Result<(Self, u32), FrameError> {
        let Some(b) = bytes.first_chunk::<FRAME_HEADER_BYTES>() else {
            return Err(FrameError::Truncated(FRAME_HEADER_BYTES));
        };
        if u32_at(b, 0) != MAGIC {
            return Err(FrameError::NoFrame);
        }
        let checksum = crc32fast::hash(&b[..72]);
        if u32_at(b, 72) != checksum {
            return Err(FrameError::HeaderChecksum("replicated"));
        }
        if u16_at(b, 4) != VERSION {
            return Err(FrameError::Version(u16_at(b, 4)));
        }
        if u32_at(b, 76) != local_checksum(b) {
            return Err(FrameError::HeaderChecksum("local"));
        }
        let header = Self {
            term: u64_at(b, 8),
            index: u64_at(b, 16),
            position: Position(u64_at(b, 24)),
            body_bytes: u32_at(b, 32),
            record_count: u32_at(b, 36),
            first_store_time_ms: i64_at(b, 40),
            last_store_time_ms: i64_at(b, 48),
            previous_checksum: u32_at(b, 56),
            body_checksum: u32_at(b, 60),
            log_id: u128_at(b, 80),
            epoch: u64_at(b, 96),
            durable: Position(u64_at(b, 104)),
        };
        header.check_fields(b)?;
        Ok((header, checksum))
    }

    fn check_fields(&self, b: &[u8; FRAME_HEADER_BYTES]) -> Result<(), FrameError> {
        let field = |field, value| Err(FrameError::Field { field, value });
        if u16_at(b, 6) != 0 || u64_at(b, 64) != 0 || u64_at(b, 112) != 0 || u64_at(b, 120) != 0 {
            return field("reserved", 1);
        }
        if !self.position.0.is_multiple_of(BLOCK_BYTES as u64) {
            return field("position", self.position.0);
        }
        if self.body_bytes == 0 || !self.body_bytes.is_multiple_of(8) {
            return field("body_bytes", u64::from(self.body_bytes));
        }
        if self.record_count == 0 || self.record_count > self.body_bytes / 8 {
            return field("record_count", u64::from(self.record_count));
        }
        if self.durable > self.position {
            return field("durable", self.durable.0);
        }
        if self.position.0.checked_add(1 << 33).is_none() {
            return field("position", self.position.0);
        }
        if self.index > COUNT_MAX {
            return field("index", self.index);
        }
        if self.epoch > COUNT_MAX {
            return field("epoch", self.epoch);
        }
        Ok(())
    }

    /// The whole frame with its padding.
    pub fn frame_bytes(&self) -> usize {
        frame_bytes(self.body_bytes as usize)
    }

    /// Position behind the padding.
    pub fn end(&self) -> Position {
        Position(self.position.0 + self.frame_bytes() as u64)
    }

    /// Whether this header, found at `at`, continues the chain that ends in `link`.
    pub fn check_follows(&self, link: &Link, log_id: u128, at: Position) -> Result<(), FrameError> {
        if self.log_id != log_id {
            return Err(FrameError::OtherLog);
        }
        let equal = |field, found, expected| {
            if found == expected {
                return Ok(());
            }
            Err(FrameError::Chain {
                field,
                expected,
                found,
            })
        };
        equal("position", self.position.0, at.0)?;
        equal("index", self.index, link.next_index)?;
        equal(
            "previous_checksum",
            u64::from(self.previous_checksum),
            u64::from(link.checksum),
        )?;
        let not_lower =
            |field, found: u64, expected: u64| equal(field, found.min(expected), expected);
        not_lower("term", self.term, link.term)?;
        not_lower("epoch", self.epoch, link.epoch)
    }

    /// The chain with this frame at its end.
    pub fn link(&self, checksum: u32) -> Link {
        Link {
            next_index: self.index + 1,
            checksum,
            term: self.term,
            epoch: self.epoch,
            store_time_ms: self.last_store_time_ms,
            end: self.end(),
        }
    }

    /// The records of `frame`, which starts with this header, if their checksum holds.
    pub fn body<'a>(&self, frame: &'a [u8]) -> Result<&'a [u8], FrameError> {
        let end = FRAME_HEADER_BYTES + self.body_bytes as usize;
        let Some(body) = frame.get(FRAME_HEADER_BYTES..end) else {
            return Err(FrameError::Truncated(end));
        };
        if crc32fast::hash(body) == self.body_checksum {
            Ok(body)
        } else {
            Err(FrameError::BodyChecksum)
        }
    }
}

/// Bytes of a frame whose records take `body_bytes`.
pub const fn frame_bytes(body_bytes: usize) -> usize {
    round_up(FRAME_HEADER_BYTES + body_bytes, BLOCK_BYTES)
}

fn local_checksum(header: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&header[72..76]);
    hasher.update(&header[80..120]);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> FrameHeader {
        FrameHeader {
            term: 1,
            index: 2,
            position: Position(3 * 4096),
            body_bytes: 16,
            record_count: 1,
            first_store_time_ms: 5,
            last_store_time_ms: 6,
            previous_checksum: 7,
            body_checksum: crc32fast::hash(&[9; 16]),
            log_id: 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10,
            epoch: 11,
            durable: Position(4096),
        }
    }

    fn encoded(header: &FrameHeader) -> Vec<u8> {
        let mut bytes = vec![0xee; 4096];
        header.encode(&mut bytes);
        bytes[FRAME_HEADER_BYTES..].fill(0);
        bytes[FRAME_HEADER_BYTES..][..16].fill(9);
        bytes
    }

    #[test]
    fn header_has_its_golden_bytes() {
        let bytes = encoded(&sample());
        let hex: String = bytes[..FRAME_HEADER_BYTES]
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        assert_eq!(
            hex,
            concat!(
                "52514631",
                "0100",
                "0000",
                "0100000000000000",
                "0200000000000000",
                "0030000000000000",
                "10000000",
                "01000000",
                "0500000000000000",
                "0600000000000000",
                "07000000",
                "60242ca2",
                "0000000000000000",
                "005c8ff3",
                "b6cb41a0",
                "100f0e0d0c0b0a090807060504030201",
                "0b00000000000000",
                "0010000000000000",
                "0000000000000000",
                "0000000000000000"
            )
        );
        assert_eq!(FrameHeader::parse(&bytes).unwrap().0, sample());
    }

    #[test]
    fn every_flipped_bit_of_header_and_records_is_found() {
        let good = encoded(&sample());
        for bit in 0..(FRAME_HEADER_BYTES + 16) * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let found = FrameHeader::parse(&bad).and_then(|(h, _)| h.body(&bad).map(|_| ()));
            assert!(found.is_err(), "bit {bit}");
        }
    }

    /// Under right checksums, too, a chain can go on.
    #[test]
    fn counts_that_no_log_reaches_are_refused() {
        for (index, epoch, field) in [(u64::MAX, 1, "index"), (1, u64::MAX, "epoch")] {
            let header = FrameHeader {
                index,
                epoch,
                ..sample()
            };
            let value = u64::MAX;
            assert_eq!(
                FrameHeader::parse(&encoded(&header)),
                Err(FrameError::Field { field, value })
            );
        }
    }

    #[test]
    fn a_frame_follows_only_its_predecessor() {
        let header = sample();
        let link = Link {
            next_index: 2,
            checksum: 7,
            term: 1,
            epoch: 11,
            store_time_ms: 0,
            end: Position(0),
        };
        let at = Position(3 * 4096);
        let follows = |h: FrameHeader, link: Link| h.check_follows(&link, sample().log_id, at);
        assert_eq!(follows(header, link), Ok(()));
        let newer = |epoch, term| FrameHeader {
            epoch,
            term,
            ..header
        };
        assert_eq!(follows(newer(12, 2), link), Ok(()));
        assert!(follows(newer(10, 1), link).is_err(), "lower epoch");
        assert!(follows(newer(11, 0), link).is_err(), "lower term");
        assert!(
            follows(
                header,
                Link {
                    next_index: 3,
                    ..link
                }
            )
            .is_err()
        );
        assert!(
            follows(
                header,
                Link {
                    checksum: 8,
                    ..link
                }
            )
            .is_err()
        );
        assert!(header.check_follows(&link, 5, at).is_err(), "other log");
        assert!(
            header
                .check_follows(&link, header.log_id, Position(0))
                .is_err()
        );
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_no_frame(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(FrameHeader::parse(&bytes).is_err());
        }

        #[test]
        fn arbitrary_fields_never_panic(fields in any::<[u64; 6]>(), small in any::<[u32; 4]>(), id: u128) {
            let header = FrameHeader {
                term: fields[0], index: fields[1], position: Position(fields[2]),
                body_bytes: small[0], record_count: small[1],
                first_store_time_ms: fields[3] as i64, last_store_time_ms: fields[4] as i64,
                previous_checksum: small[2], body_checksum: small[3],
                log_id: id, epoch: fields[5], durable: Position(fields[5]),
            };
            let mut bytes = vec![0; FRAME_HEADER_BYTES];
            header.encode(&mut bytes);
            if let Ok((parsed, checksum)) = FrameHeader::parse(&bytes) {
                prop_assert_eq!(parsed, header);
                let _ = (parsed.end(), parsed.body(&bytes), parsed.link(checksum).end);
            }
        }
    }
}
