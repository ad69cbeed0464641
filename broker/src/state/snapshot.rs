//! Snapshots in chunks, each a range of [`Key`]s over all tables; restore; the digest.
//!
//! A chunk covers the keys above the last key of the chunk before, up to its own last key; the last chunk covers
//! all that is above. Chunk layout, little-endian; `text`, `topic` and `settings` as in [`super::codec`]:
//! ```text
//!  0  version u8 = 1 | flags u8 (1: last chunk) | reserved u16 = 0
//!     after u16 length + key (empty: from the start) | last u16 length + key (empty: last chunk)
//!     entries: table u8, then
//!       1 meta       next_handle u32 | versions of the tables of topics and of group settings: 2 x (counter u64 | time i64)
//!       2 topic      name text | topic
//!       3 queue      handle u32 | topic name text | queue u32 | next_offset u64 | trim_offset u64 | last_store_time_ms i64
//!       4 group      group text | handle u32 | flags u8 (1 committed, 2 lease)
//!                    [committed u64] [lease id u64 | term_ms u32 | member text]
//!       5 producer   handle u32 | producer_id u64 | epoch u32 | next_sequence u32 | results u8 (1..=5)
//!                    results x (base_sequence u32 | record_count u32 | base_offset u64 | position u64 | store_time_ms i64)
//!       6 settings   group text | settings
//! ```
//! Chunks come checksummed from the engine; decoding still survives arbitrary bytes.

use super::ShardState;
use super::bytes::{DecodeError, Reader, put_i64, put_text, put_u16, put_u32, put_u64, require};
use super::codec::{group_settings, put_group_settings, put_topic, topic};
use super::entries::{
    GroupQueue, Lease, Meta, Producer, ProducerKey, Queue, StoredResult, TableVersion, Topic,
};
use super::group_settings::GroupSettings;
use super::keys::{Key, table};
use super::limits::PRODUCER_RESULTS;
use ringmq_storage_engine::position::{Position, QueueHandle, QueueOffset};
use ringmq_storage_engine::state_machine::SnapshotChunk;
use ringmq_wire::limits::CLIENT_ID_BYTES_MAX;
use std::ops::Bound;
use std::rc::Rc;

const CHUNK_VERSION: u8 = 1;
const LAST_CHUNK: u8 = 1;
const COMMITTED: u8 = 1;
const LEASED: u8 = 2;

/// One entry, borrowed from its table.
#[derive(Debug, Clone, Copy)]
enum Row<'a> {
    Meta(&'a Meta),
    Topic(&'a str, &'a Topic),
    Queue(QueueHandle, &'a Queue),
    GroupQueue(&'a str, QueueHandle, &'a GroupQueue),
    Producer(ProducerKey, &'a Producer),
    GroupSettings(&'a str, &'a GroupSettings),
}

impl<'a> Row<'a> {
    fn key(self) -> Key<'a> {
        match self {
            Self::Meta(_) => Key::Meta,
            Self::Topic(name, _) => Key::Topic(name),
            Self::Queue(handle, _) => Key::Queue(handle),
            Self::GroupQueue(group, handle, _) => Key::GroupQueue(group, handle),
            Self::Producer(key, _) => Key::Producer(key),
            Self::GroupSettings(group, _) => Key::GroupSettings(group),
        }
    }

    fn encode(self, out: &mut Vec<u8>) {
        match self {
            Self::Meta(meta) => {
                out.push(table::META);
                put_u32(out, meta.next_handle);
                for version in [meta.topics_version, meta.groups_version] {
                    put_u64(out, version.counter);
                    put_i64(out, version.time_ms);
                }
            }
            Self::Topic(name, topic) => {
                out.push(table::TOPICS);
                put_text(out, name);
                put_topic(out, topic);
            }
            Self::Queue(handle, queue) => {
                out.push(table::QUEUES);
                put_u32(out, handle.0);
                put_text(out, &queue.topic);
                put_u32(out, queue.queue);
                put_u64(out, queue.next_offset.0);
                put_u64(out, queue.trim_offset.0);
                put_i64(out, queue.last_store_time_ms);
            }
            Self::GroupQueue(group, handle, entry) => {
                out.push(table::GROUPS);
                put_text(out, group);
                put_u32(out, handle.0);
                encode_group_queue(entry, out);
            }
            Self::Producer(key, producer) => {
                out.push(table::PRODUCERS);
                put_u32(out, key.queue.0);
                put_u64(out, key.producer_id);
                encode_producer(producer, out);
            }
            Self::GroupSettings(group, settings) => {
                out.push(table::GROUP_SETTINGS);
                put_text(out, group);
                put_group_settings(out, settings);
            }
        }
    }
}

fn encode_group_queue(entry: &GroupQueue, out: &mut Vec<u8>) {
    let committed = entry.committed.map_or(0, |_| COMMITTED);
    let leased = entry.lease.as_ref().map_or(0, |_| LEASED);
    out.push(committed | leased);
    if let Some(offset) = entry.committed {
        put_u64(out, offset.0);
    }
    if let Some(lease) = &entry.lease {
        put_u64(out, lease.id.0);
        put_u32(out, lease.term_ms);
        put_text(out, &lease.member);
    }
}

fn encode_producer(producer: &Producer, out: &mut Vec<u8>) {
    put_u32(out, producer.epoch);
    put_u32(out, producer.next_sequence);
    out.push(producer.results().len() as u8);
    for result in producer.results() {
        put_u32(out, result.base_sequence);
        put_u32(out, result.record_count);
        put_u64(out, result.base_offset.0);
        put_u64(out, result.position.0);
        put_i64(out, result.store_time_ms);
    }
}

/// All entries above `after`, in key order, without walking those below.
fn rows<'a>(state: &'a ShardState, after: Option<Key<'a>>) -> impl Iterator<Item = Row<'a>> {
    let table = after.map_or(0, |key| match key {
        Key::Meta => table::META,
        Key::Topic(_) => table::TOPICS,
        Key::Queue(_) => table::QUEUES,
        Key::GroupQueue(..) => table::GROUPS,
        Key::Producer(_) => table::PRODUCERS,
        Key::GroupSettings(_) => table::GROUP_SETTINGS,
    });
    let meta = (table < table::META).then_some(Row::Meta(&state.meta));
    let topics_from = match after {
        Some(Key::Topic(name)) => Bound::Excluded(name),
        _ => Bound::Unbounded,
    };
    let topics = (table <= table::TOPICS)
        .then(|| {
            state
                .topics
                .range::<str, _>((topics_from, Bound::Unbounded))
        })
        .into_iter()
        .flatten()
        .map(|(name, topic)| Row::Topic(name, topic));
    let queues_from = match after {
        Some(Key::Queue(handle)) => handle.0.checked_add(1),
        _ => Some(0),
    };
    let queues = (table <= table::QUEUES)
        .then_some(queues_from)
        .flatten()
        .into_iter()
        .flat_map(|from| state.queues.iter_from(from))
        .map(|(handle, queue)| Row::Queue(handle, queue));
    let producers_from = match after {
        Some(Key::Producer(key)) => Bound::Excluded(key),
        _ => Bound::Unbounded,
    };
    let producers = (table <= table::PRODUCERS)
        .then(|| state.producers.range((producers_from, Bound::Unbounded)))
        .into_iter()
        .flatten()
        .map(|(&key, producer)| Row::Producer(key, producer));
    let settings_from = match after {
        Some(Key::GroupSettings(group)) => Bound::Excluded(group),
        _ => Bound::Unbounded,
    };
    let settings = state
        .group_settings
        .range::<str, _>((settings_from, Bound::Unbounded))
        .map(|(group, settings)| Row::GroupSettings(group, settings));
    meta.into_iter()
        .chain(topics)
        .chain(queues)
        .chain(group_rows(state, after, table))
        .chain(producers)
        .chain(settings)
}

fn group_rows<'a>(
    state: &'a ShardState,
    after: Option<Key<'a>>,
    table: u8,
) -> impl Iterator<Item = Row<'a>> {
    let (from, after_handle) = match after {
        Some(Key::GroupQueue(group, handle)) => (Bound::Included(group), Some((group, handle))),
        _ => (Bound::Unbounded, None),
    };
    (table <= table::GROUPS)
        .then(|| state.groups.range::<str, _>((from, Bound::Unbounded)))
        .into_iter()
        .flatten()
        .flat_map(move |(name, group)| {
            let from = match after_handle {
                Some((first, handle)) if *first == **name => Bound::Excluded(handle),
                _ => Bound::Unbounded,
            };
            group
                .queues
                .range((from, Bound::Unbounded))
                .map(move |(&handle, entry)| Row::GroupQueue(name, handle, entry))
        })
}

/// The entries after `after`, about `bytes_max` bytes of them, at least one if there is one.
pub(super) fn chunk(state: &ShardState, after: Option<&[u8]>, bytes_max: usize) -> SnapshotChunk {
    let after_bytes = after.unwrap_or_default();
    let after = after.map(|bytes| Key::decode(bytes).expect("the engine hands back our own key"));
    let mut entries = Vec::new();
    let mut last = Vec::new();
    let mut next = None;
    for row in rows(state, after) {
        if entries.len() >= bytes_max && !last.is_empty() {
            next = Some(std::mem::take(&mut last));
            break;
        }
        row.encode(&mut entries);
        row.key().encode(&mut last);
    }
    let end = next.as_deref().unwrap_or_default();
    let mut bytes = Vec::with_capacity(8 + after_bytes.len() + end.len() + entries.len());
    bytes.push(CHUNK_VERSION);
    bytes.push(if next.is_none() { LAST_CHUNK } else { 0 });
    put_u16(&mut bytes, 0);
    put_key(&mut bytes, after_bytes);
    put_key(&mut bytes, end);
    bytes.extend_from_slice(&entries);
    SnapshotChunk { bytes, next }
}

fn put_key(out: &mut Vec<u8>, key: &[u8]) {
    put_u16(out, key.len() as u16);
    out.extend_from_slice(key);
}

/// Loads one chunk; chunks come in order.
pub(super) fn restore(
    state: &mut ShardState,
    stamp: Position,
    bytes: &[u8],
) -> Result<(), DecodeError> {
    let mut reader = Reader::new(bytes);
    let version = reader.u8("version")?;
    if version != CHUNK_VERSION {
        return Err(DecodeError::Version {
            what: "snapshot chunk",
            version,
        });
    }
    let flags = reader.u8("flags")?;
    require(
        flags & !LAST_CHUNK == 0,
        "flags",
        flags.into(),
        "unknown bits",
    )?;
    let reserved = reader.u16("reserved")?;
    require(reserved == 0, "reserved", reserved.into(), "must be zero")?;
    let after = key_bytes(&mut reader, "after")?;
    let last = key_bytes(&mut reader, "last")?;
    let is_last = flags & LAST_CHUNK != 0;
    require(
        is_last == last.is_empty(),
        "last",
        last.len() as u64,
        "must be empty in the last chunk and only there",
    )?;
    state.guards.add(after, last, stamp)?;
    while !reader.is_empty() {
        restore_row(state, &mut reader)?;
    }
    Ok(())
}

fn key_bytes<'a>(reader: &mut Reader<'a>, field: &'static str) -> Result<&'a [u8], DecodeError> {
    let len = usize::from(reader.u16(field)?);
    let key = reader.take(len, field)?;
    let known = key.is_empty() || Key::decode(key).is_some();
    require(known, field, len as u64, "is not a key")?;
    Ok(key)
}

fn restore_row(state: &mut ShardState, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
    match reader.u8("table")? {
        table::META => state.meta = meta(reader)?,
        table::TOPICS => {
            let name = reader.name("topic")?;
            let topic = topic(reader)?;
            state.topics.insert(name.into(), topic);
        }
        table::QUEUES => {
            let handle = QueueHandle(reader.u32("handle")?);
            let name = reader.name("topic")?;
            let topic: Rc<str> = match state.topics.get_key_value(name) {
                Some((shared, _)) => Rc::clone(shared),
                None => name.into(),
            };
            let queue = Queue {
                topic,
                queue: reader.u32("queue")?,
                next_offset: QueueOffset(reader.u64("next_offset")?),
                trim_offset: QueueOffset(reader.u64("trim_offset")?),
                last_store_time_ms: reader.i64("last_store_time_ms")?,
            };
            state.queues.insert(handle, queue);
        }
        table::GROUPS => {
            let group = reader.name("group")?;
            let handle = QueueHandle(reader.u32("handle")?);
            let entry = group_queue(state, group, reader)?;
            state.set_group_queue(group, handle, entry);
        }
        table::PRODUCERS => {
            let key = ProducerKey {
                queue: QueueHandle(reader.u32("handle")?),
                producer_id: reader.u64("producer_id")?,
            };
            let producer = producer(reader)?;
            state.set_producer(key, producer);
        }
        table::GROUP_SETTINGS => {
            let group = reader.name("group")?;
            let settings = group_settings(reader)?;
            state.group_settings.insert(group.into(), settings);
        }
        unknown => {
            return Err(DecodeError::Field {
                field: "table",
                value: unknown.into(),
                expected: "must be 1..=6",
            });
        }
    }
    Ok(())
}

fn meta(reader: &mut Reader<'_>) -> Result<Meta, DecodeError> {
    let next_handle = reader.u32("next_handle")?.max(1);
    let mut version = || {
        Ok::<_, DecodeError>(TableVersion {
            counter: reader.u64("counter")?,
            time_ms: reader.i64("time")?,
        })
    };
    Ok(Meta {
        next_handle,
        topics_version: version()?,
        groups_version: version()?,
    })
}

fn group_queue(
    state: &ShardState,
    group: &str,
    reader: &mut Reader<'_>,
) -> Result<GroupQueue, DecodeError> {
    let flags = reader.u8("group flags")?;
    require(
        flags != 0 && flags & !(COMMITTED | LEASED) == 0,
        "group flags",
        flags.into(),
        "must be 1, 2 or 3",
    )?;
    let mut entry = GroupQueue::default();
    if flags & COMMITTED != 0 {
        entry.committed = Some(QueueOffset(reader.u64("committed")?));
    }
    if flags & LEASED != 0 {
        let id = Position(reader.u64("lease")?);
        let term_ms = reader.u32("term_ms")?;
        let name = reader.text("member", CLIENT_ID_BYTES_MAX)?;
        let holders = state.groups.get(group).map(|group| &group.holders);
        let member = match holders.and_then(|holders| holders.get_key_value(name)) {
            Some((shared, _)) => Rc::clone(shared),
            None => name.into(),
        };
        entry.lease = Some(Lease {
            id,
            member,
            term_ms,
        });
    }
    Ok(entry)
}

fn producer(reader: &mut Reader<'_>) -> Result<Producer, DecodeError> {
    let epoch = reader.u32("epoch")?;
    let mut producer = Producer::new(epoch, reader.u32("next_sequence")?);
    let results = reader.u8("results")?;
    require(
        (1..=PRODUCER_RESULTS).contains(&usize::from(results)),
        "results",
        results.into(),
        "must be 1..=5",
    )?;
    for _ in 0..results {
        producer.push(StoredResult {
            base_sequence: reader.u32("base_sequence")?,
            record_count: reader.u32("record_count")?,
            base_offset: QueueOffset(reader.u64("base_offset")?),
            position: Position(reader.u64("position")?),
            store_time_ms: reader.i64("store_time_ms")?,
        });
    }
    Ok(producer)
}

/// FNV-1a over all entries, in key order.
pub(super) fn digest(state: &ShardState) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut bytes = Vec::new();
    for row in rows(state, None) {
        bytes.clear();
        row.encode(&mut bytes);
        for &byte in &bytes {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash
}
