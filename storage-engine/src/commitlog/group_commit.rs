//! When a frame goes out, and what a finished write releases: pure, no clock, no disk.
//!
//! - With nothing in flight the pending frame goes out at once; otherwise it waits until `dispatch_bytes` are
//!   pending and fewer than `frames_in_flight_max` are in flight. Load itself makes the groups larger.
//! - Writes finish in any order; `written` and `durable` move over the gapless prefix alone, so whatever is
//!   released is released in log order.
//! - `appended >= written >= durable`, checked at every move. One failure ends all moves.

use crate::position::Position;
use std::collections::VecDeque;

/// When frames go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DispatchLimits {
    pub frames_in_flight_max: usize,
    pub dispatch_bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Progress {
    Submitted,
    Written,
    Durable,
}

#[derive(Debug)]
struct Flight<T> {
    start: Position,
    end: Position,
    progress: Progress,
    tag: T,
}

/// Frames in flight; `T` goes with a frame and comes back when it is released.
#[derive(Debug)]
pub struct GroupCommit<T> {
    limits: DispatchLimits,
    flights: VecDeque<Flight<T>>,
    submitted: Position,
    written: Position,
    durable: Position,
    failed: bool,
}

impl<T> GroupCommit<T> {
    /// Everything below `end` is durable.
    pub fn new(limits: DispatchLimits, end: Position) -> Self {
        Self {
            limits,
            flights: VecDeque::new(),
            submitted: end,
            written: end,
            durable: end,
            failed: false,
        }
    }

    /// Whether the next frame goes out now, with `pending_bytes` not yet sent.
    pub fn should_dispatch(&self, pending_bytes: usize) -> bool {
        if pending_bytes == 0 || self.failed {
            return false;
        }
        self.flights.is_empty()
            || (pending_bytes >= self.limits.dispatch_bytes
                && self.flights.len() < self.limits.frames_in_flight_max)
    }

    /// A frame went out. Frames go out in log order.
    pub fn dispatched(&mut self, start: Position, end: Position, tag: T) {
        assert!(
            self.submitted <= start && start < end && !self.failed,
            "frames go out in log order"
        );
        self.submitted = end;
        self.flights.push_back(Flight {
            start,
            end,
            progress: Progress::Submitted,
            tag,
        });
    }

    /// The frame at `start` is written, but not yet durable.
    pub fn written(&mut self, start: Position) {
        self.advance(start, Progress::Written);
    }

    /// The frame at `start` is durable. Gives the tags of all frames that are released by it, in log order.
    pub fn durable(&mut self, start: Position) -> Vec<T> {
        self.advance(start, Progress::Durable);
        let mut released = Vec::new();
        if self.failed {
            return released;
        }
        while self
            .flights
            .front()
            .is_some_and(|flight| flight.progress == Progress::Durable)
        {
            let flight = self.flights.pop_front().expect("there is a front");
            self.durable = flight.end;
            released.push(flight.tag);
        }
        self.check();
        released
    }

    /// A write failed: nothing is released any more, nothing goes out any more.
    pub fn fail(&mut self) {
        self.failed = true;
    }

    /// Ends of the gapless prefixes.
    pub fn frontiers(&self) -> (Position, Position) {
        (self.written, self.durable)
    }

    /// Frames out and not yet released.
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    fn advance(&mut self, start: Position, progress: Progress) {
        let at = self.flights.partition_point(|flight| flight.start < start);
        let flight = self
            .flights
            .get_mut(at)
            .filter(|flight| flight.start == start)
            .expect("only frames in flight make progress");
        assert!(flight.progress < progress, "progress goes one way");
        flight.progress = progress;
        let prefix = self
            .flights
            .iter()
            .take_while(|flight| flight.progress >= Progress::Written);
        if let Some(last) = prefix.last() {
            self.written = self.written.max(last.end);
        }
    }

    fn check(&self) {
        assert!(self.submitted >= self.written && self.written >= self.durable);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: DispatchLimits = DispatchLimits {
        frames_in_flight_max: 4,
        dispatch_bytes: 100,
    };

    fn at(n: u64) -> Position {
        Position(n * 4096)
    }

    #[test]
    fn idle_goes_at_once_and_load_gathers() {
        let mut group = GroupCommit::new(LIMITS, at(0));
        assert!(!group.should_dispatch(0));
        assert!(group.should_dispatch(1));
        group.dispatched(at(0), at(1), 0);
        assert!(!group.should_dispatch(99));
        assert!(group.should_dispatch(100));
        for n in 1..4 {
            group.dispatched(at(n), at(n + 1), n);
        }
        assert!(!group.should_dispatch(1 << 30), "four are in flight");
        assert_eq!(group.durable(at(0)), [0]);
        assert!(group.should_dispatch(100));
    }

    #[test]
    fn nothing_is_released_after_a_failure() {
        let mut group = GroupCommit::new(LIMITS, at(0));
        group.dispatched(at(0), at(1), 'a');
        group.dispatched(at(1), at(2), 'b');
        group.fail();
        assert!(group.durable(at(0)).is_empty());
        assert!(!group.should_dispatch(1 << 30));
        assert_eq!(group.frontiers().1, at(0));
    }

    proptest! {
        /// Any order of progress releases each frame once, in order, when all before it are durable.
        #[test]
        fn any_order_of_completions_releases_in_log_order(
            steps in proptest::collection::vec((0usize..6, any::<bool>()), 1..200)
        ) {
            let mut group = GroupCommit::new(LIMITS, at(0));
            let mut sent: Vec<Progress> = Vec::new();
            let mut released = 0usize;
            for (pick, write_first) in steps {
                let open: Vec<usize> = (released..sent.len())
                    .filter(|n| sent[*n] != Progress::Durable)
                    .collect();
                if pick >= open.len() {
                    if group.should_dispatch(100) {
                        let n = sent.len() as u64;
                        group.dispatched(at(n), at(n + 1), sent.len());
                        sent.push(Progress::Submitted);
                    }
                    continue;
                }
                let n = open[pick];
                if write_first && sent[n] == Progress::Submitted {
                    group.written(at(n as u64));
                    sent[n] = Progress::Written;
                } else {
                    let tags = group.durable(at(n as u64));
                    sent[n] = Progress::Durable;
                    for tag in tags {
                        prop_assert_eq!(tag, released);
                        prop_assert_eq!(sent[tag], Progress::Durable);
                        released += 1;
                    }
                }
                let prefix = |least| sent.iter().take_while(|p| **p >= least).count() as u64;
                let frontiers = (at(prefix(Progress::Written)), at(prefix(Progress::Durable)));
                prop_assert_eq!(group.frontiers(), frontiers);
                prop_assert_eq!(released as u64, prefix(Progress::Durable));
                prop_assert!(group.in_flight() <= 4);
            }
        }
    }
}
