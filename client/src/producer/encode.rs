//! From waiting messages to an encoded batch.

use super::{
    lane::Stamp,
    queue::{Pending, Waiting},
    settings::Settings,
};
use crate::{error::Error, message::Message};
use bytes::Bytes;
use ringmq_wire::batch::{self, BatchBuilder, BatchError, BatchOptions, Record};
use std::time::Instant;

/// What a record takes beyond the bytes of its message, at most: lengths, times, attributes, tags code, key hashes.
const RECORD_OVERHEAD_BYTES: usize = 64;

/// A batch that was sent or is about to be.
#[derive(Debug)]
pub(super) struct Encoded {
    pub(super) bytes: Bytes,
    /// In the order of the records.
    pub(super) messages: Vec<Pending>,
    /// That of its first message.
    pub(super) deadline: Instant,
    /// Why it is not stored yet.
    pub(super) last_error: Option<Error>,
}

impl Encoded {
    /// Rewrites epoch and sequence. The old bytes may still be on their way to the socket, so they are copied.
    pub(super) fn restamp(&mut self, stamp: Stamp) {
        let mut bytes = self.bytes.to_vec();
        batch::restamp(&mut bytes, stamp.epoch, stamp.sequence);
        self.bytes = bytes.into();
    }
}

/// Takes messages for one batch: as many as fit, and none with another deadline setting than the first.
pub(super) fn take_batch(waiting: &mut Waiting, settings: &Settings) -> Vec<Pending> {
    let mut taken: Vec<Pending> = Vec::new();
    let mut bytes = 0;
    while let Some(next) = waiting.messages.front() {
        let size = next.message.size_bytes() + RECORD_OVERHEAD_BYTES;
        let joins = taken.first().is_none_or(|first| {
            bytes + size <= settings.batch_bytes
                && taken.len() < settings.batch_messages
                && first.message.deadline == next.message.deadline
        });
        if !joins {
            break;
        }
        bytes += size;
        let next = waiting.messages.pop_front().expect("looked at above");
        waiting.bytes -= next.reservation.bytes;
        taken.push(next);
    }
    taken
}

/// Puts messages into the builder; those that cannot be encoded fail at once, alone.
pub(super) fn build(builder: &mut BatchBuilder, messages: Vec<Pending>) -> (Vec<Pending>, u64) {
    let mut built = Vec::with_capacity(messages.len());
    let mut failed = 0;
    for pending in messages {
        match push(builder, &pending.message) {
            Ok(()) => built.push(pending),
            Err(error) => {
                let error =
                    Error::invalid("send message", &pending.message.topic, error.to_string());
                pending.failed(error, false);
                failed += 1;
            }
        }
    }
    (built, failed)
}

fn push(builder: &mut BatchBuilder, message: &Message) -> Result<(), BatchError> {
    let keys: Vec<&str> = message.keys.iter().map(String::as_str).collect();
    let properties: Vec<(&str, &str)> = message
        .properties
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    builder.push(&Record {
        born_time_ms: message.born_time_ms,
        keys: &keys,
        tag: message.tag.as_deref().unwrap_or_default(),
        properties: &properties,
        envelope: None,
        body: &message.body,
    })
}

/// Closes the batch in the builder.
pub(super) fn finish(
    builder: &mut BatchBuilder,
    messages: Vec<Pending>,
    settings: &Settings,
    producer_id: u64,
    stamp: Stamp,
) -> Result<Encoded, (Vec<Pending>, Error)> {
    let options = BatchOptions {
        compression: settings.compression.into(),
        producer_id,
        producer_epoch: stamp.epoch,
        base_sequence: stamp.sequence,
    };
    let deadline = messages
        .first()
        .map_or_else(Instant::now, |first| first.deadline);
    match builder.finish(&options) {
        Ok(bytes) => Ok(Encoded {
            bytes: bytes.into(),
            messages,
            deadline,
            last_error: None,
        }),
        Err(error) => {
            *builder = BatchBuilder::new();
            Err((
                messages,
                Error::invalid("send message", "", error.to_string()),
            ))
        }
    }
}
