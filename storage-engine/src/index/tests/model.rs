//! The index as it should be: a list of batches, searched from end to end.

use crate::fixture::Put;
use crate::index::{ActiveIndex, BatchRef, Extent};
use crate::position::{Position, QueueHandle, QueueOffset};
use ringmq_wire::batch::BatchView;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

#[derive(Debug, Default, Clone)]
pub(super) struct Model {
    pub(super) puts: Vec<Put>,
    queues: BTreeMap<QueueHandle, Vec<usize>>,
}

impl Model {
    pub(super) fn add(&mut self, put: Put) {
        let of_queue = self.queues.entry(put.at.queue).or_default();
        of_queue.push(self.puts.len());
        self.puts.push(put);
    }

    pub(super) fn truncate(&mut self, cut: Position) {
        let puts = std::mem::take(&mut self.puts);
        self.queues.clear();
        for put in puts.into_iter().filter(|put| put.at.position < cut) {
            self.add(put);
        }
    }

    pub(super) fn drop_below(&mut self, start: Position) {
        let puts = std::mem::take(&mut self.puts);
        self.queues.clear();
        for put in puts.into_iter().filter(|put| put.at.position >= start) {
            self.add(put);
        }
    }

    pub(super) fn queues(&self) -> Vec<QueueHandle> {
        self.queues.keys().copied().collect()
    }

    pub(super) fn next_offsets(&self) -> impl Iterator<Item = (QueueHandle, QueueOffset)> {
        let last = |numbers: &Vec<usize>| numbers.last().map(|number| self.puts[*number].at);
        let lasts = self.queues.values().filter_map(last);
        lasts.map(|at| (at.queue, at.next_offset))
    }

    fn of_queue(&self, queue: QueueHandle) -> impl Iterator<Item = &Put> {
        let numbers = self.queues.get(&queue).map_or(&[][..], |numbers| numbers);
        numbers.iter().map(|number| &self.puts[*number])
    }

    pub(super) fn batches(
        &self,
        queue: QueueHandle,
        from: QueueOffset,
        end: Position,
    ) -> Vec<BatchRef> {
        self.of_queue(queue)
            .map(|put| put.at)
            .filter(|at| at.next_offset > from && at.position < end)
            .collect()
    }

    pub(super) fn at_time(
        &self,
        queue: QueueHandle,
        time_ms: i64,
        end: Position,
    ) -> Option<BatchRef> {
        self.batches(queue, QueueOffset(0), end)
            .into_iter()
            .find(|at| at.store_time_ms >= time_ms)
    }

    pub(super) fn extent_at(&self, position: Position) -> Option<Extent> {
        let below = self
            .puts
            .iter()
            .rev()
            .find(|put| put.at.position <= position);
        below.map(|put| Extent {
            position: put.at.position,
            batch_bytes: put.at.batch_bytes,
        })
    }

    pub(super) fn find_key(
        &self,
        queue: QueueHandle,
        hash: u32,
        times_ms: RangeInclusive<i64>,
        end: Position,
    ) -> Vec<Position> {
        let mut found: Vec<Position> = self
            .of_queue(queue)
            .filter(|put| times_ms.contains(&put.at.store_time_ms) && put.at.position < end)
            .flat_map(|put| {
                let keys = put.keys.iter().filter(|(key, _)| *key == hash);
                keys.map(|(_, record)| Position(put.at.position.0 + u64::from(*record)))
            })
            .collect();
        found.reverse();
        found
    }
}

/// Puts a batch into an index.
pub(super) fn insert(index: &mut ActiveIndex, put: &Put) {
    let view = BatchView::parse_placed(&put.bytes).expect("the batch is whole");
    let inserted = index.insert(put.at.position, &view);
    inserted.expect("batches come in order");
}
