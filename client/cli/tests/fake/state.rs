//! Topics, batches, offsets.

use ringmq_wire::batch::{BatchView, place};
use ringmq_wire::native::schema;
use std::collections::BTreeMap;

#[derive(Default)]
pub struct State {
    pub version: u64,
    pub topics: BTreeMap<String, Topic>,
    /// (group, topic, queue) → offset.
    pub committed: BTreeMap<(String, String, u32), u64>,
    /// Group → members.
    pub members: BTreeMap<String, Vec<schema::GroupMemberT>>,
    /// (group, topic, queue) → member.
    pub leases: BTreeMap<(String, String, u32), String>,
    next_position: u64,
}

pub struct Topic {
    pub record: schema::TopicRecordT,
    pub queues: Vec<Queue>,
}

#[derive(Default)]
pub struct Queue {
    pub batches: Vec<Batch>,
    pub next_offset: u64,
}

#[derive(Clone)]
pub struct Batch {
    pub base_offset: u64,
    pub next_offset: u64,
    pub position: u64,
    pub store_time_ms: i64,
    pub bytes: Vec<u8>,
}

impl Topic {
    pub fn new(record: schema::TopicRecordT) -> Self {
        let queues = (0..record.queues).map(|_| Queue::default()).collect();
        Self { record, queues }
    }
}

impl Queue {
    /// Index of the batch that holds `offset` or comes after it.
    pub fn from(&self, offset: u64) -> usize {
        self.batches
            .partition_point(|batch| batch.next_offset <= offset)
    }
}

impl State {
    pub fn append(&mut self, topic: &str, queue: u32, batch: &[u8]) -> Option<Batch> {
        let header = *BatchView::parse(batch).ok()?.header();
        let queue = self.topics.get_mut(topic)?.queues.get_mut(queue as usize)?;
        let base_offset = queue.next_offset;
        let mut bytes = batch.to_vec();
        let store_time_ms = header.born_time_ms;
        place(&mut bytes, 0, base_offset, store_time_ms);
        queue.next_offset += u64::from(header.last_offset_delta) + 1;
        let position = self.next_position;
        self.next_position += bytes.len() as u64;
        let next_offset = queue.next_offset;
        let batch = Batch {
            base_offset,
            next_offset,
            position,
            store_time_ms,
            bytes,
        };
        queue.batches.push(batch.clone());
        Some(batch)
    }
}
