//! Record batch v1: encoded once by the producer, stored and delivered in the same bytes.
//!
//! ```text
//!  0   batch_bytes u32 | version u8 | compression u8 | flags u16
//!  8   base_offset u64 | store_time_ms i64 | queue_handle u32          set by the broker ("placement")
//! 28   placement_checksum u32   CRC-32 over bytes 8..28 and 32..36     set by the broker
//! 32   checksum u32             CRC-32 over bytes 0..8 and 36..batch_bytes
//! 36   record_count u32 | last_offset_delta u32 | records_bytes u32
//! 48   born_time_ms i64         of the first record
//! 56   producer_id u64 | producer_epoch u32 | base_sequence u32
//! 72   key_count u32 | reserved u32, zero
//! 80   tags codes: record_count x u32                                  if FLAG_TAGS
//!      key hashes: key_count x (record index u32, hash u32)            by record index
//!      records section, compressed as told                             records_bytes when uncompressed
//! ```
//! Placement is outside the producer's checksum, so the broker stores the producer's bytes unchanged; its own
//! checksum binds placement to content, so that a stored batch is proven whole by its own bytes alone.
//!
//! A record in the records section (`v`: LEB128 varint, `z`: zigzag varint):
//! ```text
//! v length of the rest | u8 attributes (bit 0: envelope) | v offset delta | z born time - batch born time
//! v len, keys (space-separated) | v len, tag | v len, properties: (v len, name, v len, value)*
//! [v len, envelope] | body: what is left
//! ```

pub(crate) mod body;
mod builder;
mod envelope;
mod header;
mod pieces;
mod records;
mod varint;

pub use builder::{BatchBuilder, BatchOptions, Record};
pub use envelope::Envelope;
pub use header::{
    BATCH_HEADER_BYTES, BatchHeader, BatchView, Compression, FLAG_SPARSE, FLAG_TAGS, UNTOUCHED_AT,
    place, restamp, untouched_checksum,
};
pub use pieces::BatchPieces;
pub use records::{Properties, RecordView, Records};

/// Why bytes are not a batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    #[error("batch cut short in {field}: {needed} bytes needed, {available} there")]
    Truncated {
        field: &'static str,
        needed: usize,
        available: usize,
    },
    #[error("batch field {field} is {value}: {expected}")]
    Field {
        field: &'static str,
        value: u64,
        expected: &'static str,
    },
    #[error("{which} checksum is {found:#010x}, should be {expected:#010x}")]
    Checksum {
        which: &'static str,
        expected: u32,
        found: u32,
    },
    #[error("records section cannot be decompressed: {0}")]
    Compression(String),
    #[error("record {record}: {what}")]
    Record { record: usize, what: &'static str },
    #[error("batch would be {bytes} bytes, over the limit of {limit}")]
    TooLarge { bytes: usize, limit: usize },
    #[error("message cannot be carried: {0}")]
    NotCarryable(&'static str),
}

/// RocketMQ's tags code: Java's `String.hashCode` over UTF-16 units, 0 without a tag.
/// Source: RocketMQ `MessageExtBrokerInner.tagsString2tagsCode`.
pub fn tags_code(tag: &str) -> u32 {
    tag.encode_utf16().fold(0u32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(u32::from(unit))
    })
}

/// The hash under which a key is indexed: CRC-32 of its bytes.
pub fn key_hash(key: &str) -> u32 {
    crc32fast::hash(key.as_bytes())
}
