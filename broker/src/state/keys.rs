//! Names of entries, their order over all tables, and the guard that replay asks before it touches an entry.
//!
//! Keys are ordered by table, then by the table's own key; their encoding sorts the same way:
//! ```text
//! 1 meta        (one entry)
//! 2 topics      name
//! 3 queues      handle u32 big-endian
//! 4 groups      group name | 0 | handle u32 big-endian        (names hold no zero byte)
//! 5 producers   handle u32 big-endian | producer id u64 big-endian
//! 6 settings    group name
//! ```

use super::bytes::{DecodeError, require};
use super::entries::ProducerKey;
use ringmq_storage_engine::position::{Position, QueueHandle};

pub(super) mod table {
    pub const META: u8 = 1;
    pub const TOPICS: u8 = 2;
    pub const QUEUES: u8 = 3;
    pub const GROUPS: u8 = 4;
    pub const PRODUCERS: u8 = 5;
    pub const GROUP_SETTINGS: u8 = 6;
}

/// Names one entry of the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key<'a> {
    Meta,
    Topic(&'a str),
    Queue(QueueHandle),
    GroupQueue(&'a str, QueueHandle),
    Producer(ProducerKey),
    GroupSettings(&'a str),
}

impl<'a> Key<'a> {
    pub fn encode(self, out: &mut Vec<u8>) {
        out.clear();
        match self {
            Self::Meta => out.push(table::META),
            Self::Topic(name) => {
                out.push(table::TOPICS);
                out.extend_from_slice(name.as_bytes());
            }
            Self::Queue(handle) => {
                out.push(table::QUEUES);
                out.extend_from_slice(&handle.0.to_be_bytes());
            }
            Self::GroupQueue(group, handle) => {
                out.push(table::GROUPS);
                out.extend_from_slice(group.as_bytes());
                out.push(0);
                out.extend_from_slice(&handle.0.to_be_bytes());
            }
            Self::Producer(key) => {
                out.push(table::PRODUCERS);
                out.extend_from_slice(&key.queue.0.to_be_bytes());
                out.extend_from_slice(&key.producer_id.to_be_bytes());
            }
            Self::GroupSettings(group) => {
                out.push(table::GROUP_SETTINGS);
                out.extend_from_slice(group.as_bytes());
            }
        }
    }

    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (&table, rest) = bytes.split_first()?;
        Some(match table {
            table::META if rest.is_empty() => Self::Meta,
            table::TOPICS => Self::Topic(std::str::from_utf8(rest).ok()?),
            table::QUEUES => Self::Queue(QueueHandle(u32::from_be_bytes(rest.try_into().ok()?))),
            table::GROUPS => {
                let (name, handle) = rest.split_last_chunk::<4>()?;
                let (&0, name) = name.split_last()? else {
                    return None;
                };
                let handle = QueueHandle(u32::from_be_bytes(*handle));
                Self::GroupQueue(std::str::from_utf8(name).ok()?, handle)
            }
            table::PRODUCERS => {
                let (queue, id) = rest.split_first_chunk::<4>()?;
                Self::Producer(ProducerKey {
                    queue: QueueHandle(u32::from_be_bytes(*queue)),
                    producer_id: u64::from_be_bytes(id.try_into().ok()?),
                })
            }
            table::GROUP_SETTINGS => Self::GroupSettings(std::str::from_utf8(rest).ok()?),
            _ => return None,
        })
    }
}

/// What each chunk of a restored snapshot holds already: records below its stamp.
#[derive(Debug, Default)]
pub(super) struct Guards {
    /// (last key, empty: no end; stamp), by key.
    chunks: Vec<(Vec<u8>, Position)>,
    /// Highest stamp: from there on every record counts.
    end: Position,
    key: Vec<u8>,
}

impl Guards {
    pub fn add(&mut self, after: &[u8], last: &[u8], stamp: Position) -> Result<(), DecodeError> {
        let before = self.chunks.last().map(|(last, _)| last.as_slice());
        let follows = match before {
            None => after.is_empty(),
            Some(before) => !before.is_empty() && after == before,
        };
        require(
            follows && (last.is_empty() || after < last),
            "after",
            after.len() as u64,
            "must continue the chunk before",
        )?;
        self.chunks.push((last.to_vec(), stamp));
        self.end = self.end.max(stamp);
        Ok(())
    }

    /// Whether the chunks cover all keys (or there are none).
    pub fn is_complete(&self) -> bool {
        self.chunks.last().is_none_or(|(last, _)| last.is_empty())
    }

    /// Forgets the chunks once replay is past all of them.
    pub fn advance(&mut self, position: Position) {
        if !self.chunks.is_empty() && position >= self.end {
            self.chunks = Vec::new();
        }
    }

    /// Whether the restored entry holds the record at `position` already.
    pub fn holds(&mut self, position: Position, key: Key<'_>) -> bool {
        if self.chunks.is_empty() {
            return false;
        }
        key.encode(&mut self.key);
        let key = &self.key;
        let at = self
            .chunks
            .partition_point(|(last, _)| !last.is_empty() && last < key);
        self.chunks
            .get(at)
            .is_some_and(|&(_, stamp)| position < stamp)
    }
}
