//! What the handles of a shard's queues are called, from its snapshot and its log; and whether both can be decoded.

use crate::state::{ControlRecord, ShardState, Topic};
use ringmq_storage_engine::examine::StateRecords;
use ringmq_storage_engine::position::{Position, QueueHandle};
use ringmq_storage_engine::state_machine::StateMachine;
use std::collections::BTreeMap;

/// Fed by an examination.
#[derive(Default)]
pub(super) struct Names {
    snapshot: ShardState,
    queues: BTreeMap<QueueHandle, (String, u32)>,
}

impl Names {
    /// Topic and queue; the bare handle where nothing tells.
    pub(super) fn of(&self, handle: QueueHandle) -> (String, u32) {
        if let Some(known) = self.queues.get(&handle) {
            return known.clone();
        }
        let mut found = BTreeMap::new();
        for (name, topic) in self.snapshot.topics() {
            note(&mut found, name, topic);
        }
        let unknown = || (format!("queue handle {}", handle.0), 0);
        found.remove(&handle).unwrap_or_else(unknown)
    }
}

impl StateRecords for Names {
    fn control(&mut self, record: &[u8]) -> Result<(), String> {
        let record = ControlRecord::decode(record).map_err(|error| error.to_string())?;
        if let ControlRecord::TopicPut { name, topic } = &record {
            note(&mut self.queues, name, topic);
        }
        Ok(())
    }

    fn chunk(&mut self, stamp: Position, chunk: &[u8]) -> Result<(), String> {
        self.snapshot.restore_chunk(stamp, chunk)
    }
}

fn note(queues: &mut BTreeMap<QueueHandle, (String, u32)>, name: &str, topic: &Topic) {
    let shards = topic.placement.len().max(1) as u32;
    for (local, handle) in (0u32..).zip(&topic.handles) {
        // Queues are dealt round-robin.
        let queue = local * shards + topic.placement_index;
        queues.insert(*handle, (name.to_owned(), queue));
    }
}
