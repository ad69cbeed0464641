//! What was sent, what the group has seen, and whether the two agree. Memory does not grow with the run.
//!
//! The group sees each queue's offsets without a gap, and on each new offset the next sequence of its producer. What
//! lies below was delivered before: a restart or a new member may have it again, at the same offset.

use super::body::Stamp;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Violations kept in words; all are counted.
const WORDS_MAX: usize = 20;

/// Shared by all producers and readers of a run.
#[derive(Debug)]
pub(super) struct Ledger {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    queues: Vec<Queue>,
    counts: Counts,
    words: Vec<String>,
    troubles: BTreeMap<String, u64>,
}

#[derive(Debug, Clone, Default)]
struct Queue {
    /// The group's next new offset.
    next_offset: u64,
    /// Its next new sequence, by producer.
    next_sequences: Vec<u64>,
    /// Acknowledged messages, by producer, and the offset behind the last.
    acknowledged: Vec<(u64, u64)>,
}

/// Sums.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub(super) struct Counts {
    /// Messages that the broker said are on disk.
    pub(super) acknowledged: u64,
    /// Of those, what the group has seen.
    pub(super) delivered: u64,
    /// Seen again after a restart or a change of members.
    pub(super) redelivered: u64,
    /// Seen by slow readers.
    pub(super) read_slowly: u64,
    /// Offsets that slow readers could not have any more.
    pub(super) expired_for_slow: u64,
    /// Anything that must not be.
    pub(super) violations: u64,
}

impl Ledger {
    pub(super) fn new(queues: u32, producers: u32) -> Self {
        let queue = Queue {
            next_offset: 0,
            next_sequences: vec![0; producers as usize],
            acknowledged: vec![(0, 0); producers as usize],
        };
        Self {
            inner: Mutex::new(Inner {
                queues: vec![queue; queues as usize],
                counts: Counts::default(),
                words: Vec::new(),
                troubles: BTreeMap::new(),
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The broker has acknowledged a message. Called in the order of sending, for each producer.
    pub(super) fn acknowledged(&self, stamp: &Stamp, queue: u32, offset: u64) {
        let mut inner = self.lock();
        inner.counts.acknowledged += 1;
        let known = inner
            .queues
            .get_mut(queue as usize)
            .and_then(|queue| queue.acknowledged.get_mut(stamp.producer as usize));
        let right = known.is_some_and(|(count, behind)| {
            let right = stamp.queue == queue && *count == stamp.sequence && offset >= *behind;
            (*count, *behind) = (stamp.sequence + 1, offset + 1);
            right
        });
        if !right {
            inner.violation(format!(
                "{stamp:?} was acknowledged for queue {queue} at offset {offset}, out of order"
            ));
        }
    }

    /// A member of the group got a message.
    pub(super) fn delivered(&self, queue: u32, offset: u64, stamp: &Stamp) {
        let mut inner = self.lock();
        let place = inner.queues.get_mut(queue as usize);
        let Some(state) =
            place.filter(|queue| (stamp.producer as usize) < queue.acknowledged.len())
        else {
            inner.violation(format!("queue {queue}: {stamp:?} was never sent"));
            return;
        };
        let next_sequence = &mut state.next_sequences[stamp.producer as usize];
        let (expected, expected_offset) = (*next_sequence, state.next_offset);
        if offset < expected_offset {
            inner.counts.redelivered += 1;
            if stamp.sequence >= expected {
                inner.violation(format!(
                    "queue {queue} offset {offset}: {stamp:?} stands where something else stood"
                ));
            }
            return;
        }
        *next_sequence = stamp.sequence + 1;
        state.next_offset = offset + 1;
        inner.counts.delivered += 1;
        if offset > expected_offset {
            inner.violation(format!(
                "queue {queue}: offsets {expected_offset}..{offset} never came"
            ));
        } else if stamp.sequence != expected || stamp.queue != queue {
            inner.violation(format!(
                "queue {queue} offset {offset}: {stamp:?} where sequence {expected} was due"
            ));
        }
    }

    /// A slow reader got a message, after offsets that it could not have any more.
    pub(super) fn read_slowly(&self, expired: u64) {
        let mut inner = self.lock();
        inner.counts.read_slowly += 1;
        inner.counts.expired_for_slow += expired;
    }

    /// Something that must not be.
    pub(super) fn violation(&self, words: String) {
        self.lock().violation(words);
    }

    /// Something that a restart excuses; counted, so that it can be looked at.
    pub(super) fn trouble(&self, what: String) {
        *self.lock().troubles.entry(what).or_default() += 1;
    }

    /// Whether the group has seen all that was acknowledged.
    pub(super) fn is_even(&self) -> bool {
        let inner = self.lock();
        inner.counts.delivered >= inner.counts.acknowledged
    }

    /// Ends the run: what was acknowledged and never came, or came and was never sent, is a violation.
    pub(super) fn close(&self) {
        let mut inner = self.lock();
        let mut uneven = Vec::new();
        for (number, queue) in inner.queues.iter().enumerate() {
            for (producer, (acknowledged, _)) in queue.acknowledged.iter().enumerate() {
                let seen = queue.next_sequences[producer];
                if seen != *acknowledged {
                    uneven.push(format!(
                        "queue {number}: {acknowledged} of producer {producer} were acknowledged, {seen} seen"
                    ));
                }
            }
        }
        for words in uneven {
            inner.violation(words);
        }
    }

    pub(super) fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// The first violations, and all troubles by kind.
    pub(super) fn words(&self) -> (Vec<String>, BTreeMap<String, u64>) {
        let inner = self.lock();
        (inner.words.clone(), inner.troubles.clone())
    }
}

impl Inner {
    fn violation(&mut self, words: String) {
        self.counts.violations += 1;
        tracing::error!("{words}");
        if self.words.len() < WORDS_MAX {
            self.words.push(words);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(producer: u32, sequence: u64) -> Stamp {
        Stamp {
            run: 1,
            producer,
            queue: 0,
            sequence,
        }
    }

    /// Two producers, interleaved: offsets 0..6.
    fn whole() -> Vec<(u64, Stamp)> {
        (0..6).map(|n| (n, stamp((n % 2) as u32, n / 2))).collect()
    }

    fn violations(deliveries: &[(u64, Stamp)]) -> u64 {
        let ledger = Ledger::new(1, 2);
        for (offset, stamp) in whole() {
            ledger.acknowledged(&stamp, 0, offset);
        }
        for (offset, stamp) in deliveries {
            ledger.delivered(0, *offset, stamp);
        }
        ledger.close();
        ledger.counts().violations
    }

    #[test]
    fn everything_once_is_right_and_redelivery_is_no_harm() {
        assert_eq!(violations(&whole()), 0);
        let mut again = whole();
        again.extend_from_within(2..);
        assert_eq!(violations(&again), 0);
        let mut interleaved = whole();
        interleaved.insert(4, whole()[1]);
        assert_eq!(violations(&interleaved), 0);
    }

    #[test]
    fn loss_doubles_inventions_and_swaps_are_found() {
        for missing in 0..6 {
            let mut lost = whole();
            lost.remove(missing);
            assert!(violations(&lost) > 0, "{missing} is missing");
        }
        let mut double = whole();
        double.push((6, stamp(0, 2)));
        assert!(violations(&double) > 0, "stored twice");
        let mut invented = whole();
        invented.push((6, stamp(0, 3)));
        assert!(violations(&invented) > 0, "never acknowledged");
        let mut foreign = whole();
        foreign.push((6, stamp(9, 0)));
        assert!(violations(&foreign) > 0, "no such producer");
        let mut swapped = whole();
        swapped.swap(1, 3);
        assert!(violations(&swapped) > 0, "out of order");
        let mut changed = whole();
        changed.push((2, stamp(0, 7)));
        assert!(violations(&changed) > 0, "another message at a seen offset");
    }

    #[test]
    fn acknowledgements_have_an_order_too() {
        let ledger = Ledger::new(1, 1);
        ledger.acknowledged(&stamp(0, 0), 0, 5);
        ledger.acknowledged(&stamp(0, 1), 0, 4);
        assert_eq!(ledger.counts().violations, 1);
    }
}
