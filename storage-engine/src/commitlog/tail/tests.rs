//! The tail of the log without a disk.

use super::*;
use crate::commitlog::frame::{FRAME_HEADER_BYTES, FrameHeader};
use crate::commitlog::record::RawRecords;
use proptest::prelude::*;
use std::cell::Cell;
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

const BLOCK: u64 = BLOCK_BYTES as u64;
const GEOMETRY: Geometry = Geometry {
    segment_bytes: 16 * BLOCK,
    reserve_bytes: 2 * BLOCK,
    frame_bytes_max: 4 * BLOCK_BYTES,
};
const LIMITS: TailLimits = TailLimits {
    in_flight_bytes_max: 8 * BLOCK_BYTES,
    dispatch: DispatchLimits {
        frames_in_flight_max: 4,
        dispatch_bytes: BLOCK_BYTES,
    },
};
const IDENTITY: FrameIdentity = FrameIdentity {
    log_id: 1,
    term: 1,
    epoch: 7,
};

fn tail_at(end: u64) -> LogTail<Memory> {
    let link = Link {
        end: Position(end),
        ..Link::GENESIS
    };
    LogTail::new(GEOMETRY, LIMITS, IDENTITY, link)
}

fn push(
    tail: &mut LogTail<Memory>,
    payload: usize,
    writer: Writer,
    prepared: u64,
) -> Result<(Position, Position), Refusal> {
    let around = Surroundings {
        is_prepared: &|segment| segment <= prepared,
        alloc: &|bytes| Memory(vec![0xee; bytes]),
    };
    tail.reserve(payload, writer, &around)?;
    let record = vec![1; payload - STORE_TIME_BYTES];
    let placed = tail.open_mut().push_timed(RecordKind::Control, &record, 5);
    tail.pushed(payload, None);
    Ok((placed.position, placed.end))
}

/// Records that the test pushed.
fn own_records(header: &FrameHeader, frame: &[u8]) -> u64 {
    let records = RawRecords::new(header.body(frame).unwrap()).map(Result::unwrap);
    records
        .filter(|record| record.kind == RecordKind::Control)
        .count() as u64
}

#[test]
fn a_frame_that_does_not_fit_starts_the_next_prepared_segment() {
    let mut tail = tail_at(13 * BLOCK);
    assert_eq!(
        push(&mut tail, 6000, Writer::Ordinary, 0),
        Err(Refusal::SegmentMissing(1))
    );
    let (position, _) = push(&mut tail, 6000, Writer::Ordinary, 1).unwrap();
    assert_eq!(position, Position(16 * BLOCK + FRAME_HEADER_BYTES as u64));
    // What an earlier epoch may have left at the old end is overwritten first.
    let (start, frame) = tail.dispatch().unwrap();
    assert_eq!((start, frame.len()), (Position(13 * BLOCK), BLOCK_BYTES));
    let (header, _) = FrameHeader::parse(&frame).unwrap();
    let record = RawRecords::new(header.body(&frame).unwrap())
        .next()
        .unwrap()
        .unwrap();
    assert_eq!(
        EngineRecord::decode(record.payload),
        Some(EngineRecord::Opening)
    );
    let (start, frame) = tail.dispatch().unwrap();
    assert_eq!(start, Position(16 * BLOCK));
    let next = FrameHeader::parse(&frame).unwrap().0;
    assert_eq!((next.index, next.epoch), (header.index + 1, 7));
}

#[test]
fn the_reserve_is_for_control_and_the_engine() {
    let mut tail = tail_at(14 * BLOCK);
    assert_eq!(
        push(&mut tail, 100, Writer::Ordinary, 0),
        Err(Refusal::SegmentMissing(1))
    );
    push(&mut tail, 4096 - 136, Writer::Control, 0).unwrap();
    assert_eq!(
        push(&mut tail, 100, Writer::Control, 0),
        Err(Refusal::SegmentMissing(1))
    );
    push(&mut tail, 100, Writer::Engine, 0).unwrap();
    assert_eq!(tail.end(), Position(16 * BLOCK));
    assert_eq!(
        push(&mut tail, 8000, Writer::Engine, 0),
        Err(Refusal::SegmentMissing(1))
    );
    let limit = 4 * BLOCK_BYTES - 128 - 8;
    assert_eq!(
        push(&mut tail, 20_000, Writer::Ordinary, 9),
        Err(Refusal::TooLarge { limit })
    );
}

#[test]
fn bytes_in_flight_are_bounded() {
    let mut tail = tail_at(0);
    while push(&mut tail, 4000, Writer::Ordinary, 9).is_ok() {}
    assert_eq!(
        push(&mut tail, 4000, Writer::Ordinary, 9),
        Err(Refusal::Busy)
    );
    assert!(tail.room() < 4008);
    let (start, _) = tail.dispatch().unwrap();
    tail.durable(start);
    push(&mut tail, 4000, Writer::Ordinary, 9).unwrap();
}

proptest! {
    /// Whatever comes, frames follow each other, stay in their segments, and everything is released in the end.
    #[test]
    fn frames_form_a_chain(
        start in 0u64..40,
        steps in proptest::collection::vec((8usize..16_000, 0u8..8), 1..150),
    ) {
        let mut tail = tail_at(start * BLOCK);
        let mut link = *tail.link();
        let mut flying: Vec<(Position, u64)> = Vec::new();
        let last_end = Cell::new(Position(0));
        let mut count = 0;
        for (payload, what) in steps {
            match what {
                0..4 => {
                    if let Ok((position, end)) = push(&mut tail, payload, Writer::Ordinary, 99) {
                        prop_assert!(position >= last_end.get());
                        last_end.set(end);
                        count += 1;
                    }
                }
                4..6 => {
                    if let Some((at, frame)) = tail.dispatch() {
                        let (header, checksum) = FrameHeader::parse(&frame).unwrap();
                        prop_assert!(header.check_follows(&link, 1, at).is_ok());
                        prop_assert!(at == link.end || GEOMETRY.is_base(at));
                        prop_assert_eq!(frame.len(), header.frame_bytes());
                        let last = Position(header.end().0 - 1);
                        prop_assert_eq!(GEOMETRY.segment_of(at), GEOMETRY.segment_of(last));
                        link = header.link(checksum);
                        let records = own_records(&header, &frame);
                        flying.push((at, records));
                    }
                }
                _ if !flying.is_empty() => {
                    let (at, records) = flying.remove(payload % flying.len());
                    count -= records;
                    tail.durable(at);
                }
                _ => {}
            }
            let f = tail.frontiers();
            prop_assert!(f.appended >= f.written && f.written >= f.durable);
        }
        loop {
            for (at, records) in flying.drain(..) {
                count -= records;
                tail.durable(at);
            }
            match tail.dispatch() {
                Some((at, frame)) => {
                    let header = FrameHeader::parse(&frame).unwrap().0;
                    flying.push((at, own_records(&header, &frame)));
                }
                None => break,
            }
        }
        prop_assert!(tail.is_idle());
        prop_assert_eq!((tail.in_flight_bytes(), count), (0, 0));
        prop_assert_eq!(tail.frontiers().durable, tail.frontiers().appended);
    }
}
