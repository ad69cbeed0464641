//! Record batches: what goes in comes out, and nothing but a whole batch is accepted.

use bytes::Bytes;
use proptest::prelude::*;
use ringmq_wire::batch::{
    BATCH_HEADER_BYTES, BatchBuilder, BatchError, BatchHeader, BatchOptions, BatchPieces,
    BatchView, Compression, Envelope, FLAG_SPARSE, FLAG_TAGS, Record, place, tags_code,
};
use ringmq_wire::limits::PROPERTIES_BYTES_MAX;
use std::net::{IpAddr, Ipv4Addr};

#[derive(Debug, Clone, PartialEq)]
struct Message {
    gap: u32,
    born_time_ms: i64,
    keys: Vec<String>,
    tag: String,
    properties: Vec<(String, String)>,
    envelope: bool,
    body: Vec<u8>,
}

fn messages() -> impl Strategy<Value = Vec<Message>> {
    let text = "[a-zA-Z0-9äß😀]{1,12}";
    let message = (
        prop_oneof![4 => Just(0u32), 1 => 0u32..50],
        any::<i64>(),
        prop::collection::vec(text, 0..3),
        prop_oneof![Just(String::new()), text.prop_map(String::from)],
        prop::collection::vec((text, text), 0..3),
        any::<bool>(),
        prop::collection::vec(any::<u8>(), 0..200),
    )
        .prop_map(
            |(gap, born_time_ms, keys, tag, properties, envelope, body)| Message {
                gap,
                born_time_ms,
                keys,
                tag,
                properties,
                envelope,
                body,
            },
        );
    prop::collection::vec(message, 1..40)
}

fn compressions() -> impl Strategy<Value = Compression> {
    prop_oneof![
        Just(Compression::None),
        Just(Compression::Lz4),
        Just(Compression::Zstd)
    ]
}

const ENVELOPE: Envelope<'static> = Envelope {
    flag: -7,
    sys_flag: 0x101,
    reconsume_times: 3,
    body_crc: 0xDEAD_BEEF,
    prepared_position: u64::MAX - 1,
    born_host: Some((IpAddr::V4(Ipv4Addr::LOCALHOST), 54_321)),
    properties: "KEYS\u{1}a b\u{2}",
};

fn encode(messages: &[Message], options: &BatchOptions) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    let mut next = 0;
    for message in messages {
        let keys: Vec<&str> = message.keys.iter().map(String::as_str).collect();
        let properties: Vec<(&str, &str)> = message
            .properties
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        let delta = next + message.gap;
        let record = Record {
            born_time_ms: message.born_time_ms,
            keys: &keys,
            tag: &message.tag,
            properties: &properties,
            envelope: message.envelope.then_some(ENVELOPE),
            body: &message.body,
        };
        builder
            .push_at(delta, &record)
            .expect("test messages are within the limits");
        next = delta + 1;
    }
    builder.finish(options).expect("compression works")
}

fn decode(bytes: &[u8]) -> Result<Vec<Message>, BatchError> {
    let shared = Bytes::copy_from_slice(bytes);
    let view = BatchView::parse(&shared)?;
    let section = view.records_section(&shared)?;
    let mut next = 0;
    view.records(&section)
        .map(|record| {
            let record = record?;
            let gap = record.offset_delta - next;
            next = record.offset_delta + 1;
            Ok(Message {
                gap,
                born_time_ms: record.born_time_ms,
                keys: record
                    .keys
                    .split(' ')
                    .filter(|k| !k.is_empty())
                    .map(Into::into)
                    .collect(),
                tag: record.tag.into(),
                properties: record
                    .properties
                    .iter()
                    .map(|(n, v)| (n.into(), v.into()))
                    .collect(),
                envelope: record.envelope == Some(ENVELOPE),
                body: record.body.to_vec(),
            })
        })
        .collect()
}

/// The batch of [`BatchPieces`], put together.
fn in_pieces(messages: &[Message], options: &BatchOptions) -> Vec<u8> {
    let keys = messages.iter().map(|message| message.keys.iter());
    let keys: Vec<Vec<&str>> = keys
        .map(|keys| keys.map(String::as_str).collect())
        .collect();
    let pairs = messages.iter().map(|message| message.properties.iter());
    let pairs: Vec<Vec<(&str, &str)>> = pairs
        .map(|pairs| pairs.map(|(n, v)| (n.as_str(), v.as_str())).collect())
        .collect();
    let mut pieces = BatchPieces::new();
    for ((message, keys), properties) in messages.iter().zip(&keys).zip(&pairs) {
        let record = Record {
            born_time_ms: message.born_time_ms,
            keys,
            tag: &message.tag,
            properties,
            envelope: message.envelope.then_some(ENVELOPE),
            body: &message.body,
        };
        pieces.push(&record).expect("within the limits");
    }
    let pieces = pieces.finish(options);
    assert!(pieces[0].len() >= BATCH_HEADER_BYTES);
    pieces.concat()
}

proptest! {
    #[test]
    fn pieces_are_the_bytes_of_a_built_batch(messages in messages(), id: u64, sequence: u32) {
        let messages: Vec<Message> = messages.into_iter().map(|m| Message { gap: 0, ..m }).collect();
        let options = BatchOptions { producer_id: id, base_sequence: sequence, ..BatchOptions::default() };
        prop_assert_eq!(in_pieces(&messages, &options), encode(&messages, &options));
    }

    #[test]
    fn what_goes_in_comes_out(messages in messages(), compression in compressions(), id: u64, sequence: u32) {
        let options = BatchOptions { compression, producer_id: id, producer_epoch: 9, base_sequence: sequence };
        let bytes = encode(&messages, &options);
        let view = BatchView::parse(&bytes).unwrap();
        prop_assert_eq!(view.header().producer_id, id);
        prop_assert_eq!(view.header().base_sequence, sequence);
        prop_assert_eq!(view.header().flags & FLAG_SPARSE != 0, messages.iter().any(|m| m.gap > 0));
        prop_assert_eq!(view.header().flags & FLAG_TAGS != 0, messages.iter().any(|m| tags_code(&m.tag) != 0));
        let codes: Vec<u32> = view.tags_codes().collect();
        let expected: Vec<u32> = messages.iter().map(|m| tags_code(&m.tag)).collect();
        prop_assert_eq!(codes, expected);
        let keys = messages.iter().map(|m| m.keys.len()).sum::<usize>();
        prop_assert_eq!(view.key_hashes().count(), keys);
        prop_assert_eq!(decode(&bytes).unwrap(), messages);
    }

    #[test]
    fn placement_does_not_touch_content(messages in messages(), handle: u32, offset in 0..u64::MAX / 2, time: i64) {
        let bytes = encode(&messages, &BatchOptions::default());
        let mut placed = bytes.clone();
        prop_assert!(BatchView::parse_placed(&placed).is_err(), "an unplaced batch is not a stored one");
        place(&mut placed, handle, offset, time);
        let view = BatchView::parse_placed(&placed).unwrap();
        prop_assert_eq!(view.header().queue_handle, handle);
        prop_assert_eq!(view.header().base_offset, offset);
        prop_assert_eq!(view.header().store_time_ms, time);
        prop_assert_eq!(&placed[32..], &bytes[32..]);
        prop_assert_eq!(decode(&placed).unwrap(), messages);
    }

    #[test]
    fn arbitrary_bytes_are_refused_quietly(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(decode(&bytes).is_err());
    }

    /// Structure behind a right checksum: the decoder itself must hold, not only the checksum.
    #[test]
    fn damage_under_a_right_checksum_never_panics(
        messages in messages(), compression in compressions(), at: prop::sample::Index, value: u8,
    ) {
        let mut bytes = encode(&messages, &BatchOptions { compression, ..Default::default() });
        let at = at.index(bytes.len());
        bytes[at] = value;
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&bytes[0..8]);
        hasher.update(&bytes[36..]);
        let sum = hasher.finalize();
        bytes[32..36].copy_from_slice(&sum.to_le_bytes());
        let _ = decode(&bytes);
    }
}

#[test]
fn every_flipped_bit_of_a_stored_batch_is_found() {
    let message = Message {
        gap: 0,
        born_time_ms: 1_700_000_000_000,
        keys: vec!["order-1".into()],
        tag: "paid".into(),
        properties: vec![("region".into(), "eu".into())],
        envelope: true,
        body: b"body".to_vec(),
    };
    let mut bytes = encode(&[message.clone(), message], &BatchOptions::default());
    place(&mut bytes, 7, 1000, 1_700_000_000_123);
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(
            BatchView::parse_placed(&bytes).is_err(),
            "bit {bit} went unnoticed"
        );
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    assert!(BatchView::parse_placed(&bytes).is_ok());
    for len in 0..bytes.len() {
        assert!(
            BatchView::parse_placed(&bytes[..len]).is_err(),
            "cut at {len} went unnoticed"
        );
    }
}

#[test]
fn a_decompression_bomb_is_bounded_by_what_the_header_may_say() {
    let body = vec![0u8; 4 << 20];
    let mut builder = BatchBuilder::new();
    let record = Record {
        born_time_ms: 0,
        keys: &[],
        tag: "",
        properties: &[],
        envelope: None,
        body: &body,
    };
    builder.push(&record).unwrap();
    let options = BatchOptions {
        compression: Compression::Zstd,
        ..Default::default()
    };
    let mut bytes = builder.finish(&options).unwrap();
    bytes[44..48].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(
        BatchHeader::parse(&bytes),
        Err(BatchError::Field {
            field: "records_bytes",
            ..
        })
    ));
    bytes[44..48].copy_from_slice(&100u32.to_le_bytes());
    assert!(BatchHeader::parse(&bytes).is_ok());
    let shared = Bytes::from(bytes);
    let view = BatchView::parse_unverified(&shared).unwrap();
    assert!(matches!(
        view.records_section(&shared),
        Err(BatchError::Compression(_))
    ));
}

#[test]
fn what_rocketmq_clients_cannot_carry_is_refused() {
    let plain = Record {
        born_time_ms: 0,
        keys: &[],
        tag: "",
        properties: &[],
        envelope: None,
        body: b"",
    };
    let long = "x".repeat(32_768);
    let refused = [
        Record {
            keys: &["two words"],
            ..plain
        },
        Record {
            keys: &[""],
            ..plain
        },
        Record {
            keys: &["a\u{1}b"],
            ..plain
        },
        Record {
            tag: "a||b",
            ..plain
        },
        Record {
            tag: "a\u{2}",
            ..plain
        },
        Record {
            properties: &[("name", "")],
            ..plain
        },
        Record {
            properties: &[("", "value")],
            ..plain
        },
        Record {
            properties: &[("name", "a\u{2}")],
            ..plain
        },
        Record {
            properties: &[("name", &long)],
            ..plain
        },
    ];
    for record in refused {
        let mut builder = BatchBuilder::new();
        assert!(
            matches!(builder.push(&record), Err(BatchError::NotCarryable(_))),
            "accepted: {record:?}"
        );
        assert!(builder.is_empty(), "a refused record leaves nothing behind");
    }
}

#[test]
fn keys_and_tag_count_as_rocketmq_writes_them() {
    // KEYS 01 k 02 TAGS 01 t 02 n 01 value 02
    let room = PROPERTIES_BYTES_MAX - 7 - 7 - 3;
    for (bytes, fits) in [(room, true), (room + 1, false)] {
        let value = "v".repeat(bytes);
        let record = Record {
            born_time_ms: 0,
            keys: &["k"],
            tag: "t",
            properties: &[("n", &value)],
            envelope: None,
            body: b"",
        };
        assert_eq!(BatchBuilder::new().push(&record).is_ok(), fits);
        assert_eq!(BatchPieces::new().push(&record).is_ok(), fits);
    }
}

#[test]
fn a_full_batch_refuses_the_next_record_and_stays_whole() {
    let body = vec![1u8; 4 << 20];
    let record = Record {
        born_time_ms: 0,
        keys: &[],
        tag: "",
        properties: &[],
        envelope: None,
        body: &body,
    };
    let mut builder = BatchBuilder::new();
    for _ in 0..3 {
        builder.push(&record).unwrap();
    }
    assert!(matches!(
        builder.push(&record),
        Err(BatchError::TooLarge { .. })
    ));
    let bytes = builder.finish(&BatchOptions::default()).unwrap();
    assert_eq!(BatchView::parse(&bytes).unwrap().header().record_count, 3);
    assert!(builder.is_empty());
}

/// Bytes on disk for years: this encoding must never change under version 1.
#[test]
fn golden_bytes() {
    let mut builder = BatchBuilder::new();
    let record = Record {
        born_time_ms: 1_700_000_000_000,
        keys: &["k1", "k2"],
        tag: "TagA",
        properties: &[("n", "v")],
        envelope: None,
        body: b"hello",
    };
    builder.push(&record).unwrap();
    let options = BatchOptions {
        compression: Compression::None,
        producer_id: 0x0102_0304_0506_0708,
        producer_epoch: 2,
        base_sequence: 5,
    };
    let mut bytes = builder.finish(&options).unwrap();
    place(&mut bytes, 3, 42, 1_700_000_000_001);
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(hex, include_str!("golden/batch-v1.hex").trim());
    assert_eq!(bytes.len(), BATCH_HEADER_BYTES + 4 + 16 + 25);
}

#[test]
fn tags_codes_are_javas_string_hashes() {
    // Values of the reference implementation, see docs/compatibility.md.
    assert_eq!(tags_code(""), 0);
    assert_eq!(tags_code("TagA"), 2_598_919);
    assert_eq!(tags_code("中文"), 646_394);
    assert_eq!(tags_code("😀"), 1_772_899);
}
