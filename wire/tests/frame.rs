//! Native frames: framing, headers, and their resistance to foreign bytes.

use proptest::prelude::*;
use ringmq_wire::codes::{ErrorCode, Kind};
use ringmq_wire::limits::FRAME_BYTES_MAX;
use ringmq_wire::native::{self, Decoded, FRAME_PREFIX_BYTES, FrameError, flags, schema};

fn produce(topic: &str) -> schema::ProduceRequestT {
    schema::ProduceRequestT {
        topic: topic.into(),
        queue: 3,
        ..Default::default()
    }
}

fn encode(request: &schema::ProduceRequestT, id: u64, payload: &[u8]) -> Vec<u8> {
    let mut frame = native::encode(Kind::Produce, 0, id, payload.len(), |b| request.pack(b));
    frame.extend_from_slice(payload);
    frame
}

proptest! {
    #[test]
    fn a_frame_fed_in_any_pieces_is_found_once_its_header_is_whole(
        topic in "[a-z]{1,100}", id: u64, payload in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let frame = encode(&produce(&topic), id, &payload);
        let header_end = frame.len() - payload.len();
        for len in 0..frame.len() {
            match native::decode(&frame[..len]).unwrap() {
                Decoded::Incomplete(needed) => {
                    prop_assert!(len < header_end);
                    prop_assert!(needed > len && needed <= header_end);
                }
                Decoded::Ready(_) => prop_assert!(len >= header_end),
            }
        }
        let Decoded::Ready(prefix) = native::decode(&frame).unwrap() else { panic!("incomplete") };
        prop_assert_eq!(prefix.correlation_id, id);
        prop_assert_eq!(prefix.kind, Kind::Produce.number());
        prop_assert_eq!(prefix.frame_bytes, frame.len());
        prop_assert_eq!(&frame[prefix.payload_range()], &payload[..]);
        let header = native::header::<schema::ProduceRequest>(&frame[prefix.header_range()]).unwrap();
        prop_assert_eq!(header.topic(), &topic[..]);
        prop_assert_eq!(header.unpack(), produce(&topic));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(Decoded::Ready(prefix)) = native::decode(&bytes) {
            prop_assert!(prefix.header_range().end <= bytes.len());
        }
    }

    /// The header table behind a right checksum: FlatBuffers' verifier must hold by itself.
    #[test]
    fn arbitrary_header_tables_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(header) = native::header::<schema::FetchRequest>(&bytes) {
            let _ = header.unpack();
        }
        if let Ok(header) = native::header::<schema::RouteQueryResponse>(&bytes) {
            let _ = header.unpack();
        }
    }

    #[test]
    fn damaged_header_tables_never_panic(topic in "[a-z]{1,40}", at: prop::sample::Index, value: u8) {
        let request = schema::FetchRequestT {
            add: Some(vec![schema::FetchAddT { topic, tags: Some(vec!["a".into()]), ..Default::default() }]),
            remove: Some(vec![1, 2, 3]),
            ..Default::default()
        };
        let frame = native::encode(Kind::Fetch, 0, 1, 0, |b| request.pack(b));
        let mut header = frame[FRAME_PREFIX_BYTES..].to_vec();
        let at = at.index(header.len());
        header[at] = value;
        if let Ok(header) = native::header::<schema::FetchRequest>(&header) {
            let _ = header.unpack();
        }
    }
}

#[test]
fn every_flipped_bit_of_prefix_and_header_is_found() {
    let mut frame = encode(&produce("orders"), 7, b"");
    for bit in 0..frame.len() * 8 {
        frame[bit / 8] ^= 1 << (bit % 8);
        let found = native::decode(&frame);
        // A longer length only asks for bytes that will not come or fails; it never yields this frame.
        assert!(
            !matches!(found, Ok(Decoded::Ready(_))),
            "bit {bit} went unnoticed: {found:?}"
        );
        frame[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn lengths_are_refused_before_anything_is_waited_for() {
    let too_long = u32::try_from(FRAME_BYTES_MAX).unwrap().to_le_bytes();
    assert!(matches!(
        native::decode(&too_long),
        Err(FrameError::TooLarge { .. })
    ));
    let mut frame = encode(&produce("orders"), 7, b"");
    frame[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(
        native::decode(&frame[..FRAME_PREFIX_BYTES]),
        Err(FrameError::BadLengths { .. })
    ));
    let mut frame = encode(&produce("orders"), 7, b"");
    frame[11] = 0x80;
    assert!(matches!(
        native::decode(&frame),
        Err(FrameError::UnknownFlags(0x8000))
    ));
}

#[test]
fn numbers_are_unique_and_come_back() {
    let mut kinds: Vec<u16> = Kind::ALL.iter().map(|k| k.number()).collect();
    kinds.dedup();
    assert_eq!(kinds.len(), Kind::ALL.len());
    assert!(kinds.is_sorted());
    for kind in Kind::ALL {
        assert_eq!(Kind::from_number(kind.number()), Some(*kind));
    }
    let mut codes: Vec<u16> = ErrorCode::ALL.iter().map(|c| c.number()).collect();
    codes.dedup();
    assert_eq!(codes.len(), ErrorCode::ALL.len());
    assert!(codes.is_sorted());
    assert_eq!(Kind::from_number(0), None);
    assert_eq!(ErrorCode::from_number(0), None);
    assert_eq!(flags::ALL, 7);
}

/// A client of today must be understood by a server of tomorrow: these bytes stay.
#[test]
fn golden_bytes() {
    let frame = encode(&produce("orders"), 0x0102_0304_0506_0708, b"payload");
    let hex: String = frame.iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(hex, include_str!("golden/frame-produce-v1.hex").trim());
    assert_eq!(native::PREFACE, *b"RNGQ\x01\0\0\0");
}
