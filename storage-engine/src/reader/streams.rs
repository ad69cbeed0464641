//! Who reads on where they stopped: pure.

use crate::position::{QueueHandle, QueueOffset};
use std::collections::{BTreeMap, VecDeque};

/// Readers remembered.
const STREAMS_MAX: usize = 1024;

/// Readers by what they will ask for next.
#[derive(Debug, Default)]
pub(super) struct Streams {
    runs: BTreeMap<(QueueHandle, QueueOffset), u32>,
    order: VecDeque<(QueueHandle, QueueOffset)>,
}

impl Streams {
    /// A reader got `from..next`. Returns how many reads before this one it went on from.
    pub(super) fn advance(
        &mut self,
        queue: QueueHandle,
        from: QueueOffset,
        next: QueueOffset,
    ) -> u32 {
        let run = self
            .runs
            .remove(&(queue, from))
            .map_or(0, |run| run.saturating_add(1));
        if self.runs.insert((queue, next), run).is_none() {
            self.order.push_back((queue, next));
        }
        // Keys that were moved on are still in the order, so it may be the longer one.
        while self.order.len() > 2 * STREAMS_MAX || self.runs.len() > STREAMS_MAX {
            match self.order.pop_front() {
                Some(oldest) => self.runs.remove(&oldest),
                None => break,
            };
        }
        run
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interleaved_readers_each_have_a_run() {
        let mut streams = Streams::default();
        for step in 0..5u64 {
            for queue in 0..100 {
                let run = streams.advance(
                    QueueHandle(queue),
                    QueueOffset(step * 10),
                    QueueOffset(step * 10 + 10),
                );
                assert_eq!(u64::from(run), step);
            }
        }
        assert_eq!(
            streams.advance(QueueHandle(3), QueueOffset(7), QueueOffset(9)),
            0
        );
    }

    #[test]
    fn memory_is_bounded() {
        let mut streams = Streams::default();
        for queue in 0..10_000 {
            streams.advance(QueueHandle(queue), QueueOffset(0), QueueOffset(1));
            streams.advance(
                QueueHandle(0),
                QueueOffset(u64::from(queue)),
                QueueOffset(u64::from(queue) + 1),
            );
        }
        assert!(streams.runs.len() <= STREAMS_MAX && streams.order.len() <= 2 * STREAMS_MAX);
    }
}
