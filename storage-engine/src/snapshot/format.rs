//! Bytes of a snapshot; the tables are in the module above.

use super::CHUNK_BYTES_MAX;
use crate::disk::BLOCK_BYTES;
use crate::format::{put, round_up, u32_at, u64_at, u128_at};
use crate::position::Position;

const MAGIC: &[u8; 8] = b"RNGQSNP1";
const VERSION: u32 = 1;
const CHECKSUM_AT: usize = BLOCK_BYTES - 4;

pub(super) const HEADER_BYTES: usize = BLOCK_BYTES;
/// Before a chunk's payload.
pub(super) const ITEM_HEADER_BYTES: usize = 24;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum ItemKind {
    Chunk = 1,
    Footer = 2,
}

/// What stands before a payload.
#[derive(Debug, Clone, Copy)]
pub(super) struct ItemHeader {
    pub(super) kind: ItemKind,
    pub(super) number: u32,
    pub(super) payload_bytes: usize,
    pub(super) checksum: u32,
    pub(super) stamp: Position,
}

pub(super) fn encode_header(out: &mut Vec<u8>, log_id: u128, replay_from: Position) {
    let mut header = [0; HEADER_BYTES];
    put(&mut header, 0, MAGIC);
    put(&mut header, 8, &VERSION.to_le_bytes());
    put(&mut header, 16, &log_id.to_le_bytes());
    put(&mut header, 32, &replay_from.0.to_le_bytes());
    let sum = crc32fast::hash(&header[..CHECKSUM_AT]);
    put(&mut header, CHECKSUM_AT, &sum.to_le_bytes());
    out.extend_from_slice(&header);
}

/// Checks a header; gives the position from which to replay.
pub(super) fn decode_header(bytes: &[u8], log_id: u128) -> Result<Position, &'static str> {
    if bytes.len() != HEADER_BYTES {
        return Err("header is cut short");
    }
    if crc32fast::hash(&bytes[..CHECKSUM_AT]) != u32_at(bytes, CHECKSUM_AT) {
        return Err("header checksum does not match");
    }
    if &bytes[..8] != MAGIC {
        return Err("magic does not match");
    }
    if u32_at(bytes, 8) != VERSION {
        return Err("version is unknown");
    }
    if u128_at(bytes, 16) != log_id {
        return Err("it belongs to another log");
    }
    Ok(Position(u64_at(bytes, 32)))
}

/// Appends a chunk or the footer; gives its checksum.
pub(super) fn encode_item(
    out: &mut Vec<u8>,
    log_id: u128,
    kind: ItemKind,
    number: u32,
    stamp: Position,
    payload: &[u8],
) -> u32 {
    let start = out.len();
    out.extend_from_slice(&(kind as u32).to_le_bytes());
    out.extend_from_slice(&number.to_le_bytes());
    // Bounded by CHUNK_BYTES_MAX.
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&stamp.0.to_le_bytes());
    out.extend_from_slice(payload);
    out.resize(start + item_bytes(payload.len()), 0);
    let sum = item_checksum(log_id, &out[start..]);
    put(out, start + 12, &sum.to_le_bytes());
    sum
}

/// Header, payload and padding.
pub(super) const fn item_bytes(payload_bytes: usize) -> usize {
    ITEM_HEADER_BYTES + round_up(payload_bytes, 8)
}

/// Decodes what stands before a payload; nothing of it is proven until [`check_item`].
pub(super) fn decode_item_header(bytes: &[u8]) -> Result<ItemHeader, &'static str> {
    let kind = match u32_at(bytes, 0) {
        1 => ItemKind::Chunk,
        2 => ItemKind::Footer,
        _ => return Err("neither a chunk nor a footer"),
    };
    let payload_bytes = u32_at(bytes, 8) as usize;
    if payload_bytes > CHUNK_BYTES_MAX {
        return Err("chunk is too long");
    }
    Ok(ItemHeader {
        kind,
        number: u32_at(bytes, 4),
        payload_bytes,
        checksum: u32_at(bytes, 12),
        stamp: Position(u64_at(bytes, 16)),
    })
}

/// Checks a whole item against its checksum.
pub(super) fn check_item(log_id: u128, item: &[u8]) -> Result<(), &'static str> {
    if item_checksum(log_id, item) == u32_at(item, 12) {
        Ok(())
    } else {
        Err("chunk checksum does not match")
    }
}

fn item_checksum(log_id: u128, item: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&log_id.to_le_bytes());
    hasher.update(&item[..12]);
    hasher.update(&item[16..]);
    hasher.finalize()
}
