//! Encoding a batch.

use super::{
    BATCH_HEADER_BYTES, BatchError, Compression, Envelope, FLAG_SPARSE, FLAG_TAGS,
    header::content_checksum, key_hash, tags_code, varint,
};
use crate::limits::{BATCH_BYTES_MAX, BATCH_KEYS_MAX, BATCH_RECORDS_MAX, PROPERTIES_BYTES_MAX};

/// What holds for the whole batch.
#[derive(Debug, Clone, Copy, Default)]
pub struct BatchOptions {
    pub compression: Compression,
    /// 0: not idempotent.
    pub producer_id: u64,
    pub producer_epoch: u32,
    /// Sequence of the first record.
    pub base_sequence: u32,
}

/// One message to encode.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    pub born_time_ms: i64,
    /// Each without spaces.
    pub keys: &'a [&'a str],
    /// Empty: none.
    pub tag: &'a str,
    pub properties: &'a [(&'a str, &'a str)],
    pub envelope: Option<Envelope<'a>>,
    pub body: &'a [u8],
}

/// Collects records and encodes them. Reusable after [`Self::finish`].
#[derive(Debug, Default)]
pub struct BatchBuilder {
    records: Vec<u8>,
    tags_codes: Vec<u32>,
    key_hashes: Vec<(u32, u32)>,
    born_time_ms: i64,
    last_offset_delta: u32,
    sparse: bool,
}

impl BatchBuilder {
    pub fn new() -> Self {
        Self::default()
    }

    /// Records so far.
    pub fn len(&self) -> usize {
        self.tags_codes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.tags_codes.is_empty()
    }

    /// Size of the batch if finished now without compression.
    pub fn encoded_bytes(&self) -> usize {
        BATCH_HEADER_BYTES + 4 * self.len() + 8 * self.key_hashes.len() + self.records.len()
    }

    /// Adds a record behind the last one. On an error nothing was added.
    pub fn push(&mut self, record: &Record<'_>) -> Result<(), BatchError> {
        let delta = if self.is_empty() {
            0
        } else {
            self.last_offset_delta + 1
        };
        check_carryable(record)?;
        self.push_at(delta, record)
    }

    /// Adds a record with a gap before it: for brokers that filtered records out, which were checked when they were
    /// sent, by the rules of then. On an error nothing was added.
    pub fn push_at(&mut self, offset_delta: u32, record: &Record<'_>) -> Result<(), BatchError> {
        if !self.is_empty() && offset_delta <= self.last_offset_delta {
            return Err(BatchError::Record {
                record: self.len(),
                what: "offset deltas must rise",
            });
        }
        if offset_delta as usize >= BATCH_RECORDS_MAX {
            return Err(BatchError::TooLarge {
                bytes: offset_delta as usize,
                limit: BATCH_RECORDS_MAX,
            });
        }
        let first = self.is_empty();
        let born_base = if first {
            record.born_time_ms
        } else {
            self.born_time_ms
        };
        let head = RecordHead::new(offset_delta, born_base, record);
        let record_bytes = head.bytes() + record.body.len();
        let unique_key = record.envelope.and_then(|envelope| envelope.unique_key());
        let keys = record.keys.len() + usize::from(unique_key.is_some());
        let bytes = self.encoded_bytes() + added_bytes(record_bytes, keys);
        if bytes > BATCH_BYTES_MAX || self.key_hashes.len() + keys > BATCH_KEYS_MAX {
            return Err(BatchError::TooLarge {
                bytes,
                limit: BATCH_BYTES_MAX,
            });
        }
        let index = self.len() as u32;
        self.born_time_ms = born_base;
        self.sparse |= offset_delta != index;
        self.last_offset_delta = offset_delta;
        varint::put(&mut self.records, record_bytes as u64);
        head.put(&mut self.records);
        self.records.extend_from_slice(record.body);
        self.tags_codes.push(tags_code(record.tag));
        let keys = record.keys.iter().copied().chain(unique_key);
        self.key_hashes
            .extend(keys.map(|key| (index, key_hash(key))));
        Ok(())
    }

    /// Encodes and empties the builder.
    ///
    /// # Panics
    /// If it has no records.
    pub fn finish(&mut self, options: &BatchOptions) -> Result<Vec<u8>, BatchError> {
        assert!(!self.is_empty(), "a batch has at least one record");
        let tagged = self.tags_codes.iter().any(|code| *code != 0);
        let mut flags = if tagged { FLAG_TAGS } else { 0 };
        flags |= if self.sparse { FLAG_SPARSE } else { 0 };
        let failed = |e: std::io::Error| BatchError::Compression(e.to_string());
        let compressed = match options.compression {
            Compression::None => None,
            Compression::Lz4 => Some(lz4_flex::block::compress(&self.records)),
            Compression::Zstd => Some(zstd::bulk::compress(&self.records, 0).map_err(failed)?),
        };
        // Incompressible records go out as they are: smaller, and no work for readers.
        let compressed = compressed.filter(|bytes| bytes.len() < self.records.len());
        let compression = if compressed.is_some() {
            options.compression
        } else {
            Compression::None
        };
        let section = compressed.as_deref().unwrap_or(&self.records);

        let front = Front {
            compression,
            flags,
            last_offset_delta: self.last_offset_delta,
            records_bytes: self.records.len(),
            born_time_ms: self.born_time_ms,
            tags_codes: &self.tags_codes,
            key_hashes: &self.key_hashes,
        };
        let mut out = Vec::with_capacity(self.encoded_bytes());
        front.put(&mut out, options);
        out.extend_from_slice(section);
        let batch_bytes = out.len() as u32;
        out[0..4].copy_from_slice(&batch_bytes.to_le_bytes());
        let sum = content_checksum(&out);
        out[32..36].copy_from_slice(&sum.to_le_bytes());
        self.clear();
        Ok(out)
    }

    fn clear(&mut self) {
        self.records.clear();
        self.tags_codes.clear();
        self.key_hashes.clear();
        self.sparse = false;
        self.last_offset_delta = 0;
    }
}

/// What comes before the records of a batch.
pub(super) struct Front<'a> {
    pub compression: Compression,
    pub flags: u16,
    pub last_offset_delta: u32,
    /// Uncompressed.
    pub records_bytes: usize,
    pub born_time_ms: i64,
    pub tags_codes: &'a [u32],
    pub key_hashes: &'a [(u32, u32)],
}

impl Front<'_> {
    /// Appends it; the size of the batch and its checksum are left to be filled in.
    pub(super) fn put(&self, out: &mut Vec<u8>, options: &BatchOptions) {
        let mut header = [0; BATCH_HEADER_BYTES];
        let mut field = |at: usize, bytes: &[u8]| {
            header[at..at + bytes.len()].copy_from_slice(bytes);
        };
        field(4, &[1, self.compression as u8]);
        field(6, &self.flags.to_le_bytes());
        // Placement and checksum are between.
        field(36, &(self.tags_codes.len() as u32).to_le_bytes());
        field(40, &self.last_offset_delta.to_le_bytes());
        field(44, &(self.records_bytes as u32).to_le_bytes());
        field(48, &self.born_time_ms.to_le_bytes());
        field(56, &options.producer_id.to_le_bytes());
        field(64, &options.producer_epoch.to_le_bytes());
        field(68, &options.base_sequence.to_le_bytes());
        field(72, &(self.key_hashes.len() as u32).to_le_bytes());
        out.extend_from_slice(&header);
        if self.flags & FLAG_TAGS != 0 {
            for code in self.tags_codes {
                out.extend_from_slice(&code.to_le_bytes());
            }
        }
        for (index, hash) in self.key_hashes {
            out.extend_from_slice(&index.to_le_bytes());
            out.extend_from_slice(&hash.to_le_bytes());
        }
    }
}

/// What a record adds to a batch at most.
pub(super) fn added_bytes(record_bytes: usize, keys: usize) -> usize {
    record_bytes + varint::BYTES_MAX + 4 + 8 * keys
}

/// A record without its length and its body.
pub(super) struct RecordHead<'a> {
    record: &'a Record<'a>,
    offset_delta: u64,
    born_delta: u64,
    keys_bytes: usize,
    properties_bytes: usize,
    bytes: usize,
}

impl<'a> RecordHead<'a> {
    pub(super) fn new(offset_delta: u32, born_base_ms: i64, record: &'a Record<'a>) -> Self {
        let keys_bytes: usize = record.keys.iter().map(|key| key.len()).sum();
        let pair_bytes = |(name, value): &(&str, &str)| {
            varint::with_length(name.len()) + varint::with_length(value.len())
        };
        let envelope = record.envelope.as_ref();
        let envelope_bytes =
            envelope.map_or(0, |envelope| varint::with_length(envelope.encoded_bytes()));
        let mut head = Self {
            record,
            offset_delta: u64::from(offset_delta),
            born_delta: varint::zigzag(record.born_time_ms.wrapping_sub(born_base_ms)),
            keys_bytes: keys_bytes + record.keys.len().saturating_sub(1),
            properties_bytes: record.properties.iter().map(pair_bytes).sum(),
            bytes: 0,
        };
        head.bytes = 1
            + varint::bytes(head.offset_delta)
            + varint::bytes(head.born_delta)
            + varint::with_length(head.keys_bytes)
            + varint::with_length(record.tag.len())
            + varint::with_length(head.properties_bytes)
            + envelope_bytes;
        head
    }

    /// Bytes that [`Self::put`] appends.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends it.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        let (record, start) = (self.record, out.len());
        out.reserve(self.bytes);
        out.push(u8::from(record.envelope.is_some()));
        varint::put(out, self.offset_delta);
        varint::put(out, self.born_delta);
        varint::put(out, self.keys_bytes as u64);
        for (index, key) in record.keys.iter().enumerate() {
            if index > 0 {
                out.push(b' ');
            }
            out.extend_from_slice(key.as_bytes());
        }
        varint::put_bytes(out, record.tag.as_bytes());
        varint::put(out, self.properties_bytes as u64);
        for (name, value) in record.properties {
            varint::put_bytes(out, name.as_bytes());
            varint::put_bytes(out, value.as_bytes());
        }
        if let Some(envelope) = &record.envelope {
            varint::put(out, envelope.encoded_bytes() as u64);
            envelope.encode(out);
        }
        debug_assert_eq!(out.len() - start, self.bytes);
    }
}

/// Refuses what a RocketMQ client could not be given: see `docs/formats.md`.
pub(super) fn check_carryable(record: &Record<'_>) -> Result<(), BatchError> {
    let refuse = |what| Err(BatchError::NotCarryable(what));
    let separators = |text: &str| text.bytes().any(|byte| matches!(byte, 1 | 2));
    // As RocketMQ writes them: name, U+0001, value, U+0002.
    let mut bytes = 0;
    for key in record.keys {
        if key.is_empty() || key.bytes().any(|byte| byte == b' ') || separators(key) {
            return refuse("a key is empty or holds a space, U+0001 or U+0002");
        }
        bytes += key.len() + 1;
    }
    if !record.keys.is_empty() {
        bytes += "KEYS".len() + 1;
    }
    if separators(record.tag) || record.tag.as_bytes().windows(2).any(|two| two == b"||") {
        return refuse("the tag holds U+0001, U+0002 or ||");
    }
    if !record.tag.is_empty() {
        bytes += "TAGS".len() + record.tag.len() + 2;
    }
    for (name, value) in record.properties {
        if name.is_empty() || value.is_empty() {
            return refuse("a property has an empty name or value");
        }
        if separators(name) || separators(value) {
            return refuse("a property holds U+0001 or U+0002");
        }
        bytes += name.len() + value.len() + 2;
    }
    let text = record
        .envelope
        .map_or(0, |envelope| envelope.properties.len());
    if bytes.max(text) > PROPERTIES_BYTES_MAX {
        return refuse("keys, tag and properties are over 32,767 bytes as RocketMQ writes them");
    }
    Ok(())
}
