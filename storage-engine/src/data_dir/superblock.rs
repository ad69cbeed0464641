//! The superblock: whose directory this is, in which format, for how many shards. Pure.
//!
//! One block, little-endian:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | magic `RINGMQSB` |
//! | 8 | 4 | format version |
//! | 12 | 4 | CRC-32 of bytes 16..4096 |
//! | 16 | 16 | directory id, random |
//! | 32 | 4 | shards; may rise, never fall |
//! | 36 | 4 | block size |
//! | 40 | 8 | segment size |
//! | 48 | 4 | largest frame |
//! | 52 | 2 | length of the node name |
//! | 54 | 2 | length of the cluster name |
//! | 56 | 8 | created, Unix milliseconds |
//! | 64 | 64 | node name, padded with zeros |
//! | 128 | 128 | cluster name, padded with zeros |
//! | 256 | 3840 | zero |

use crate::disk::BLOCK_BYTES;
use std::ops::Range;

pub(super) const MAGIC: [u8; 8] = *b"RINGMQSB";
/// The format this build writes, and the newest it reads.
pub const FORMAT_VERSION: u32 = 1;
/// Longest node name, in bytes.
pub const NODE_BYTES_MAX: usize = 60;
/// Longest cluster name, in bytes.
pub const CLUSTER_BYTES_MAX: usize = 127;
/// Most shards of a directory.
pub const SHARDS_MAX: u32 = 64;

const NODE_AT: usize = 64;
const CLUSTER_AT: usize = 128;
const END: usize = 256;

/// Constants that positions depend on; equal on every replica, fixed when the directory is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FormatConstants {
    /// Bytes of a segment.
    pub segment_bytes: u64,
    /// Largest frame.
    pub frame_bytes_max: u32,
}

impl Default for FormatConstants {
    fn default() -> Self {
        Self {
            segment_bytes: 256 << 20,
            frame_bytes_max: 16 << 20,
        }
    }
}

/// What the superblock says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superblock {
    /// Random, made with the directory; tells two directories with one node name apart.
    pub directory_id: u128,
    /// Name of the node.
    pub node: String,
    /// Name of the cluster.
    pub cluster: String,
    /// Shards of the directory.
    pub shards: u32,
    /// Fixed constants.
    pub format: FormatConstants,
    /// When the directory was made, Unix milliseconds.
    pub created_ms: i64,
}

/// Why bytes are not a superblock.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SuperblockError {
    /// Not written by RingMQ, or its first bytes are damaged.
    #[error("it does not start with the magic of a RingMQ superblock")]
    Magic,
    /// Written by a newer version, whose layout this one cannot know.
    #[error("format version {found}; this build reads up to {FORMAT_VERSION}")]
    Newer {
        /// The version in the block.
        found: u32,
    },
    /// Damaged.
    #[error("{0}")]
    Damaged(&'static str),
}

impl Superblock {
    /// The block.
    pub fn encode(&self) -> Vec<u8> {
        let mut block = vec![0; BLOCK_BYTES];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &MAGIC);
        put(8, &FORMAT_VERSION.to_le_bytes());
        put(16, &self.directory_id.to_le_bytes());
        put(32, &self.shards.to_le_bytes());
        put(36, &(BLOCK_BYTES as u32).to_le_bytes());
        put(40, &self.format.segment_bytes.to_le_bytes());
        put(48, &self.format.frame_bytes_max.to_le_bytes());
        put(52, &(self.node.len() as u16).to_le_bytes());
        put(54, &(self.cluster.len() as u16).to_le_bytes());
        put(56, &self.created_ms.to_le_bytes());
        put(NODE_AT, self.node.as_bytes());
        put(CLUSTER_AT, self.cluster.as_bytes());
        let checksum = crc32fast::hash(&block[16..]);
        block[12..16].copy_from_slice(&checksum.to_le_bytes());
        block
    }

    /// Reads a block; trusts none of it.
    pub fn decode(block: &[u8]) -> Result<Self, SuperblockError> {
        use SuperblockError::Damaged;
        if block.len() < 12 || block[..8] != MAGIC {
            return Err(SuperblockError::Magic);
        }
        // The version first: a newer layout may have its checksum elsewhere.
        let version = u32::from_le_bytes(field(block, 8)?);
        if version > FORMAT_VERSION {
            return Err(SuperblockError::Newer { found: version });
        }
        if version != FORMAT_VERSION {
            return Err(Damaged("format version 0 was never written"));
        }
        if block.len() != BLOCK_BYTES {
            return Err(Damaged("it is not one block long"));
        }
        if u32::from_le_bytes(field(block, 12)?) != crc32fast::hash(&block[16..]) {
            return Err(Damaged("its checksum does not match"));
        }
        if u32::from_le_bytes(field(block, 36)?) as usize != BLOCK_BYTES {
            return Err(Damaged("its block size is not 4096"));
        }
        if block[END..].iter().any(|byte| *byte != 0) {
            return Err(Damaged("reserved bytes are not zero"));
        }
        let shards = u32::from_le_bytes(field(block, 32)?);
        if !(1..=SHARDS_MAX).contains(&shards) {
            return Err(Damaged("its number of shards is out of range"));
        }
        Ok(Self {
            directory_id: u128::from_le_bytes(field(block, 16)?),
            node: name(block, NODE_AT..CLUSTER_AT, 52, NODE_BYTES_MAX)?,
            cluster: name(block, CLUSTER_AT..END, 54, CLUSTER_BYTES_MAX)?,
            shards,
            format: FormatConstants {
                segment_bytes: u64::from_le_bytes(field(block, 40)?),
                frame_bytes_max: u32::from_le_bytes(field(block, 48)?),
            },
            created_ms: i64::from_le_bytes(field(block, 56)?),
        })
    }
}

fn field<const N: usize>(block: &[u8], at: usize) -> Result<[u8; N], SuperblockError> {
    block
        .get(at..at + N)
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(SuperblockError::Damaged("it is cut short"))
}

fn name(
    block: &[u8],
    room: Range<usize>,
    len_at: usize,
    bytes_max: usize,
) -> Result<String, SuperblockError> {
    let len = usize::from(u16::from_le_bytes(field(block, len_at)?));
    if len > bytes_max {
        return Err(SuperblockError::Damaged("a name is too long"));
    }
    let (name, padding) = block[room].split_at(len);
    if padding.iter().any(|byte| *byte != 0) {
        return Err(SuperblockError::Damaged("bytes behind a name are not zero"));
    }
    String::from_utf8(name.to_vec()).map_err(|_| SuperblockError::Damaged("a name is not text"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn superblock() -> Superblock {
        Superblock {
            directory_id: 0x0123_4567_89ab_cdef_0011_2233_4455_6677,
            node: "dev".to_owned(),
            cluster: "c".repeat(CLUSTER_BYTES_MAX),
            shards: 8,
            format: FormatConstants::default(),
            created_ms: 1_767_225_600_000,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(Superblock::decode(&superblock().encode()), Ok(superblock()));
    }

    /// `docs/formats.md` names the same places as the code.
    #[test]
    fn the_documented_layout_is_the_one_written() {
        let formats = include_str!("../../../docs/formats.md");
        let section = formats.split("### 3.1 Superblock").nth(1);
        let section = section.and_then(|rest| rest.split("\n#").next());
        let rows: Vec<(usize, usize, &str)> = section
            .expect("the section is there")
            .lines()
            .filter_map(|line| {
                let mut cells = line.strip_prefix("| ")?.split(" | ");
                let offset = cells.next()?.parse().ok()?;
                let size = cells.next()?.parse().ok()?;
                Some((offset, size, cells.next()?.trim_end_matches(" |")))
            })
            .collect();
        let (value, block) = (superblock(), superblock().encode());
        let checksum = crc32fast::hash(&block[16..]).to_le_bytes();
        let expected: [(&str, &[u8]); 12] = [
            ("magic", &MAGIC),
            ("format version", &FORMAT_VERSION.to_le_bytes()),
            ("CRC-32", &checksum),
            ("directory id", &value.directory_id.to_le_bytes()),
            ("shards", &value.shards.to_le_bytes()),
            ("block size", &(BLOCK_BYTES as u32).to_le_bytes()),
            ("segment size", &value.format.segment_bytes.to_le_bytes()),
            ("largest frame", &value.format.frame_bytes_max.to_le_bytes()),
            ("length of the node", &3_u16.to_le_bytes()),
            ("length of the cluster", &127_u16.to_le_bytes()),
            ("created", &value.created_ms.to_le_bytes()),
            ("node name", value.node.as_bytes()),
        ];
        for (name, bytes) in expected {
            let row = rows.iter().find(|(_, _, field)| field.starts_with(name));
            let (offset, size, _) = row.unwrap_or_else(|| panic!("{name} is not documented"));
            assert!(bytes.len() <= *size, "{name}");
            assert_eq!(&block[*offset..offset + bytes.len()], bytes, "{name}");
        }
        let end = rows.iter().fold(0, |end, (offset, size, field)| {
            assert_eq!(*offset, end, "{field} leaves a gap");
            end + size
        });
        assert_eq!(end, BLOCK_BYTES);
    }

    #[test]
    fn a_newer_version_is_told_apart_from_damage() {
        let mut block = superblock().encode();
        block[8..12].copy_from_slice(&7_u32.to_le_bytes());
        assert_eq!(
            Superblock::decode(&block),
            Err(SuperblockError::Newer { found: 7 })
        );
        assert_eq!(Superblock::decode(b"hello"), Err(SuperblockError::Magic));
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let mut block = superblock().encode();
        for bit in 0..BLOCK_BYTES * 8 {
            block[bit / 8] ^= 1 << (bit % 8);
            assert!(Superblock::decode(&block).is_err(), "bit {bit}");
            block[bit / 8] ^= 1 << (bit % 8);
        }
    }

    /// Under a right checksum, too: what is accepted is what would be written.
    #[test]
    fn bytes_without_a_meaning_are_zero() {
        let meant = [0..NODE_AT + "dev".len(), CLUSTER_AT..END - 1];
        for at in 16..BLOCK_BYTES {
            let mut block = superblock().encode();
            block[at] ^= 0x40;
            let sum = crc32fast::hash(&block[16..]);
            block[12..16].copy_from_slice(&sum.to_le_bytes());
            let decoded = Superblock::decode(&block);
            let is_meant = meant.iter().any(|range| range.contains(&at));
            assert!(is_meant || decoded.is_err(), "byte {at}");
            if let Ok(read) = decoded {
                assert_eq!(read.encode(), block, "byte {at}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(mut bytes: Vec<u8>, magic: bool, checksum: bool) {
            bytes.resize(BLOCK_BYTES, 0);
            if magic {
                bytes[..8].copy_from_slice(&MAGIC);
                bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
            }
            if checksum {
                let sum = crc32fast::hash(&bytes[16..]);
                bytes[12..16].copy_from_slice(&sum.to_le_bytes());
            }
            let _ = Superblock::decode(&bytes);
        }
    }
}
