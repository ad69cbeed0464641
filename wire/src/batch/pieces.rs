//! Encoding a batch without copying bodies.

use super::builder::{Front, RecordHead, added_bytes, check_carryable};
use super::{
    BATCH_HEADER_BYTES, BatchError, BatchOptions, Compression, FLAG_TAGS, Record, key_hash,
    tags_code, varint,
};
use crate::limits::{BATCH_BYTES_MAX, BATCH_KEYS_MAX, BATCH_RECORDS_MAX};

/// An uncompressed batch whose bodies stay where they are: for who copies it once, to where it is stored. Its bytes
/// are those of a [`super::BatchBuilder`].
#[derive(Debug, Default)]
pub struct BatchPieces<'a> {
    front: Vec<u8>,
    /// What stands before the bodies, one behind the other.
    heads: Vec<u8>,
    /// (end of the record's head, its body).
    records: Vec<(usize, &'a [u8])>,
    records_bytes: usize,
    tags_codes: Vec<u32>,
    key_hashes: Vec<(u32, u32)>,
    born_time_ms: i64,
}

impl<'a> BatchPieces<'a> {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a record behind the last one. On an error nothing was added.
    pub fn push(&mut self, record: &Record<'a>) -> Result<(), BatchError> {
        check_carryable(record)?;
        if self.records.len() == BATCH_RECORDS_MAX {
            return Err(BatchError::TooLarge {
                bytes: self.records.len() + 1,
                limit: BATCH_RECORDS_MAX,
            });
        }
        let delta = self.records.len() as u32;
        let born_base = match delta {
            0 => record.born_time_ms,
            _ => self.born_time_ms,
        };
        let head = RecordHead::new(delta, born_base, record);
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
        self.born_time_ms = born_base;
        let before = self.heads.len();
        self.heads.reserve(varint::BYTES_MAX + head.bytes());
        varint::put(&mut self.heads, record_bytes as u64);
        head.put(&mut self.heads);
        self.records_bytes += self.heads.len() - before + record.body.len();
        self.records.push((self.heads.len(), record.body));
        self.tags_codes.push(tags_code(record.tag));
        let keys = record.keys.iter().copied().chain(unique_key);
        self.key_hashes
            .extend(keys.map(|key| (delta, key_hash(key))));
        Ok(())
    }

    /// Completes the batch: its pieces, in order, are its bytes. The first holds the whole header.
    ///
    /// # Panics
    /// If there are no records.
    pub fn finish(&mut self, options: &BatchOptions) -> Vec<&[u8]> {
        assert!(!self.records.is_empty(), "a batch has at least one record");
        debug_assert_eq!(
            options.compression,
            Compression::None,
            "bodies stay as they are"
        );
        let tagged = self.tags_codes.iter().any(|code| *code != 0);
        let front = Front {
            compression: Compression::None,
            flags: if tagged { FLAG_TAGS } else { 0 },
            last_offset_delta: self.records.len() as u32 - 1,
            records_bytes: self.records_bytes,
            born_time_ms: self.born_time_ms,
            tags_codes: &self.tags_codes,
            key_hashes: &self.key_hashes,
        };
        self.front.clear();
        let hashes_bytes = 8 * self.key_hashes.len();
        self.front
            .reserve(BATCH_HEADER_BYTES + 4 * self.tags_codes.len() + hashes_bytes);
        front.put(&mut self.front, options);
        let batch_bytes = (self.front.len() + self.records_bytes) as u32;
        self.front[0..4].copy_from_slice(&batch_bytes.to_le_bytes());
        let sum = self.checksum();
        self.front[32..36].copy_from_slice(&sum.to_le_bytes());
        std::iter::once(&self.front[..])
            .chain(self.behind_front())
            .collect()
    }

    fn checksum(&self) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.front[0..8]);
        hasher.update(&self.front[36..]);
        self.behind_front().for_each(|piece| hasher.update(piece));
        hasher.finalize()
    }

    fn behind_front(&self) -> impl Iterator<Item = &[u8]> {
        let mut from = 0;
        self.records.iter().flat_map(move |(end, body)| {
            let head = &self.heads[from..*end];
            from = *end;
            [head, *body]
        })
    }

    /// Size of the batch if it were finished now.
    fn encoded_bytes(&self) -> usize {
        let records = self.records.len();
        BATCH_HEADER_BYTES + 4 * records + 8 * self.key_hashes.len() + self.records_bytes
    }
}
