//! `docs/formats.md` and the code say the same numbers.

use ringmq_wire::batch::{
    BATCH_HEADER_BYTES, BatchBuilder, BatchHeader, BatchOptions, Record, place,
};
use ringmq_wire::codes::{ErrorCode, Kind};
use ringmq_wire::limits;
use std::collections::BTreeMap;

const FORMATS: &str = include_str!("../../docs/formats.md");

/// The rows of the first table behind `heading`, cell by cell.
fn table(heading: &str) -> Vec<Vec<String>> {
    let at = FORMATS
        .find(heading)
        .unwrap_or_else(|| panic!("no heading {heading:?}"));
    FORMATS[at..]
        .lines()
        .skip(1)
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| {
            line.trim_matches('|')
                .split('|')
                .map(|cell| cell.trim().to_owned())
                .collect()
        })
        .collect()
}

fn numbered(heading: &str) -> BTreeMap<u16, String> {
    table(heading)
        .into_iter()
        .map(|row| (row[0].parse().unwrap(), row[1].clone()))
        .collect()
}

#[test]
fn kinds_and_error_codes_are_all_listed() {
    let kinds = Kind::ALL
        .iter()
        .map(|k| (k.number(), k.name().to_owned()))
        .collect();
    assert_eq!(numbered("### 1.1 Kinds"), kinds);
    let codes = ErrorCode::ALL
        .iter()
        .map(|c| (c.number(), c.name().to_owned()))
        .collect();
    assert_eq!(numbered("### 1.2 Error codes"), codes);
    for row in table("### 1.2 Error codes") {
        let code = ErrorCode::from_number(row[0].parse().unwrap()).unwrap();
        assert_eq!(row[2] == "yes", code.is_retryable(), "{code:?}");
    }
}

/// Every field of the batch header is where the table says, with the size it says.
#[test]
fn batch_header_fields_are_where_the_table_says() {
    let mut builder = BatchBuilder::new();
    let record = Record {
        born_time_ms: 0x1111_1111_1111_1111,
        keys: &["k"],
        tag: "t",
        properties: &[],
        envelope: None,
        body: b"body",
    };
    builder.push(&record).unwrap();
    let options = BatchOptions {
        producer_id: 0x2222_2222_2222_2222,
        producer_epoch: 0x3333_3333,
        base_sequence: 0x4444_4444,
        ..Default::default()
    };
    let mut bytes = builder.finish(&options).unwrap();
    place(
        &mut bytes,
        0x5555_5555,
        0x6666_6666_6666_6666,
        0x7777_7777_7777_7777,
    );
    let header = BatchHeader::parse(&bytes).unwrap();

    let fields: BTreeMap<String, (usize, usize)> = table("## 2. Record batch")
        .into_iter()
        .filter_map(|row| Some((row[2].clone(), (row[0].parse().ok()?, row[1].parse().ok()?))))
        .collect();
    let read = |name: &str| {
        let (at, size) = fields[name];
        let mut value = [0; 8];
        value[..size].copy_from_slice(&bytes[at..at + size]);
        u64::from_le_bytes(value)
    };
    let expected = [
        ("batch_bytes", bytes.len() as u64),
        ("version", 1),
        ("compression", header.compression as u64),
        ("flags", u64::from(header.flags)),
        ("base_offset", header.base_offset),
        ("store_time_ms", header.store_time_ms as u64),
        ("queue_handle", u64::from(header.queue_handle)),
        ("record_count", 1),
        ("last_offset_delta", 0),
        ("records_bytes", u64::from(header.records_bytes)),
        ("born_time_ms", header.born_time_ms as u64),
        ("producer_id", header.producer_id),
        ("producer_epoch", u64::from(header.producer_epoch)),
        ("base_sequence", u64::from(header.base_sequence)),
        ("key_count", 1),
        ("reserved", 0),
    ];
    for (name, value) in expected {
        assert_eq!(read(name), value, "{name}");
    }
    assert_eq!(
        fields.len(),
        expected.len() + 2,
        "checksums and these are all fixed fields"
    );
    let mut end = 0;
    let mut places: Vec<(usize, usize)> = fields.values().copied().collect();
    places.sort_unstable();
    for (at, size) in places {
        assert_eq!(at, end, "the table has no gaps");
        end = at + size;
    }
    assert_eq!(end, BATCH_HEADER_BYTES);
}

#[test]
fn limits_are_those_of_the_text() {
    assert_eq!(limits::FRAME_BYTES_MAX, 64 << 20);
    assert_eq!(limits::FRAME_HEADER_BYTES_MAX, 16 << 20);
    assert_eq!(limits::BATCH_BYTES_MAX, 15 << 20);
    assert_eq!(limits::BATCH_RECORDS_MAX, 65_536);
    assert_eq!(limits::BATCH_KEYS_MAX, 262_144);
    assert_eq!(limits::PROPERTIES_BYTES_MAX, 32_767);
}
