//! A small state and a few calls that the store's tests share.
#![allow(dead_code, reason = "each test binary uses a part")]

pub mod numbered;

use ringmq_storage_engine::position::{Position, QueueHandle, QueueOffset};
use ringmq_storage_engine::state_machine::{RecordRef, SnapshotChunk, StateMachine};
use ringmq_wire::batch::{BatchBuilder, BatchOptions, BatchView, Record};
use std::collections::BTreeMap;

/// What one queue has lived through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueEntry {
    pub next: u64,
    /// Over positions, times and headers of everything that was applied.
    pub history: u64,
}

/// Queues that exist, each with a hash of its history: applying a record twice, or not at all, shows.
#[derive(Debug, Default)]
pub struct TestState {
    pub queues: BTreeMap<u32, QueueEntry>,
    /// (last key of the chunk, `None`: to the end; its stamp)
    stamps: Vec<(Option<u32>, Position)>,
    pub applied: u64,
}

pub fn create_queue(queue: u32) -> Vec<u8> {
    let mut record = vec![b'Q'];
    record.extend_from_slice(&queue.to_le_bytes());
    record
}

fn mix(hash: u64, value: u64) -> u64 {
    (hash ^ value)
        .wrapping_mul(0x0100_0000_01b3)
        .rotate_left(17)
}

impl TestState {
    fn is_held(&self, key: u32, position: Position) -> bool {
        let chunk = self
            .stamps
            .iter()
            .find(|(last, _)| last.is_none_or(|last| key <= last));
        chunk.is_some_and(|(_, stamp)| position < *stamp)
    }
}

impl StateMachine for TestState {
    fn apply(&mut self, position: Position, store_time_ms: i64, record: RecordRef<'_>) {
        self.applied += 1;
        match record {
            RecordRef::Control(bytes) => {
                let queue = u32::from_le_bytes(bytes[1..5].try_into().unwrap());
                if self.is_held(queue, position) {
                    return;
                }
                let entry = self.queues.entry(queue).or_default();
                entry.history = mix(entry.history, position.0 ^ store_time_ms as u64);
            }
            RecordRef::Batch(header) => {
                assert_eq!(header.store_time_ms, store_time_ms);
                if self.is_held(header.queue_handle, position) {
                    return;
                }
                let entry = self.queues.get_mut(&header.queue_handle).expect("created");
                assert_eq!(entry.next, header.base_offset, "dense offsets");
                entry.next = header.next_offset();
                entry.history = mix(entry.history, position.0);
                entry.history = mix(entry.history, header.store_time_ms as u64);
                entry.history = mix(entry.history, u64::from(header.batch_bytes));
            }
        }
    }

    fn next_offset(&self, queue: QueueHandle) -> Option<QueueOffset> {
        Some(QueueOffset(self.queues.get(&queue.0)?.next))
    }

    fn next_offsets(&self) -> Vec<(QueueHandle, QueueOffset)> {
        let queues = self.queues.iter();
        queues
            .map(|(queue, entry)| (QueueHandle(*queue), QueueOffset(entry.next)))
            .collect()
    }

    fn snapshot_chunk(&self, after: Option<&[u8]>, bytes_max: usize) -> SnapshotChunk {
        let from = after.map_or(0, |key| {
            u64::from(u32::from_be_bytes(key.try_into().unwrap())) + 1
        });
        let mut entries = self.queues.range(u32::try_from(from).unwrap_or(u32::MAX)..);
        let mut bytes = vec![0];
        let mut last = None;
        for (queue, entry) in entries.by_ref() {
            bytes.extend_from_slice(&queue.to_be_bytes());
            bytes.extend_from_slice(&entry.next.to_le_bytes());
            bytes.extend_from_slice(&entry.history.to_le_bytes());
            last = Some(queue.to_be_bytes().to_vec());
            if bytes.len() >= bytes_max {
                break;
            }
        }
        if entries.next().is_none() {
            bytes[0] = 1;
            last = None;
        }
        SnapshotChunk { bytes, next: last }
    }

    fn restore_chunk(&mut self, stamp: Position, bytes: &[u8]) -> Result<(), String> {
        let (flag, entries) = bytes.split_first().ok_or("empty chunk")?;
        let mut last = None;
        for entry in entries.chunks_exact(20) {
            let queue = u32::from_be_bytes(entry[0..4].try_into().unwrap());
            let next = u64::from_le_bytes(entry[4..12].try_into().unwrap());
            let history = u64::from_le_bytes(entry[12..20].try_into().unwrap());
            self.queues.insert(queue, QueueEntry { next, history });
            last = Some(queue);
        }
        let last = if *flag == 1 { None } else { last };
        self.stamps.push((last, stamp));
        Ok(())
    }

    fn restore_finished(&mut self) {}

    fn digest(&self) -> u64 {
        self.queues.iter().fold(0, |hash, (queue, entry)| {
            mix(mix(mix(hash, u64::from(*queue)), entry.next), entry.history)
        })
    }
}

/// A batch of messages with these bodies; the first word of a body is also its key.
pub fn batch(bodies: &[&str]) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    for body in bodies {
        let key = body.split(' ').next().expect("there is a first word");
        let record = Record {
            born_time_ms: 1,
            keys: &[key],
            tag: "",
            properties: &[],
            envelope: None,
            body: body.as_bytes(),
        };
        builder.push(&record).expect("a test body can be carried");
    }
    builder.finish(&BatchOptions::default()).expect("it fits")
}

/// A batch with one record of `bytes` bytes.
pub fn big_batch(bytes: usize, fill: u8) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    let body = vec![fill; bytes];
    let record = Record {
        born_time_ms: 1,
        keys: &[],
        tag: "",
        properties: &[],
        envelope: None,
        body: &body,
    };
    builder.push(&record).expect("a test body can be carried");
    builder.finish(&BatchOptions::default()).expect("it fits")
}

/// Bodies of a stored batch.
pub fn bodies(bytes: &[u8]) -> Vec<Vec<u8>> {
    let view = BatchView::parse_placed(bytes).expect("stored batches are whole");
    let shared = bytes::Bytes::copy_from_slice(bytes);
    let view = BatchView::parse_placed(&shared).unwrap_or(view);
    let section = view.records_section(&shared).expect("readable");
    view.records(&section)
        .map(|record| record.expect("whole").body.to_vec())
        .collect()
}

/// From the environment, or fixed; printed so that a failure can be run again.
pub fn seed(default: u64) -> u64 {
    let seed = std::env::var("RINGMQ_SEED")
        .ok()
        .and_then(|s| s.parse().ok());
    seed.unwrap_or(default)
}
