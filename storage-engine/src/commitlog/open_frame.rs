//! The frame that takes records until it goes out.
//!
//! It lies in a buffer of the disk from the start. A batch is copied once, into its place in the frame, and gets its
//! placement there; the checksum of the records is carried along while they are hot. Sealing writes the header, zeros
//! the padding and cuts the buffer to the frame.

use super::frame::{FRAME_HEADER_BYTES, FrameHeader, Link, frame_bytes};
use super::record::{
    RECORD_HEADER_BYTES, RecordKind, STORE_TIME_BYTES, encode_around, record_bytes,
};
use crate::disk::DiskBuffer;
use crate::position::{Position, QueueHandle, QueueOffset};
use ringmq_wire::batch::{UNTOUCHED_AT, place, untouched_checksum};
use std::ops::Range;
use std::rc::Rc;

/// From this size on, the checksum of a batch is worked out from its producer's: that takes as long as reading some KiB.
const DERIVED_CHECKSUM_BYTES: usize = 16 << 10;

/// What a frame adds to one queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueSpan {
    pub queue: QueueHandle,
    /// First offset in the frame.
    pub base: QueueOffset,
    /// Offset behind the last.
    pub next: QueueOffset,
}

/// Who writes the frame; goes into its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameIdentity {
    pub log_id: u128,
    pub term: u64,
    pub epoch: u64,
}

/// A frame that takes records.
pub struct OpenFrame<B> {
    buffer: B,
    position: Position,
    body_bytes: usize,
    record_count: u32,
    first_store_time_ms: i64,
    last_store_time_ms: i64,
    checksum: crc32fast::Hasher,
    spans: Vec<QueueSpan>,
}

/// A finished frame, ready to be written.
pub struct SealedFrame<B> {
    pub buffer: Rc<B>,
    pub header: FrameHeader,
    pub link: Link,
    /// In log order; a queue may come more than once.
    pub spans: Vec<QueueSpan>,
}

/// A record in the open frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    pub position: Position,
    /// Position behind the record.
    pub end: Position,
    /// Payload in the buffer; see [`OpenFrame::bytes`].
    pub payload: Range<usize>,
}

impl<B: DiskBuffer> OpenFrame<B> {
    /// An empty frame at `position`; `buffer` bounds its size.
    pub fn new(buffer: B, position: Position) -> Self {
        assert!(buffer.len() >= frame_bytes(RECORD_HEADER_BYTES));
        Self {
            buffer,
            position,
            body_bytes: 0,
            record_count: 0,
            first_store_time_ms: 0,
            last_store_time_ms: 0,
            checksum: crc32fast::Hasher::new(),
            spans: Vec::new(),
        }
    }

    /// Whether a record with this payload still fits.
    pub fn fits(&self, payload_bytes: usize) -> bool {
        self.fits_records(record_bytes(payload_bytes))
    }

    /// Whether records of so many bytes, headers and padding included, still fit.
    pub fn fits_records(&self, records_bytes: usize) -> bool {
        FRAME_HEADER_BYTES + self.body_bytes + records_bytes <= self.buffer.len()
    }

    pub fn is_empty(&self) -> bool {
        self.record_count == 0
    }

    pub fn position(&self) -> Position {
        self.position
    }

    pub fn record_count(&self) -> u32 {
        self.record_count
    }

    /// Position behind the last record.
    pub fn end(&self) -> Position {
        Position(self.position.0 + (FRAME_HEADER_BYTES + self.body_bytes) as u64)
    }

    /// Position behind the frame if it were sealed now.
    pub fn sealed_end(&self) -> Position {
        Position(self.position.0 + frame_bytes(self.body_bytes) as u64)
    }

    /// Bytes of header and records so far; 0 for an empty frame.
    pub fn pending_bytes(&self) -> usize {
        if self.is_empty() {
            0
        } else {
            FRAME_HEADER_BYTES + self.body_bytes
        }
    }

    /// The buffer's bytes in `range`.
    pub fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.buffer[range]
    }

    /// Copies a batch, which is its pieces one behind the other, the first with its header, and places it. It must fit
    /// and be whole, its checksum included.
    pub fn push_batch(&mut self, pieces: &[&[u8]], span: QueueSpan, store_time_ms: i64) -> Placed {
        let bytes = pieces.iter().map(|piece| piece.len()).sum();
        let known = (bytes >= DERIVED_CHECKSUM_BYTES).then(|| {
            let at = RECORD_HEADER_BYTES + UNTOUCHED_AT;
            (at, untouched_checksum(pieces[0], bytes))
        });
        let kind = RecordKind::Batch;
        let placed = self.push(kind, bytes, store_time_ms, known, |payload| {
            let mut rest = &mut *payload;
            for piece in pieces {
                let (place, behind) = rest.split_at_mut(piece.len());
                place.copy_from_slice(piece);
                rest = behind;
            }
            place(payload, span.queue.0, span.base.0, store_time_ms);
        });
        match self.spans.last_mut() {
            Some(last) if last.queue == span.queue => last.next = span.next,
            _ => self.spans.push(span),
        }
        placed
    }

    /// Adds a control or engine record; it must fit. `payload` of the result is without the store time.
    pub fn push_timed(&mut self, kind: RecordKind, record: &[u8], store_time_ms: i64) -> Placed {
        let bytes = STORE_TIME_BYTES + record.len();
        let mut placed = self.push(kind, bytes, store_time_ms, None, |payload| {
            payload[..STORE_TIME_BYTES].copy_from_slice(&store_time_ms.to_le_bytes());
            payload[STORE_TIME_BYTES..].copy_from_slice(record);
        });
        placed.payload.start += STORE_TIME_BYTES;
        placed
    }

    /// `known`: where in the record, header included, the part begins whose checksum is known, up to the padding.
    fn push(
        &mut self,
        kind: RecordKind,
        payload_bytes: usize,
        store_time_ms: i64,
        known: Option<(usize, crc32fast::Hasher)>,
        fill: impl FnOnce(&mut [u8]),
    ) -> Placed {
        assert!(self.fits(payload_bytes), "the caller asked whether it fits");
        let start = FRAME_HEADER_BYTES + self.body_bytes;
        let record = &mut self.buffer[start..start + record_bytes(payload_bytes)];
        fill(&mut record[RECORD_HEADER_BYTES..RECORD_HEADER_BYTES + payload_bytes]);
        encode_around(record, kind, payload_bytes);
        match known {
            None => self.checksum.update(record),
            Some((at, checksum)) => {
                let padding_at = RECORD_HEADER_BYTES + payload_bytes;
                debug_assert_eq!(
                    checksum.clone().finalize(),
                    crc32fast::hash(&record[at..padding_at]),
                    "only batches whose checksum holds are appended"
                );
                self.checksum.update(&record[..at]);
                self.checksum.combine(&checksum);
                self.checksum.update(&record[padding_at..]);
            }
        }
        self.body_bytes += record.len();
        if self.record_count == 0 {
            self.first_store_time_ms = store_time_ms;
        }
        self.last_store_time_ms = store_time_ms;
        self.record_count += 1;
        let payload_at = start + RECORD_HEADER_BYTES;
        Placed {
            position: Position(self.position.0 + start as u64),
            end: self.end(),
            payload: payload_at..payload_at + payload_bytes,
        }
    }

    /// Finishes the frame as the one behind `link`. It must hold a record.
    pub fn seal(
        mut self,
        identity: FrameIdentity,
        link: &Link,
        durable: Position,
    ) -> SealedFrame<B> {
        assert!(!self.is_empty(), "an empty frame is never written");
        assert!(self.position >= link.end, "frames do not overlap");
        let header = FrameHeader {
            term: identity.term,
            index: link.next_index,
            position: self.position,
            body_bytes: u32::try_from(self.body_bytes).expect("a frame is far below 4 GiB"),
            record_count: self.record_count,
            first_store_time_ms: self.first_store_time_ms,
            last_store_time_ms: self.last_store_time_ms,
            previous_checksum: link.checksum,
            body_checksum: self.checksum.finalize(),
            log_id: identity.log_id,
            epoch: identity.epoch,
            durable,
        };
        let checksum = header.encode(&mut self.buffer);
        let records_end = FRAME_HEADER_BYTES + self.body_bytes;
        self.buffer[records_end..header.frame_bytes()].fill(0);
        self.buffer.truncate(header.frame_bytes());
        SealedFrame {
            buffer: Rc::new(self.buffer),
            header,
            link: header.link(checksum),
            spans: self.spans,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::RawRecords;
    use super::*;
    use crate::commitlog::frame::FrameError;
    use ringmq_wire::batch::{BatchBuilder, BatchOptions, BatchView, Record};
    use std::ops::{Deref, DerefMut};

    struct Memory(Vec<u8>);
    impl Deref for Memory {
        type Target = [u8];
        fn deref(&self) -> &[u8] {
            &self.0
        }
    }
    impl DerefMut for Memory {
        fn deref_mut(&mut self) -> &mut [u8] {
            &mut self.0
        }
    }
    impl DiskBuffer for Memory {
        fn truncate(&mut self, len: usize) {
            self.0.truncate(len);
        }

        fn allocated_bytes(&self) -> usize {
            self.0.capacity()
        }
    }

    const IDENTITY: FrameIdentity = FrameIdentity {
        log_id: 9,
        term: 1,
        epoch: 4,
    };

    fn batch(body: &[u8]) -> Vec<u8> {
        let mut builder = BatchBuilder::new();
        let record = Record {
            born_time_ms: 1,
            keys: &[],
            tag: "",
            properties: &[],
            envelope: None,
            body,
        };
        builder.push(&record).unwrap();
        builder.finish(&BatchOptions::default()).unwrap()
    }

    #[test]
    fn a_sealed_frame_reads_back() {
        let mut frame = OpenFrame::new(Memory(vec![0xdd; 16384]), Position(8192));
        let bytes = batch(b"hello");
        let span = |queue, base| QueueSpan {
            queue: QueueHandle(queue),
            base: QueueOffset(base),
            next: QueueOffset(base + 1),
        };
        let first = frame.push_batch(&[&bytes[..90], &[], &bytes[90..]], span(3, 7), 100);
        frame.push_batch(&[&bytes], span(3, 8), 100);
        let control = frame.push_timed(RecordKind::Control, b"ctl", 101);
        assert_eq!(first.position, Position(8192 + 128));
        assert_eq!(frame.bytes(control.payload.clone()), b"ctl");
        let link = Link {
            end: Position(8192),
            ..Link::GENESIS
        };
        let sealed = frame.seal(IDENTITY, &link, Position(4096));
        assert_eq!(sealed.buffer.len(), 4096);
        assert_eq!(sealed.spans.len(), 1, "spans of one queue are joined");
        assert_eq!(sealed.spans[0].next, QueueOffset(9));

        let (header, checksum) = FrameHeader::parse(&sealed.buffer).unwrap();
        assert_eq!(header, sealed.header);
        assert_eq!(header.link(checksum), sealed.link);
        assert_eq!(header.check_follows(&link, 9, Position(8192)), Ok(()));
        let body = header.body(&sealed.buffer).unwrap();
        assert!(sealed.buffer[128 + body.len()..].iter().all(|b| *b == 0));
        let records: Vec<_> = RawRecords::new(body).map(Result::unwrap).collect();
        assert_eq!(records.len(), 3);
        let view = BatchView::parse_placed(records[0].payload).unwrap();
        assert_eq!(
            (view.header().base_offset, view.header().queue_handle),
            (7, 3)
        );
        assert_eq!(records[2].payload, b"ctl");
        assert_eq!(records[2].store_time_ms, Some(101));

        let mut bad = sealed.buffer.to_vec();
        bad[200] ^= 1;
        assert_eq!(header.body(&bad), Err(FrameError::BodyChecksum));
    }

    #[test]
    fn a_large_batch_is_covered_by_the_checksum_of_its_frame() {
        for padded in 0..8 {
            let bytes = batch(&vec![b'x'; DERIVED_CHECKSUM_BYTES + padded]);
            let mut frame = OpenFrame::new(Memory(vec![0xdd; 65_536]), Position(0));
            let span = QueueSpan {
                queue: QueueHandle(3),
                base: QueueOffset(7),
                next: QueueOffset(8),
            };
            frame.push_timed(RecordKind::Control, b"before", 99);
            let placed = frame.push_batch(&[&bytes[..500], &bytes[500..]], span, 100);
            frame.push_batch(&[&batch(b"behind")], span, 100);
            let sealed = frame.seal(IDENTITY, &Link::GENESIS, Position(0));
            let (header, _) = FrameHeader::parse(&sealed.buffer).unwrap();
            header.body(&sealed.buffer).expect("the checksum holds");
            for at in [0, 20, UNTOUCHED_AT, bytes.len() / 2, bytes.len() - 1] {
                let mut bad = sealed.buffer.to_vec();
                bad[placed.payload.start + at] ^= 0x10;
                assert_eq!(header.body(&bad), Err(FrameError::BodyChecksum), "{at}");
            }
        }
    }

    #[test]
    fn a_frame_takes_no_more_than_its_buffer() {
        let mut frame = OpenFrame::new(Memory(vec![0; 4096]), Position(0));
        assert!(frame.fits(4096 - 128 - 8));
        assert!(!frame.fits(4096 - 128 - 7));
        frame.push_timed(RecordKind::Control, &[1; 4096 - 128 - 16], 0);
        assert!(!frame.fits(0));
        assert_eq!(frame.sealed_end(), Position(4096));
    }
}
