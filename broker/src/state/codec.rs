//! Values that control records and snapshot chunks have in common. Integers are little-endian; `text` is a u16 length
//! and that many bytes of UTF-8, never empty.
//! ```text
//! handles    count u32 | count x u32, ascending
//! topic      incarnation u128 | queues u32 | placement_index u32 | version u64 | retention_ms i64 | message_bytes_max u32
//!            flags u8 (1 readable, 2 writable, 4 inherit, 8 order, 16 multi-tag, 32 system)
//!            read_queues u32 | write_queues u32 (0xFFFF_FFFF: all that are here) | sys_flag i32
//!            attributes u32 | attributes x (name text | value text), names ascending
//!            shards u32 | shards x text | handles (one for each queue that lives here, by local id)
//! settings   flags u8 (1 consume, 2 from min, 4 broadcast, 8 orderly, 16 notify, 32 younger_from is there)
//!            retry_queues i32 | retry_max i32 | broker_id i64 | broker_when_slow i64 | sys_flag i32
//!            consume_timeout_minutes i32 | [younger_from u32]
//!            forbidden u32 | forbidden x topic text, ascending | more u32 length + UTF-8
//! ```

use super::bytes::{DecodeError, Reader, put_count, put_i64, put_text, put_u32, put_u64, require};
use super::entries::{Attributes, Topic, TopicSettings};
use super::group_settings::GroupSettings;
use super::limits::{
    ATTRIBUTE_BYTES_MAX, GROUP_FORBIDDEN_MAX, GROUP_MORE_BYTES_MAX, PLACEMENT_MAX,
    RECORD_ENTRIES_MAX, SHARD_NAME_BYTES_MAX, TOPIC_ATTRIBUTES_MAX,
};
use super::record::GroupOffsets;
use ringmq_storage_engine::position::{QueueHandle, QueueOffset};
use ringmq_wire::limits::TOPIC_QUEUES_MAX;

const READABLE: u8 = 1;
const WRITABLE: u8 = 2;
const INHERIT: u8 = 4;
const ORDER: u8 = 8;
const MULTI_TAG: u8 = 16;
const SYSTEM: u8 = 32;

const CONSUME: u8 = 1;
const FROM_MIN: u8 = 2;
const BROADCAST: u8 = 4;
const ORDERLY: u8 = 8;
const NOTIFY: u8 = 16;
const YOUNGER_FROM: u8 = 32;

/// No number of its own.
const ALL_QUEUES: u32 = u32::MAX;

pub(super) fn put_handles(out: &mut Vec<u8>, handles: &[QueueHandle]) {
    put_count(out, handles.len());
    for handle in handles {
        put_u32(out, handle.0);
    }
}

pub(super) fn handles(reader: &mut Reader<'_>) -> Result<Vec<QueueHandle>, DecodeError> {
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

pub(super) fn put_offsets(out: &mut Vec<u8>, offsets: &[(QueueHandle, QueueOffset)]) {
    put_count(out, offsets.len());
    for (handle, offset) in offsets {
        put_u32(out, handle.0);
        put_u64(out, offset.0);
    }
}

pub(super) fn offsets(
    reader: &mut Reader<'_>,
) -> Result<Vec<(QueueHandle, QueueOffset)>, DecodeError> {
    let count = reader.count("offsets", 12, RECORD_ENTRIES_MAX)?;
    let entries = (0..count).map(|_| {
        let handle = QueueHandle(reader.u32("handle")?);
        Ok((handle, QueueOffset(reader.u64("offset")?)))
    });
    entries.collect()
}

pub(super) fn put_group_offsets(out: &mut Vec<u8>, group: &GroupOffsets) {
    put_text(out, &group.group);
    put_offsets(out, &group.offsets);
}

pub(super) fn group_offsets(reader: &mut Reader<'_>) -> Result<GroupOffsets, DecodeError> {
    Ok(GroupOffsets {
        group: reader.name("group")?.into(),
        offsets: offsets(reader)?,
    })
}

pub(super) fn put_topic(out: &mut Vec<u8>, topic: &Topic) {
    out.extend_from_slice(&topic.incarnation.to_le_bytes());
    put_u32(out, topic.queues);
    put_u32(out, topic.placement_index);
    put_u64(out, topic.version);
    put_i64(out, topic.settings.retention_ms);
    put_u32(out, topic.settings.message_bytes_max);
    put_settings_of_rocketmq(out, &topic.settings);
    put_count(out, topic.attributes.len());
    for (name, value) in &topic.attributes {
        put_text(out, name);
        put_text(out, value);
    }
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
    let settings = TopicSettings {
        retention_ms,
        message_bytes_max,
        ..settings_of_rocketmq(reader)?
    };
    let attributes = attributes(reader)?;
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
        settings,
        attributes,
        version,
        handles,
    })
}

fn put_settings_of_rocketmq(out: &mut Vec<u8>, settings: &TopicSettings) {
    let flags = [
        (settings.readable, READABLE),
        (settings.writable, WRITABLE),
        (settings.inherit, INHERIT),
        (settings.order, ORDER),
        (settings.multi_tag, MULTI_TAG),
        (settings.system, SYSTEM),
    ];
    out.push(put_flags(&flags));
    put_u32(out, settings.read_queues.unwrap_or(ALL_QUEUES));
    put_u32(out, settings.write_queues.unwrap_or(ALL_QUEUES));
    put_u32(out, settings.sys_flag as u32);
}

fn settings_of_rocketmq(reader: &mut Reader<'_>) -> Result<TopicSettings, DecodeError> {
    let known = READABLE | WRITABLE | INHERIT | ORDER | MULTI_TAG | SYSTEM;
    let flags = flags(reader, known)?;
    let mut queues = |field| {
        let queues = reader.u32(field)?;
        Ok::<_, DecodeError>((queues != ALL_QUEUES).then_some(queues))
    };
    Ok(TopicSettings {
        readable: flags & READABLE != 0,
        writable: flags & WRITABLE != 0,
        inherit: flags & INHERIT != 0,
        order: flags & ORDER != 0,
        multi_tag: flags & MULTI_TAG != 0,
        system: flags & SYSTEM != 0,
        read_queues: queues("read_queues")?,
        write_queues: queues("write_queues")?,
        sys_flag: reader.u32("sys_flag")? as i32,
        ..TopicSettings::default()
    })
}

fn attributes(reader: &mut Reader<'_>) -> Result<Attributes, DecodeError> {
    let count = reader.count("attributes", 6, TOPIC_ATTRIBUTES_MAX)?;
    let mut attributes: Attributes = Vec::with_capacity(count);
    for _ in 0..count {
        let name = reader.text("attribute", ATTRIBUTE_BYTES_MAX)?;
        let value = reader.text("attribute", ATTRIBUTE_BYTES_MAX)?;
        ascending(
            attributes.last().map(|(last, _)| &**last),
            name,
            "attribute",
        )?;
        attributes.push((name.into(), value.into()));
    }
    Ok(attributes)
}

pub(super) fn put_group_settings(out: &mut Vec<u8>, settings: &GroupSettings) {
    let flags = [
        (settings.consume_enable, CONSUME),
        (settings.consume_from_min, FROM_MIN),
        (settings.consume_broadcast, BROADCAST),
        (settings.consume_orderly, ORDERLY),
        (settings.notify_changes, NOTIFY),
        (settings.younger_from.is_some(), YOUNGER_FROM),
    ];
    out.push(put_flags(&flags));
    put_u32(out, settings.retry_queues as u32);
    put_u32(out, settings.retry_max as u32);
    put_i64(out, settings.broker_id);
    put_i64(out, settings.broker_when_slow);
    put_u32(out, settings.sys_flag as u32);
    put_u32(out, settings.consume_timeout_minutes as u32);
    if let Some(handle) = settings.younger_from {
        put_u32(out, handle.0);
    }
    put_count(out, settings.forbidden.len());
    for topic in &settings.forbidden {
        put_text(out, topic);
    }
    put_count(out, settings.more.len());
    out.extend_from_slice(settings.more.as_bytes());
}

pub(super) fn group_settings(reader: &mut Reader<'_>) -> Result<GroupSettings, DecodeError> {
    let known = CONSUME | FROM_MIN | BROADCAST | ORDERLY | NOTIFY | YOUNGER_FROM;
    let flags = flags(reader, known)?;
    Ok(GroupSettings {
        consume_enable: flags & CONSUME != 0,
        consume_from_min: flags & FROM_MIN != 0,
        consume_broadcast: flags & BROADCAST != 0,
        consume_orderly: flags & ORDERLY != 0,
        notify_changes: flags & NOTIFY != 0,
        retry_queues: reader.u32("retry_queues")? as i32,
        retry_max: reader.u32("retry_max")? as i32,
        broker_id: reader.i64("broker_id")?,
        broker_when_slow: reader.i64("broker_when_slow")?,
        sys_flag: reader.u32("sys_flag")? as i32,
        consume_timeout_minutes: reader.u32("consume_timeout_minutes")? as i32,
        younger_from: match flags & YOUNGER_FROM {
            0 => None,
            _ => Some(QueueHandle(reader.u32("younger_from")?)),
        },
        forbidden: forbidden(reader)?,
        more: more(reader)?,
    })
}

fn forbidden(reader: &mut Reader<'_>) -> Result<Vec<Box<str>>, DecodeError> {
    let count = reader.count("forbidden", 3, GROUP_FORBIDDEN_MAX)?;
    let mut topics: Vec<Box<str>> = Vec::with_capacity(count);
    for _ in 0..count {
        let topic = reader.name("forbidden")?;
        ascending(topics.last().map(|last| &**last), topic, "forbidden")?;
        topics.push(topic.into());
    }
    Ok(topics)
}

fn more(reader: &mut Reader<'_>) -> Result<Box<str>, DecodeError> {
    let len = reader.count("more", 1, GROUP_MORE_BYTES_MAX)?;
    let text = std::str::from_utf8(reader.take(len, "more")?);
    let text = text.map_err(|_| DecodeError::Name { field: "more" })?;
    Ok(text.into())
}

fn put_flags(flags: &[(bool, u8)]) -> u8 {
    let set = flags.iter().filter(|(is_set, _)| *is_set);
    set.fold(0, |all, (_, flag)| all | flag)
}

fn flags(reader: &mut Reader<'_>, known: u8) -> Result<u8, DecodeError> {
    let flags = reader.u8("flags")?;
    require(flags & !known == 0, "flags", flags.into(), "unknown bits")?;
    Ok(flags)
}

/// Names are in order and different, so that a table has one encoding.
fn ascending(last: Option<&str>, name: &str, field: &'static str) -> Result<(), DecodeError> {
    require(
        last.is_none_or(|last| last < name),
        field,
        name.len() as u64,
        "must be above the one before",
    )
}
