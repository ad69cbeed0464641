//! Which offsets of a queue are done: the commit may move only over messages that were acknowledged without a gap. Pure.
//!
//! Invariant: `frontier <= every delivered and open offset < delivered_end`, and everything below `frontier` is
//! acknowledged or was never delivered (filtered out, compacted away).

use std::collections::VecDeque;

/// Tracks one assignment of one queue.
#[derive(Debug, Clone)]
pub(super) struct AckTracker {
    /// Delivered offsets from the first one that is not acknowledged, in order.
    delivered: VecDeque<(u64, bool)>,
    /// Acknowledged ones among them.
    acked: usize,
    /// Behind the last offset that was delivered or passed over.
    delivered_end: u64,
}

impl AckTracker {
    pub(super) fn new(start: u64) -> Self {
        Self {
            delivered: VecDeque::new(),
            acked: 0,
            delivered_end: start,
        }
    }

    /// A message goes out. Offsets rise; the ones between are not messages for this consumer.
    pub(super) fn deliver(&mut self, offset: u64) {
        debug_assert!(
            offset >= self.delivered_end,
            "{offset} after {}",
            self.delivered_end
        );
        self.delivered.push_back((offset, false));
        self.delivered_end = offset + 1;
    }

    /// Nothing below `end` is still to come.
    pub(super) fn pass_over(&mut self, end: u64) {
        self.delivered_end = self.delivered_end.max(end);
    }

    /// The message is done. Unknown offsets and repeated calls change nothing.
    pub(super) fn ack(&mut self, offset: u64) {
        if let Ok(at) = self
            .delivered
            .binary_search_by_key(&offset, |(offset, _)| *offset)
        {
            let acked = &mut self.delivered[at].1;
            self.acked += usize::from(!*acked);
            *acked = true;
            self.advance();
        }
    }

    /// All messages up to this one are done.
    pub(super) fn ack_through(&mut self, offset: u64) {
        while let Some((first, acked)) = self.delivered.front().copied() {
            if first > offset {
                break;
            }
            self.acked -= usize::from(acked);
            self.delivered.pop_front();
        }
        self.advance();
    }

    fn advance(&mut self) {
        while let Some((_, true)) = self.delivered.front() {
            self.delivered.pop_front();
            self.acked -= 1;
        }
    }

    /// Whether the message was delivered and is not done yet.
    pub(super) fn is_open(&self, offset: u64) -> bool {
        let found = self
            .delivered
            .binary_search_by_key(&offset, |(offset, _)| *offset);
        found.is_ok_and(|at| !self.delivered[at].1)
    }

    /// The next offset to commit: everything below is done.
    pub(super) fn frontier(&self) -> u64 {
        self.delivered
            .front()
            .map_or(self.delivered_end, |(offset, _)| *offset)
    }

    /// Behind the last delivered message.
    pub(super) fn delivered_end(&self) -> u64 {
        self.delivered_end
    }

    /// Delivered messages that are not done, and done ones behind them that must be remembered.
    pub(super) fn held(&self) -> usize {
        self.delivered.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[derive(Debug, Clone)]
    enum Step {
        Deliver { gap: u64 },
        PassOver { by: u64 },
        Ack(prop::sample::Index),
        AckThrough(prop::sample::Index),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0u64..3).prop_map(|gap| Step::Deliver { gap }),
            1 => (0u64..5).prop_map(|by| Step::PassOver { by }),
            4 => any::<prop::sample::Index>().prop_map(Step::Ack),
            1 => any::<prop::sample::Index>().prop_map(Step::AckThrough),
        ];
        prop::collection::vec(step, 0..200)
    }

    proptest! {
        #[test]
        fn the_frontier_is_the_first_open_message(start in 0u64..1000, steps in steps()) {
            let mut tracker = AckTracker::new(start);
            let mut delivered = Vec::new();
            let mut open = BTreeSet::new();
            let mut end = start;
            for step in steps {
                match step {
                    Step::Deliver { gap } => {
                        let offset = end + gap;
                        tracker.deliver(offset);
                        delivered.push(offset);
                        open.insert(offset);
                        end = offset + 1;
                    }
                    Step::PassOver { by } => {
                        end += by;
                        tracker.pass_over(end);
                    }
                    Step::Ack(index) if !delivered.is_empty() => {
                        let offset = *index.get(&delivered);
                        tracker.ack(offset);
                        open.remove(&offset);
                    }
                    Step::AckThrough(index) if !delivered.is_empty() => {
                        let offset = *index.get(&delivered);
                        tracker.ack_through(offset);
                        open = open.split_off(&(offset + 1));
                    }
                    Step::Ack(_) | Step::AckThrough(_) => {}
                }
                prop_assert_eq!(tracker.frontier(), open.first().copied().unwrap_or(end));
                prop_assert_eq!(tracker.held() - tracker.acked, open.len());
                prop_assert!(open.iter().all(|offset| tracker.is_open(*offset)));
            }
        }
    }
}
