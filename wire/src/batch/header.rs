//! The fixed header, its checksums, and a checked view over a whole batch.

use super::{BatchError, records::Records};
use crate::limits::{BATCH_BYTES_MAX, BATCH_KEYS_MAX, BATCH_RECORDS_MAX};
use bytes::Bytes;
use std::borrow::Cow;

/// Bytes before the tags codes.
pub const BATCH_HEADER_BYTES: usize = 80;
/// Tags codes are present; without them no record has a tag.
pub const FLAG_TAGS: u16 = 1;
/// Offset deltas have gaps: records were filtered out.
pub const FLAG_SPARSE: u16 = 2;
const FLAGS_ALL: u16 = FLAG_TAGS | FLAG_SPARSE;
const VERSION: u8 = 1;

/// How the records section is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Compression {
    #[default]
    None = 0,
    /// LZ4 block format.
    Lz4 = 1,
    /// One Zstandard frame.
    Zstd = 2,
}

/// The fixed header, decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// The whole batch.
    pub batch_bytes: u32,
    pub compression: Compression,
    pub flags: u16,
    /// Queue offset of offset delta 0; set by the broker.
    pub base_offset: u64,
    /// Set by the broker.
    pub store_time_ms: i64,
    /// The shard's handle of the queue; set by the broker.
    pub queue_handle: u32,
    pub record_count: u32,
    /// Largest offset delta; `record_count - 1` unless sparse.
    pub last_offset_delta: u32,
    /// Size of the records section when uncompressed.
    pub records_bytes: u32,
    pub born_time_ms: i64,
    /// 0: not idempotent.
    pub producer_id: u64,
    pub producer_epoch: u32,
    /// Sequence of the first record; wraps.
    pub base_sequence: u32,
    pub key_count: u32,
}

impl BatchHeader {
    /// Decodes and bounds the header; `bytes` may hold less or more than the batch. Checksums are not looked at.
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        let Some(b) = bytes.first_chunk::<BATCH_HEADER_BYTES>() else {
            return Err(BatchError::Truncated {
                field: "header",
                needed: BATCH_HEADER_BYTES,
                available: bytes.len(),
            });
        };
        require(
            b[4] == VERSION,
            "version",
            u64::from(b[4]),
            "only version 1 is known",
        )?;
        let compression = match b[5] {
            0 => Compression::None,
            1 => Compression::Lz4,
            2 => Compression::Zstd,
            other => {
                return Err(BatchError::Field {
                    field: "compression",
                    value: u64::from(other),
                    expected: "0 none, 1 lz4, 2 zstd",
                });
            }
        };
        let header = Self {
            batch_bytes: u32_at(b, 0),
            compression,
            flags: u16::from_le_bytes([b[6], b[7]]),
            base_offset: u64_at(b, 8),
            store_time_ms: u64_at(b, 16) as i64,
            queue_handle: u32_at(b, 24),
            record_count: u32_at(b, 36),
            last_offset_delta: u32_at(b, 40),
            records_bytes: u32_at(b, 44),
            born_time_ms: u64_at(b, 48) as i64,
            producer_id: u64_at(b, 56),
            producer_epoch: u32_at(b, 64),
            base_sequence: u32_at(b, 68),
            key_count: u32_at(b, 72),
        };
        require(
            u32_at(b, 76) == 0,
            "reserved",
            u64::from(u32_at(b, 76)),
            "must be zero",
        )?;
        header.check()?;
        Ok(header)
    }

    fn check(&self) -> Result<(), BatchError> {
        let count = self.record_count as usize;
        let bytes = self.batch_bytes as usize;
        require(
            self.flags & !FLAGS_ALL == 0,
            "flags",
            u64::from(self.flags),
            "unknown bits",
        )?;
        require(
            (1..=BATCH_RECORDS_MAX).contains(&count),
            "record_count",
            count as u64,
            "must be 1..=65536",
        )?;
        require(
            self.key_count as usize <= BATCH_KEYS_MAX,
            "key_count",
            u64::from(self.key_count),
            "must be at most 262144",
        )?;
        require(
            self.records_bytes as usize <= BATCH_BYTES_MAX,
            "records_bytes",
            u64::from(self.records_bytes),
            "must be at most 15 MiB",
        )?;
        require(
            bytes <= BATCH_BYTES_MAX && bytes > count && bytes >= self.records_at(),
            "batch_bytes",
            bytes as u64,
            "must hold header, codes and keys, and be at most 15 MiB",
        )?;
        require(
            self.compression != Compression::None
                || bytes == self.records_at() + self.records_bytes as usize,
            "records_bytes",
            u64::from(self.records_bytes),
            "must be what follows the codes and keys",
        )?;
        let deltas_fit = if self.flags & FLAG_SPARSE == 0 {
            self.last_offset_delta == self.record_count - 1
        } else {
            self.last_offset_delta >= self.record_count - 1
                && (self.last_offset_delta as usize) < BATCH_RECORDS_MAX
        };
        require(
            deltas_fit,
            "last_offset_delta",
            u64::from(self.last_offset_delta),
            "must fit record_count",
        )?;
        require(
            self.base_offset
                .checked_add(u64::from(self.last_offset_delta) + 1)
                .is_some(),
            "base_offset",
            self.base_offset,
            "overflows",
        )
    }

    /// Queue offset behind the last record.
    pub fn next_offset(&self) -> u64 {
        self.base_offset + u64::from(self.last_offset_delta) + 1
    }

    /// Where the key hashes start in the batch.
    fn keys_at(&self) -> usize {
        let codes = if self.flags & FLAG_TAGS == 0 {
            0
        } else {
            4 * self.record_count as usize
        };
        BATCH_HEADER_BYTES + codes
    }

    /// Where the records section starts in the batch.
    pub fn records_at(&self) -> usize {
        self.keys_at() + 8 * self.key_count as usize
    }
}

/// A batch whose structure and producer checksum have been checked.
#[derive(Debug, Clone, Copy)]
pub struct BatchView<'a> {
    header: BatchHeader,
    bytes: &'a [u8],
}

impl<'a> BatchView<'a> {
    /// Checks a batch that is exactly `bytes`, as a producer sends it.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BatchError> {
        let view = Self::parse_unverified(bytes)?;
        expect_checksum("batch", content_checksum(bytes), u32_at(bytes, 32))?;
        Ok(view)
    }

    /// Checks a batch as a broker stores and delivers it: placement included.
    pub fn parse_placed(bytes: &'a [u8]) -> Result<Self, BatchError> {
        let view = Self::parse(bytes)?;
        expect_checksum("placement", placement_checksum(bytes), u32_at(bytes, 28))?;
        Ok(view)
    }

    /// As [`Self::parse`], without looking at checksums: for bytes that were verified before.
    pub fn parse_unverified(bytes: &'a [u8]) -> Result<Self, BatchError> {
        let header = BatchHeader::parse(bytes)?;
        if header.batch_bytes as usize != bytes.len() {
            return Err(BatchError::Truncated {
                field: "batch",
                needed: header.batch_bytes as usize,
                available: bytes.len(),
            });
        }
        Ok(Self { header, bytes })
    }

    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The tags code of each record; zeros when the batch has none.
    pub fn tags_codes(&self) -> impl Iterator<Item = u32> + use<'a> {
        let codes = &self.bytes[BATCH_HEADER_BYTES..self.header.keys_at()];
        let missing = if codes.is_empty() {
            self.header.record_count as usize
        } else {
            0
        };
        codes
            .chunks_exact(4)
            .map(|c| u32_at(c, 0))
            .chain(std::iter::repeat_n(0, missing))
    }

    /// (record index, key hash), as the producer wrote them; indices may be wrong in a hostile batch.
    pub fn key_hashes(&self) -> impl Iterator<Item = (u32, u32)> + use<'a> {
        self.bytes[self.header.keys_at()..self.header.records_at()]
            .chunks_exact(8)
            .map(|entry| (u32_at(entry, 0), u32_at(entry, 4)))
    }

    /// The uncompressed records section; without compression it is part of the batch.
    pub fn section(&self) -> Result<Cow<'a, [u8]>, BatchError> {
        let section = &self.bytes[self.header.records_at()..];
        let size = self.header.records_bytes as usize;
        let failed = |error: &dyn std::fmt::Display| BatchError::Compression(error.to_string());
        let plain = match self.header.compression {
            Compression::None => return Ok(Cow::Borrowed(section)),
            Compression::Lz4 => {
                lz4_flex::block::decompress(section, size).map_err(|e| failed(&e))?
            }
            Compression::Zstd => zstd::bulk::decompress(section, size).map_err(|e| failed(&e))?,
        };
        if plain.len() != size {
            return Err(BatchError::Field {
                field: "records_bytes",
                value: size as u64,
                expected: "must be the uncompressed size",
            });
        }
        Ok(Cow::Owned(plain))
    }

    /// As [`Self::section`], shareable: `shared` must own this view's bytes; without compression nothing is copied.
    pub fn records_section(&self, shared: &Bytes) -> Result<Bytes, BatchError> {
        Ok(match self.section()? {
            Cow::Borrowed(section) => shared.slice_ref(section),
            Cow::Owned(section) => section.into(),
        })
    }

    /// Iterates over the records of a section from [`Self::records_section`].
    pub fn records<'s>(&self, section: &'s [u8]) -> Records<'s> {
        Records::new(section, &self.header)
    }
}

/// Writes the broker's fields and their checksum into a checked batch.
///
/// # Panics
/// If `batch` is shorter than a header.
pub fn place(batch: &mut [u8], queue_handle: u32, base_offset: u64, store_time_ms: i64) {
    batch[8..16].copy_from_slice(&base_offset.to_le_bytes());
    batch[16..24].copy_from_slice(&store_time_ms.to_le_bytes());
    batch[24..28].copy_from_slice(&queue_handle.to_le_bytes());
    let sum = placement_checksum(batch);
    batch[28..32].copy_from_slice(&sum.to_le_bytes());
}

/// Gives an encoded batch another producer epoch and sequence: a producer that starts a new epoch sends what it has
/// encoded already.
///
/// # Panics
/// If `batch` is shorter than a header.
pub fn restamp(batch: &mut [u8], producer_epoch: u32, base_sequence: u32) {
    batch[64..68].copy_from_slice(&producer_epoch.to_le_bytes());
    batch[68..72].copy_from_slice(&base_sequence.to_le_bytes());
    let sum = content_checksum(batch);
    batch[32..36].copy_from_slice(&sum.to_le_bytes());
}

/// First byte behind the fields that [`place`] and the checksums occupy: what follows is stored as it was sent.
pub const UNTOUCHED_AT: usize = 36;

/// The running checksum of the bytes from [`UNTOUCHED_AT`] on, worked out from the producer's checksum instead of
/// read: CRC-32 of two parts in a row is linear in each. The batch must be one that [`BatchView::parse`] accepted; `header`
/// are its first bytes.
///
/// # Panics
/// If `header` is shorter than a header.
pub fn untouched_checksum(header: &[u8], batch_bytes: usize) -> crc32fast::Hasher {
    let bytes = (batch_bytes - UNTOUCHED_AT) as u64;
    let mut start = crc32fast::Hasher::new();
    start.update(&header[0..8]);
    // Zero for the unknown part leaves what the start contributes to the whole.
    start.combine(&crc32fast::Hasher::new_with_initial_len(0, bytes));
    let untouched = u32_at(header, 32) ^ start.finalize();
    crc32fast::Hasher::new_with_initial_len(untouched, bytes)
}

pub(super) fn content_checksum(batch: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&batch[0..8]);
    hasher.update(&batch[36..]);
    hasher.finalize()
}

fn placement_checksum(batch: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&batch[8..28]);
    hasher.update(&batch[32..36]);
    hasher.finalize()
}

fn expect_checksum(which: &'static str, expected: u32, found: u32) -> Result<(), BatchError> {
    if expected == found {
        Ok(())
    } else {
        Err(BatchError::Checksum {
            which,
            expected,
            found,
        })
    }
}

fn require(
    holds: bool,
    field: &'static str,
    value: u64,
    expected: &'static str,
) -> Result<(), BatchError> {
    if holds {
        Ok(())
    } else {
        Err(BatchError::Field {
            field,
            value,
            expected,
        })
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
