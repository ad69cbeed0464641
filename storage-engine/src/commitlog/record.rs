//! Records inside a frame.
//!
//! ```text
//!  0  payload_bytes u32, without padding
//!  4  kind u8: 1 batch, 2 control, 3 engine | reserved, 3 bytes, zero
//!  8  payload, zeros up to the next multiple of 8
//!
//!     kind 1   a placed record batch (wire::batch)
//!     kind 2   store_time_ms i64, then the broker's own bytes
//!     kind 3   store_time_ms i64, type u8, 7 zero bytes, then by type:
//!              1 log start: position u64 below which nothing is kept
//!              2 opening: nothing; starts an epoch where the first real frame would not fit
//! ```

use crate::format::{i64_at, put, round_up, u32_at, u64_at};
use crate::position::Position;

/// Bytes before a payload.
pub const RECORD_HEADER_BYTES: usize = 8;
/// Bytes before the payload proper of control and engine records.
pub const STORE_TIME_BYTES: usize = 8;

/// Whose record it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum RecordKind {
    Batch = 1,
    Control = 2,
    Engine = 3,
}

/// What the engine itself writes into the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineRecord {
    /// Everything below is about to be removed.
    LogStart(Position),
    /// An epoch starts here.
    Opening,
}

/// Bytes of a record with header and padding.
pub const fn record_bytes(payload_bytes: usize) -> usize {
    RECORD_HEADER_BYTES + round_up(payload_bytes, 8)
}

/// Writes header and padding around a payload of `payload_bytes` that the caller puts at `8..`.
pub fn encode_around(out: &mut [u8], kind: RecordKind, payload_bytes: usize) {
    put(out, 0, &(payload_bytes as u32).to_le_bytes());
    put(out, 4, &[kind as u8, 0, 0, 0]);
    out[RECORD_HEADER_BYTES + payload_bytes..record_bytes(payload_bytes)].fill(0);
}

impl EngineRecord {
    /// The payload without its store time.
    pub fn encode(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        match self {
            Self::LogStart(position) => {
                bytes[0] = 1;
                put(&mut bytes, 8, &position.0.to_le_bytes());
            }
            Self::Opening => bytes[0] = 2,
        }
        bytes
    }

    /// Decodes a payload without its store time; `None` for a type that this version does not know.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        match (bytes.len(), bytes.first()?) {
            (16, 1) => Some(Self::LogStart(Position(u64_at(bytes, 8)))),
            (16, 2) => Some(Self::Opening),
            _ => None,
        }
    }
}

/// One record of a frame's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawRecord<'a> {
    /// Where its header lies in the body.
    pub offset: usize,
    pub kind: RecordKind,
    /// For [`RecordKind::Batch`] the batch; otherwise what follows the store time.
    pub payload: &'a [u8],
    /// Store time of a control or engine record; a batch carries its own.
    pub store_time_ms: Option<i64>,
}

impl RawRecord<'_> {
    /// End of the record in the body.
    pub fn end(&self) -> usize {
        let time_bytes = self.store_time_ms.map_or(0, |_| STORE_TIME_BYTES);
        self.offset + record_bytes(time_bytes + self.payload.len())
    }
}

/// The records of a body, ending after the first that is not one.
#[derive(Debug, Clone)]
pub struct RawRecords<'a> {
    body: &'a [u8],
    at: usize,
}

/// A body whose checksum holds but whose records make no sense: a bug, or a newer writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no record at byte {0} of the frame's body")]
pub struct BadRecord(pub usize);

impl<'a> RawRecords<'a> {
    pub fn new(body: &'a [u8]) -> Self {
        Self { body, at: 0 }
    }

    fn read(&self) -> Option<RawRecord<'a>> {
        let rest = &self.body[self.at..];
        if rest.len() < RECORD_HEADER_BYTES {
            return None;
        }
        let payload_bytes = u32_at(rest, 0) as usize;
        let kind = match rest[4] {
            1 => RecordKind::Batch,
            2 => RecordKind::Control,
            3 => RecordKind::Engine,
            _ => return None,
        };
        if rest[5..8] != [0; 3] || record_bytes(payload_bytes) > rest.len() {
            return None;
        }
        let payload = &rest[RECORD_HEADER_BYTES..][..payload_bytes];
        let offset = self.at;
        if kind == RecordKind::Batch {
            return Some(RawRecord {
                offset,
                kind,
                payload,
                store_time_ms: None,
            });
        }
        if payload_bytes < STORE_TIME_BYTES {
            return None;
        }
        Some(RawRecord {
            offset,
            kind,
            payload: &payload[STORE_TIME_BYTES..],
            store_time_ms: Some(i64_at(payload, 0)),
        })
    }
}

impl<'a> Iterator for RawRecords<'a> {
    type Item = Result<RawRecord<'a>, BadRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at == self.body.len() {
            return None;
        }
        let Some(record) = self.read() else {
            let at = std::mem::replace(&mut self.at, self.body.len());
            return Some(Err(BadRecord(at)));
        };
        self.at = record.end();
        Some(Ok(record))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(kind: RecordKind, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![0xaa; record_bytes(payload.len())];
        out[RECORD_HEADER_BYTES..][..payload.len()].copy_from_slice(payload);
        encode_around(&mut out, kind, payload.len());
        out
    }

    #[test]
    fn records_come_back_in_order_and_packed() {
        let mut body = record(RecordKind::Batch, b"batch");
        let mut control = 77i64.to_le_bytes().to_vec();
        control.extend_from_slice(b"topic");
        body.extend(record(RecordKind::Control, &control));
        let records: Vec<_> = RawRecords::new(&body).map(Result::unwrap).collect();
        assert_eq!(records[0].payload, b"batch");
        assert_eq!(records[0].store_time_ms, None);
        assert_eq!(records[1].offset, 16);
        assert_eq!(records[1].payload, b"topic");
        assert_eq!(records[1].store_time_ms, Some(77));
        assert_eq!(records[1].end(), body.len());
        assert_eq!(body[..16], *b"\x05\0\0\0\x01\0\0\0batch\0\0\0");
    }

    #[test]
    fn engine_records_round_trip() {
        for record in [
            EngineRecord::LogStart(Position(4096)),
            EngineRecord::Opening,
        ] {
            assert_eq!(EngineRecord::decode(&record.encode()), Some(record));
        }
        assert_eq!(EngineRecord::decode(&[9; 16]), None);
        assert_eq!(EngineRecord::decode(&[]), None);
    }

    proptest! {
        #[test]
        fn arbitrary_bodies_never_panic(body in proptest::collection::vec(0u8..4, 0..200)) {
            let mut end = 0;
            for record in RawRecords::new(&body).flatten() {
                prop_assert_eq!(record.offset, end);
                end = record.end();
            }
        }
    }
}
