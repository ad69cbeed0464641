//! A small state for the engine to rebuild: queues that count and checksum their batches, and registers.

use std::collections::BTreeMap;

use ringmq_storage_engine::position::{Position, QueueHandle, QueueOffset};
use ringmq_storage_engine::runtime::sim::Fnv;
use ringmq_storage_engine::state_machine::{RecordRef, SnapshotChunk, StateMachine};

/// Queues sort before registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Queue(u32),
    Register(u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Entry {
    /// Next offset of a queue, value of a register.
    value: u64,
    /// Checksum over everything that ever changed the entry.
    history: u64,
}

const ENTRY_BYTES: usize = 21;

/// Makes a queue.
pub fn create_queue(queue: u32) -> Vec<u8> {
    control(Key::Queue(queue), 0)
}

/// Sets a register.
pub fn set_register(register: u32, value: u64) -> Vec<u8> {
    control(Key::Register(register), value)
}

fn control(key: Key, value: u64) -> Vec<u8> {
    let mut record = key.encode().to_vec();
    record.extend_from_slice(&value.to_le_bytes());
    record
}

impl Key {
    fn encode(self) -> [u8; 5] {
        let (kind, number) = match self {
            Key::Queue(number) => (0, number),
            Key::Register(number) => (1, number),
        };
        let mut bytes = [kind; 5];
        bytes[1..].copy_from_slice(&number.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Self {
        let number = u32::from_be_bytes(bytes[1..5].try_into().expect("four bytes"));
        match bytes[0] {
            0 => Key::Queue(number),
            _ => Key::Register(number),
        }
    }
}

#[derive(Debug, Default)]
pub struct TestState {
    entries: BTreeMap<Key, Entry>,
    /// While restored: last key of each chunk (`None`: to the end) and its stamp.
    chunks: Vec<(Option<Key>, Position)>,
}

impl TestState {
    /// Whether a restored chunk holds the record already.
    fn is_known(&self, key: Key, position: Position) -> bool {
        self.chunks
            .iter()
            .find(|(last, _)| last.is_none_or(|last| key <= last))
            .is_some_and(|(_, stamp)| position < *stamp)
    }
}

impl StateMachine for TestState {
    fn apply(&mut self, position: Position, store_time_ms: i64, record: RecordRef<'_>) {
        let (key, value, change) = match record {
            RecordRef::Batch(header) => {
                let change = u64::from(header.batch_bytes) << 32 | u64::from(header.record_count);
                (
                    Key::Queue(header.queue_handle),
                    header.next_offset(),
                    change,
                )
            }
            RecordRef::Control(record) => {
                let value = u64::from_le_bytes(record[5..13].try_into().expect("eight bytes"));
                (Key::decode(record), value, value)
            }
        };
        if self.is_known(key, position) {
            return;
        }
        let entry = self.entries.entry(key).or_default();
        let mut history = Fnv::default();
        for part in [entry.history, position.0, store_time_ms as u64, change] {
            history.write_u64(part);
        }
        *entry = Entry {
            value,
            history: history.finish(),
        };
    }

    fn next_offset(&self, queue: QueueHandle) -> Option<QueueOffset> {
        let entry = self.entries.get(&Key::Queue(queue.0))?;
        Some(QueueOffset(entry.value))
    }

    fn next_offsets(&self) -> Vec<(QueueHandle, QueueOffset)> {
        let queues = self.entries.iter().filter_map(|(key, entry)| match key {
            Key::Queue(queue) => Some((QueueHandle(*queue), QueueOffset(entry.value))),
            Key::Register(_) => None,
        });
        queues.filter(|(_, next)| next.0 > 0).collect()
    }

    fn snapshot_chunk(&self, after: Option<&[u8]>, bytes_max: usize) -> SnapshotChunk {
        let after = after.map(Key::decode);
        let rest = self
            .entries
            .iter()
            .filter(|(key, _)| after.is_none_or(|after| **key > after));
        let entries_max = (bytes_max / ENTRY_BYTES).max(1);
        let mut bytes = Vec::new();
        let mut last = None;
        for (key, entry) in rest.clone().take(entries_max) {
            bytes.extend_from_slice(&key.encode());
            bytes.extend_from_slice(&entry.value.to_le_bytes());
            bytes.extend_from_slice(&entry.history.to_le_bytes());
            last = Some(key.encode().to_vec());
        }
        let next = last.filter(|_| rest.clone().nth(entries_max).is_some());
        // First byte: whether the chunk ends the state.
        bytes.insert(0, u8::from(next.is_none()));
        SnapshotChunk { bytes, next }
    }

    fn restore_chunk(&mut self, stamp: Position, bytes: &[u8]) -> Result<(), String> {
        let (ends, entries) = bytes.split_first().ok_or("empty chunk")?;
        let mut last = None;
        for entry in entries.chunks(ENTRY_BYTES) {
            let number = |at: usize| {
                let bytes = entry.get(at..at + 8).ok_or("cut entry")?;
                Ok::<_, String>(u64::from_le_bytes(bytes.try_into().expect("eight bytes")))
            };
            let key = Key::decode(entry);
            let entry = Entry {
                value: number(5)?,
                history: number(13)?,
            };
            self.entries.insert(key, entry);
            last = Some(key);
        }
        self.chunks.push((last.filter(|_| *ends == 0), stamp));
        Ok(())
    }

    fn restore_finished(&mut self) {}

    fn digest(&self) -> u64 {
        let mut digest = Fnv::default();
        for (key, entry) in &self.entries {
            digest.write(&key.encode());
            digest.write_u64(entry.value);
            digest.write_u64(entry.history);
        }
        digest.finish()
    }
}
