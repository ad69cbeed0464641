//! Who reads on where they stopped: pure.

use super::extent_of;
use super::plan::record_bytes;
use crate::index::BatchRef;
use crate::position::{Position, QueueHandle, QueueOffset};
use std::collections::{BTreeMap, VecDeque};

/// Readers remembered.
const STREAMS_MAX: usize = 1024;

/// A reader's bytes must be at least this part of the log that it passes, or reading ahead is mostly for nothing.
const DENSE_PART: u64 = 8;

/// What a reader got.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    pub(super) queue: QueueHandle,
    pub(super) from: QueueOffset,
    pub(super) next: QueueOffset,
    /// Of all its batches.
    pub(super) bytes: u64,
    /// Of the end of the last.
    pub(super) end: Position,
}

impl Step {
    /// Consecutive batches of one queue, at least one.
    pub(super) fn of(batches: &[BatchRef]) -> Self {
        let (first, last) = (batches[0], batches[batches.len() - 1]);
        let end = last.position.0 + record_bytes(&extent_of(&last)) as u64;
        Self {
            queue: first.queue,
            from: first.base_offset,
            next: last.next_offset,
            bytes: batches
                .iter()
                .map(|batch| u64::from(batch.batch_bytes))
                .sum(),
            end: Position(end),
        }
    }
}

/// Readers by what they will ask for next, and where in the log they are.
#[derive(Debug, Default)]
pub(super) struct Streams {
    ends: BTreeMap<(QueueHandle, QueueOffset), Position>,
    order: VecDeque<(QueueHandle, QueueOffset)>,
}

impl Streams {
    /// Whether this step goes on where another one stopped, and gets a good part of what lies in between.
    pub(super) fn advance(&mut self, step: Step) -> bool {
        let before = self.ends.remove(&(step.queue, step.from));
        let key = (step.queue, step.next);
        if self.ends.insert(key, step.end).is_none() {
            self.order.push_back(key);
        }
        // Keys that were moved on are still in the order, so it may be the longer one.
        while self.order.len() > 2 * STREAMS_MAX || self.ends.len() > STREAMS_MAX {
            match self.order.pop_front() {
                Some(oldest) => self.ends.remove(&oldest),
                None => break,
            };
        }
        let passed = before.map(|before| step.end.0.saturating_sub(before.0));
        passed.is_some_and(|passed| step.bytes.saturating_mul(DENSE_PART) >= passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(queue: u32, number: u64, bytes: u64, distance: u64) -> Step {
        Step {
            queue: QueueHandle(queue),
            from: QueueOffset(number * 10),
            next: QueueOffset(number * 10 + 10),
            bytes,
            end: Position((number + 1) * distance),
        }
    }

    #[test]
    fn interleaved_readers_are_each_followed() {
        let mut streams = Streams::default();
        for number in 0..5 {
            for queue in 0..100 {
                assert_eq!(streams.advance(step(queue, number, 500, 4000)), number > 0);
            }
        }
        assert!(
            !streams.advance(step(3, 77, 500, 4000)),
            "nobody stopped there"
        );
    }

    #[test]
    fn a_sparse_reader_is_not_followed() {
        let mut streams = Streams::default();
        for number in 0..5 {
            assert!(!streams.advance(step(1, number, 499, 4000)));
        }
    }

    #[test]
    fn memory_is_bounded() {
        let mut streams = Streams::default();
        for number in 0..10_000 {
            streams.advance(step(number as u32, 0, 1, 1));
            streams.advance(step(0, number, 1, 1));
        }
        assert!(streams.ends.len() <= STREAMS_MAX && streams.order.len() <= 2 * STREAMS_MAX);
    }
}
