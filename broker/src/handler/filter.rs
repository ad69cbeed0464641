//! Tags: what of a stored batch goes to a consumer that wants only some of it.

use ringmq_wire::batch::{BatchBuilder, BatchError, BatchOptions, BatchView, Record, place};

/// What of a batch matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filtered {
    /// All of it: send it as stored.
    All,
    Nothing,
    /// Some of it, as a sparse batch without compression.
    Some(Vec<u8>),
}

/// Codes of the tags wanted, sorted, for [`filter`]. Two tags may share a code: the consumer compares the tag.
pub fn wanted_codes<'a>(tags: impl Iterator<Item = &'a str>) -> Vec<u32> {
    let mut codes: Vec<u32> = tags.map(ringmq_wire::batch::tags_code).collect();
    codes.sort_unstable();
    codes.dedup();
    codes
}

/// Looks at the codes alone unless only some match. `stored` was checked when it was read; an error means that a
/// producer wrote records that cannot be read, which is for the consumer to report.
pub fn filter(stored: &[u8], wanted: &[u32]) -> Result<Filtered, BatchError> {
    let view = BatchView::parse_unverified(stored)?;
    let is_wanted = |code: &u32| wanted.binary_search(code).is_ok();
    let matching = view.tags_codes().filter(is_wanted).count();
    if matching == 0 {
        return Ok(Filtered::Nothing);
    }
    if matching == view.header().record_count as usize {
        return Ok(Filtered::All);
    }
    rebuild(&view, wanted).map(Filtered::Some)
}

fn rebuild(view: &BatchView<'_>, wanted: &[u32]) -> Result<Vec<u8>, BatchError> {
    let section = view.section()?;
    let mut builder = BatchBuilder::new();
    for (record, code) in view.records(&section).zip(view.tags_codes()) {
        let record = record?;
        if wanted.binary_search(&code).is_err() {
            continue;
        }
        let keys: Vec<&str> = record
            .keys
            .split(' ')
            .filter(|key| !key.is_empty())
            .collect();
        let properties: Vec<(&str, &str)> = record.properties.iter().collect();
        let copy = Record {
            born_time_ms: record.born_time_ms,
            keys: &keys,
            tag: record.tag,
            properties: &properties,
            envelope: record.envelope,
            body: record.body,
        };
        builder.push_at(record.offset_delta, &copy)?;
    }
    if builder.is_empty() {
        // The codes in front promised a match.
        return Err(BatchError::Record {
            record: 0,
            what: "tags codes do not fit the records",
        });
    }
    let header = view.header();
    let mut batch = builder.finish(&BatchOptions::default())?;
    place(
        &mut batch,
        header.queue_handle,
        header.base_offset,
        header.store_time_ms,
    );
    Ok(batch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringmq_wire::batch::Compression;

    fn stored(tags: &[&str], compression: Compression) -> Vec<u8> {
        let mut builder = BatchBuilder::new();
        for (index, tag) in tags.iter().enumerate() {
            let body = format!("body {index}");
            let record = Record {
                born_time_ms: 1000 + index as i64,
                keys: &["k1", "k2"],
                tag,
                properties: &[("name", "value")],
                envelope: None,
                body: body.as_bytes(),
            };
            builder.push(&record).expect("carryable");
        }
        let options = BatchOptions {
            compression,
            ..BatchOptions::default()
        };
        let mut batch = builder.finish(&options).expect("small");
        place(&mut batch, 7, 100, 5000);
        batch
    }

    #[test]
    fn sends_as_stored_or_sparse_or_not_at_all() {
        let wanted = wanted_codes(["red", "blue"].into_iter());
        let all = stored(&["red", "blue", "red"], Compression::None);
        assert_eq!(filter(&all, &wanted), Ok(Filtered::All));
        let none = stored(&["green", ""], Compression::None);
        assert_eq!(filter(&none, &wanted), Ok(Filtered::Nothing));
        let untagged = stored(&["", ""], Compression::None);
        assert_eq!(filter(&untagged, &wanted), Ok(Filtered::Nothing));
        for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
            let tags = ["green", "red", "", "blue", "green", "red", "green"];
            let some = stored(&tags, compression);
            let Ok(Filtered::Some(sparse)) = filter(&some, &wanted) else {
                panic!("only some match");
            };
            let view = BatchView::parse_placed(&sparse).expect("placed");
            assert_eq!(view.header().base_offset, 100);
            assert_eq!(view.header().queue_handle, 7);
            let section = view.section().expect("plain");
            let records: Vec<_> = view.records(&section).map(Result::unwrap).collect();
            let seen: Vec<_> = records.iter().map(|r| (r.offset_delta, r.tag)).collect();
            assert_eq!(seen, [(1, "red"), (3, "blue"), (5, "red")]);
            assert_eq!(records[1].body, b"body 3");
            assert_eq!(records[1].born_time_ms, 1003);
            assert_eq!(records[1].keys, "k1 k2");
            assert_eq!(records[1].properties.get("name"), Some("value"));
        }
    }
}
