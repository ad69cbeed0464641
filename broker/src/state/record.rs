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
//! kind 10 GroupSettingsPut     group text | settings
//! kind 11 GroupSettingsRemove  group text
//! ```
//! `handles`, `topic` and `settings` are in [`super::codec`]. Every value has one encoding: what decodes encodes to the
//! same bytes.

use super::bytes::{DecodeError, Reader, put_count, put_text, put_u16, put_u32, put_u64, require};
use super::codec::{
    group_offsets, group_settings, handles, offsets, put_group_offsets, put_group_settings,
    put_handles, put_offsets, put_topic, topic,
};
use super::entries::{ProducerKey, Topic};
use super::group_settings::GroupSettings;
use super::limits::RECORD_ENTRIES_MAX;
use ringmq_storage_engine::position::{QueueHandle, QueueOffset};
use ringmq_wire::limits::CLIENT_ID_BYTES_MAX;

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
    /// The group's settings are now these.
    GroupSettingsPut {
        group: Box<str>,
        settings: Box<GroupSettings>,
    },
    /// The group has no settings; its offsets and leases stay.
    GroupSettingsRemove { group: Box<str> },
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
    pub const GROUP_SETTINGS_PUT: u8 = 10;
    pub const GROUP_SETTINGS_REMOVE: u8 = 11;
}

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
            Self::GroupSettingsPut { .. } => kind::GROUP_SETTINGS_PUT,
            Self::GroupSettingsRemove { .. } => kind::GROUP_SETTINGS_REMOVE,
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
            Self::GroupRemove { group } | Self::GroupSettingsRemove { group } => {
                put_text(&mut out, group);
            }
            Self::GroupSettingsPut { group, settings } => {
                put_text(&mut out, group);
                put_group_settings(&mut out, settings);
            }
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
            kind::GROUP_SETTINGS_PUT => Self::GroupSettingsPut {
                group: reader.name("group")?.into(),
                settings: Box::new(group_settings(reader)?),
            },
            kind::GROUP_SETTINGS_REMOVE => Self::GroupSettingsRemove {
                group: reader.name("group")?.into(),
            },
            unknown => return Err(DecodeError::UnknownKind(unknown)),
        })
    }
}
