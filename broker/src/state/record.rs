//! Control records: the changes of state that a shard writes to its log, besides record batches.
//!
//! A record holds an outcome, never a command: applying it needs nothing but the entry that it changes, cannot
//! fail and decides nothing. That is what lets a snapshot be taken in chunks (see [`super::snapshot`]).
//! The lease id of a grant is the position of its record, so it is not in the record.
//!
//! Layout; integers are little-endian, `text` is a u16 length and that many bytes of UTF-8, never empty:
//! ```text
//!  0  version u8 = 1 | kind u8 | reserved u16 = 0 | body
//! kind 1 TopicPut       name text | topic
//! kind 2 TopicRemove    name text | handles
//! kind 3 QueuesTrim     count u32 | count x (handle u32 | offset u64)
//! kind 4 OffsetsPut     groups u32 | groups x (group text | count u32 | count x (handle u32 | offset u64))
//! kind 5 OffsetsReset   group text | count u32 | count x (handle u32 | offset u64)
//! kind 6 LeaseGrant     group text | member text | term_ms u32 | handles
//! kind 7 LeaseRelease   group text | handles
//! kind 8 GroupRemove    group text
//! kind 9 ProducersEvict count u32 | count x (handle u32 | producer_id u64)
//!
//! handles               count u32 | count x u32, ascending
//! topic                 incarnation u128 | queues u32 | placement_index u32 | version u64
//!                       retention_ms i64 | message_bytes_max u32 | flags u8 (1 readable, 2 writable)
//!                       shards u32 | shards x text | handles (one for each queue that lives here, by local id)
//! ```
//! Every value has one encoding: what decodes encodes to the same bytes.

use super::bytes::{
    DecodeError, Reader, put_count, put_i64, put_text, put_u16, put_u32, put_u64, require,
};
use super::entries::{ProducerKey, Topic, TopicSettings};
use super::limits::{PLACEMENT_MAX, RECORD_ENTRIES_MAX, SHARD_NAME_BYTES_MAX};
use ringmq_storage_engine::position::{QueueHandle, QueueOffset};
use ringmq_wire::limits::{CLIENT_ID_BYTES_MAX, TOPIC_QUEUES_MAX};

/// Version of the record format.
pub const RECORD_VERSION: u8 = 1;

/// Offsets of one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupOffsets {
    pub group: Box<str>,
    pub offsets: Vec<(QueueHandle, QueueOffset)>,
}

/// A change of state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlRecord {
    /// The topic is now this; queues that are new in it exist, empty.
    TopicPut { name: Box<str>, topic: Topic },
    /// The topic and all that hangs on these queues is gone.
    TopicRemove {
        name: Box<str>,
        handles: Vec<QueueHandle>,
    },
    /// Messages below these offsets are gone.
    QueuesTrim(Vec<(QueueHandle, QueueOffset)>),
    /// Committed offsets, of any number of groups.
    OffsetsPut(Vec<GroupOffsets>),
    /// Committed offsets set by an operator, backwards too; ends the leases of these queues.
    OffsetsReset(GroupOffsets),
    /// The member owns these queues for the group, nobody else does any more.
    LeaseGrant {
        group: Box<str>,
        member: Box<str>,
        term_ms: u32,
        handles: Vec<QueueHandle>,
    },
    /// Nobody owns these queues for the group.
    LeaseRelease {
        group: Box<str>,
        handles: Vec<QueueHandle>,
    },
    /// The group has no offsets and no leases.
    GroupRemove { group: Box<str> },
    /// These producers are forgotten.
    ProducersEvict(Vec<ProducerKey>),
}

mod kind {
    pub const TOPIC_PUT: u8 = 1;
    pub const TOPIC_REMOVE: u8 = 2;
    pub const QUEUES_TRIM: u8 = 3;
    pub const OFFSETS_PUT: u8 = 4;
    pub const OFFSETS_RESET: u8 = 5;
    pub const LEASE_GRANT: u8 = 6;
    pub const LEASE_RELEASE: u8 = 7;
    pub const GROUP_REMOVE: u8 = 8;
    pub const PRODUCERS_EVICT: u8 = 9;
}

const READABLE: u8 = 1;
const WRITABLE: u8 = 2;

impl ControlRecord {
    fn kind(&self) -> u8 {
        match self {
            Self::TopicPut { .. } => kind::TOPIC_PUT,
            Self::TopicRemove { .. } => kind::TOPIC_REMOVE,
            Self::QueuesTrim(_) => kind::QUEUES_TRIM,
            Self::OffsetsPut(_) => kind::OFFSETS_PUT,
            Self::OffsetsReset(_) => kind::OFFSETS_RESET,
            Self::LeaseGrant { .. } => kind::LEASE_GRANT,
            Self::LeaseRelease { .. } => kind::LEASE_RELEASE,
            Self::GroupRemove { .. } => kind::GROUP_REMOVE,
            Self::ProducersEvict(_) => kind::PRODUCERS_EVICT,
        }
    }

    /// The record's bytes, for `Store::append_control`.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        out.push(RECORD_VERSION);
        out.push(self.kind());
        put_u16(&mut out, 0);
        match self {
            Self::TopicPut { name, topic } => {
                put_text(&mut out, name);
                put_topic(&mut out, topic);
            }
            Self::TopicRemove { name, handles } => {
                put_text(&mut out, name);
                put_handles(&mut out, handles);
            }
            Self::QueuesTrim(offsets) => put_offsets(&mut out, offsets),
            Self::OffsetsPut(groups) => {
                put_count(&mut out, groups.len());
                for group in groups {
                    put_group_offsets(&mut out, group);
                }
            }
            Self::OffsetsReset(group) => put_group_offsets(&mut out, group),
            Self::LeaseGrant {
                group,
                member,
                term_ms,
                handles,
            } => {
                put_text(&mut out, group);
                put_text(&mut out, member);
                put_u32(&mut out, *term_ms);
                put_handles(&mut out, handles);
            }
            Self::LeaseRelease { group, handles } => {
                put_text(&mut out, group);
                put_handles(&mut out, handles);
            }
            Self::GroupRemove { group } => put_text(&mut out, group),
            Self::ProducersEvict(keys) => {
                put_count(&mut out, keys.len());
                for key in keys {
                    put_u32(&mut out, key.queue.0);
                    put_u64(&mut out, key.producer_id);
                }
            }
        }
        out
    }

    /// Reads a record that is exactly `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8("version")?;
        if version != RECORD_VERSION {
            return Err(DecodeError::Version {
                what: "control record",
                version,
            });
        }
        let kind = reader.u8("kind")?;
        let reserved = reader.u16("reserved")?;
        require(reserved == 0, "reserved", reserved.into(), "must be zero")?;
        let record = Self::decode_body(kind, &mut reader)?;
        reader.finish()?;
        Ok(record)
    }

    fn decode_body(kind: u8, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match kind {
            kind::TOPIC_PUT => Self::TopicPut {
                name: reader.name("topic")?.into(),
                topic: topic(reader)?,
            },
            kind::TOPIC_REMOVE => Self::TopicRemove {
                name: reader.name("topic")?.into(),
                handles: handles(reader)?,
            },
            kind::QUEUES_TRIM => Self::QueuesTrim(offsets(reader)?),
            kind::OFFSETS_PUT => {
                let count = reader.count("groups", 7, RECORD_ENTRIES_MAX)?;
                let groups = (0..count).map(|_| group_offsets(reader));
                Self::OffsetsPut(groups.collect::<Result<_, _>>()?)
            }
            kind::OFFSETS_RESET => Self::OffsetsReset(group_offsets(reader)?),
            kind::LEASE_GRANT => Self::LeaseGrant {
                group: reader.name("group")?.into(),
                member: reader.text("member", CLIENT_ID_BYTES_MAX)?.into(),
                term_ms: reader.u32("term_ms")?,
                handles: handles(reader)?,
            },
            kind::LEASE_RELEASE => Self::LeaseRelease {
                group: reader.name("group")?.into(),
                handles: handles(reader)?,
            },
            kind::GROUP_REMOVE => Self::GroupRemove {
                group: reader.name("group")?.into(),
            },
            kind::PRODUCERS_EVICT => {
                let count = reader.count("producers", 12, RECORD_ENTRIES_MAX)?;
                let keys = (0..count).map(|_| {
                    Ok(ProducerKey {
                        queue: QueueHandle(reader.u32("handle")?),
                        producer_id: reader.u64("producer_id")?,
                    })
                });
                Self::ProducersEvict(keys.collect::<Result<_, DecodeError>>()?)
            }
            unknown => return Err(DecodeError::UnknownKind(unknown)),
        })
    }
}

fn put_handles(out: &mut Vec<u8>, handles: &[QueueHandle]) {
    put_count(out, handles.len());
    for handle in handles {
        put_u32(out, handle.0);
    }
}

fn handles(reader: &mut Reader<'_>) -> Result<Vec<QueueHandle>, DecodeError> {
    let count = reader.count("handles", 4, RECORD_ENTRIES_MAX)?;
    let mut handles: Vec<QueueHandle> = Vec::with_capacity(count);
    for _ in 0..count {
        let handle = QueueHandle(reader.u32("handle")?);
        require(
            handles.last().is_none_or(|&last| last < handle),
            "handle",
            handle.0.into(),
            "must be above the one before",
        )?;
        handles.push(handle);
    }
    Ok(handles)
}

fn put_offsets(out: &mut Vec<u8>, offsets: &[(QueueHandle, QueueOffset)]) {
    put_count(out, offsets.len());
    for (handle, offset) in offsets {
        put_u32(out, handle.0);
        put_u64(out, offset.0);
    }
}

fn offsets(reader: &mut Reader<'_>) -> Result<Vec<(QueueHandle, QueueOffset)>, DecodeError> {
    let count = reader.count("offsets", 12, RECORD_ENTRIES_MAX)?;
    let entries = (0..count).map(|_| {
        let handle = QueueHandle(reader.u32("handle")?);
        Ok((handle, QueueOffset(reader.u64("offset")?)))
    });
    entries.collect()
}

fn put_group_offsets(out: &mut Vec<u8>, group: &GroupOffsets) {
    put_text(out, &group.group);
    put_offsets(out, &group.offsets);
}

fn group_offsets(reader: &mut Reader<'_>) -> Result<GroupOffsets, DecodeError> {
    Ok(GroupOffsets {
        group: reader.name("group")?.into(),
        offsets: offsets(reader)?,
    })
}

/// The layout of `topic` above; snapshots use it too.
pub(super) fn put_topic(out: &mut Vec<u8>, topic: &Topic) {
    out.extend_from_slice(&topic.incarnation.to_le_bytes());
    put_u32(out, topic.queues);
    put_u32(out, topic.placement_index);
    put_u64(out, topic.version);
    put_i64(out, topic.settings.retention_ms);
    put_u32(out, topic.settings.message_bytes_max);
    let readable = if topic.settings.readable { READABLE } else { 0 };
    let writable = if topic.settings.writable { WRITABLE } else { 0 };
    out.push(readable | writable);
    put_count(out, topic.placement.len());
    for shard in &topic.placement {
        put_text(out, shard);
    }
    put_handles(out, &topic.handles);
}

pub(super) fn topic(reader: &mut Reader<'_>) -> Result<Topic, DecodeError> {
    let incarnation = reader.u128("incarnation")?;
    let queues = reader.u32("queues")?;
    let placement_index = reader.u32("placement_index")?;
    let version = reader.u64("version")?;
    let retention_ms = reader.i64("retention_ms")?;
    let message_bytes_max = reader.u32("message_bytes_max")?;
    let flags = reader.u8("flags")?;
    require(
        flags & !(READABLE | WRITABLE) == 0,
        "flags",
        flags.into(),
        "unknown bits",
    )?;
    require(
        queues <= TOPIC_QUEUES_MAX,
        "queues",
        queues.into(),
        "over the limit",
    )?;
    let shards = reader.count("placement", 3, PLACEMENT_MAX)?;
    require(
        (placement_index as usize) < shards,
        "placement_index",
        placement_index.into(),
        "must be below the number of shards",
    )?;
    let placement = (0..shards)
        .map(|_| Ok(reader.text("placement", SHARD_NAME_BYTES_MAX)?.into()))
        .collect::<Result<Vec<Box<str>>, DecodeError>>()?;
    let handles = handles(reader)?;
    require(
        handles.len() == Topic::local_queues(queues, shards, placement_index),
        "handles",
        handles.len() as u64,
        "must be one for each queue that lives here",
    )?;
    Ok(Topic {
        incarnation,
        queues,
        placement,
        placement_index,
        settings: TopicSettings {
            retention_ms,
            message_bytes_max,
            readable: flags & READABLE != 0,
            writable: flags & WRITABLE != 0,
        },
        version,
        handles,
    })
}
