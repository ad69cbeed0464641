//! What was sent, what the group has seen, and whether the two agree. Memory does not grow with the run.
//!
//! The group sees each queue's offsets without a gap, and on each new offset the next sequence of its producer. What
//! lies below was delivered before: a restart or a new member may have it again, at the same offset.
//!
//! A gap is a question: whoever got the message behind it asks the broker where the queue begins. What retention removed
//! before the group read it was kept as long as promised, and says that the group was too slow; anything else is lost.

use super::body::Stamp;
use std::collections::BTreeMap;
use std::ops::Range;
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
    /// Producers whose next sequence is unknown, because a gap came since their last message.
    unsure: Vec<bool>,
    /// Offsets in gaps, less the sequences that producers turned out to have in them.
    unaccounted: i64,
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
    /// Offsets that retention removed before the group read them.
    pub(super) expired_for_group: u64,
    /// Anything that must not be.
    pub(super) violations: u64,
}

/// Offsets of a queue that the group did not get before later ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) queue: u32,
    pub(super) offsets: Range<u64>,
}

impl Ledger {
    pub(super) fn new(queues: u32, producers: u32) -> Self {
        let queue = Queue {
            next_offset: 0,
            next_sequences: vec![0; producers as usize],
            unsure: vec![false; producers as usize],
            unaccounted: 0,
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

    /// A member of the group got a message. What it did not get before is given back, to be [`Ledger::expired`] or
    /// [`Ledger::lost`].
    #[must_use]
    pub(super) fn delivered(&self, queue: u32, offset: u64, stamp: &Stamp) -> Option<Gap> {
        let mut inner = self.lock();
        let producer = stamp.producer as usize;
        let place = inner.queues.get_mut(queue as usize);
        let Some(state) = place.filter(|queue| producer < queue.acknowledged.len()) else {
            inner.violation(format!("queue {queue}: {stamp:?} was never sent"));
            return None;
        };
        let (expected, expected_offset) = (state.next_sequences[producer], state.next_offset);
        if offset < expected_offset {
            inner.counts.redelivered += 1;
            if stamp.sequence >= expected {
                inner.violation(format!(
                    "queue {queue} offset {offset}: {stamp:?} stands where something else stood"
                ));
            }
            return None;
        }
        let gap = state.skip_to(queue, offset);
        let is_due = state.is_due(stamp) && stamp.queue == queue;
        state.next_sequences[producer] = stamp.sequence + 1;
        state.next_offset = offset + 1;
        inner.counts.delivered += 1;
        if !is_due {
            inner.violation(format!(
                "queue {queue} offset {offset}: {stamp:?} where sequence {expected} was due"
            ));
        }
        gap
    }

    /// What the group missed had been removed by retention.
    pub(super) fn expired(&self, gap: &Gap) {
        let mut inner = self.lock();
        inner.counts.expired_for_group += gap.offsets.end - gap.offsets.start;
        tracing::warn!(?gap, "retention was faster than the group");
    }

    /// What the group missed should have been there.
    pub(super) fn lost(&self, gap: &Gap) {
        let Gap { queue, offsets } = gap;
        self.violation(format!("queue {queue}: offsets {offsets:?} never came"));
    }

    /// The queue begins at `min_offset`, and the group has read nothing from there on.
    pub(super) fn begins(&self, queue: u32, min_offset: u64) {
        let gap = {
            let mut inner = self.lock();
            let state = inner.queues.get_mut(queue as usize);
            state.and_then(|state| state.skip_to(queue, min_offset))
        };
        gap.iter().for_each(|gap| self.expired(gap));
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

    /// Whether the group has seen all that was acknowledged, as far as it could.
    pub(super) fn is_even(&self) -> bool {
        let counts = self.lock().counts;
        counts.delivered + counts.expired_for_group >= counts.acknowledged
    }

    /// Ends the run: what was acknowledged and never came, or came and was never sent, is a violation, unless retention
    /// accounts for it.
    pub(super) fn close(&self) {
        let mut inner = self.lock();
        let mut uneven = Vec::new();
        for (number, queue) in inner.queues.iter_mut().enumerate() {
            for producer in 0..queue.acknowledged.len() {
                let acknowledged = queue.acknowledged[producer].0;
                let seen = queue.next_sequences[producer];
                if queue.unsure[producer] && seen <= acknowledged {
                    queue.unaccounted -= (acknowledged - seen) as i64;
                } else if seen != acknowledged {
                    uneven.push(format!(
                        "queue {number}: {acknowledged} of producer {producer} were acknowledged, {seen} seen"
                    ));
                }
            }
            if queue.unaccounted != 0 {
                uneven.push(format!(
                    "queue {number}: gaps and missing messages differ by {}",
                    queue.unaccounted
                ));
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

impl Queue {
    /// Goes on at `offset`, leaving out what lies before.
    fn skip_to(&mut self, queue: u32, offset: u64) -> Option<Gap> {
        let offsets = self.next_offset..offset;
        if offsets.is_empty() {
            return None;
        }
        self.next_offset = offset;
        self.unaccounted += (offsets.end - offsets.start) as i64;
        self.unsure.fill(true);
        Some(Gap { queue, offsets })
    }

    /// Whether the producer's next new message may be this one.
    fn is_due(&mut self, stamp: &Stamp) -> bool {
        let producer = stamp.producer as usize;
        let expected = self.next_sequences[producer];
        if !std::mem::take(&mut self.unsure[producer]) {
            return stamp.sequence == expected;
        }
        self.unaccounted -= stamp.sequence.saturating_sub(expected) as i64;
        stamp.sequence >= expected
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

    fn after(deliveries: &[(u64, Stamp)], asked: impl Fn(&Ledger, &Gap)) -> Ledger {
        let ledger = Ledger::new(1, 2);
        for (offset, stamp) in whole() {
            ledger.acknowledged(&stamp, 0, offset);
        }
        for (offset, stamp) in deliveries {
            if let Some(gap) = ledger.delivered(0, *offset, stamp) {
                asked(&ledger, &gap);
            }
        }
        ledger
    }

    fn violations(deliveries: &[(u64, Stamp)]) -> u64 {
        let ledger = after(deliveries, Ledger::lost);
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
    fn what_retention_removed_is_not_lost_and_hides_nothing() {
        for first in 0..6 {
            for behind in first + 1..=6 {
                let mut cut = whole();
                cut.drain(first..behind);
                let ledger = after(&cut, Ledger::expired);
                ledger.begins(0, if behind == 6 { 6 } else { 0 });
                assert!(ledger.is_even());
                ledger.close();
                let counts = ledger.counts();
                let expected = (0, (behind - first) as u64);
                assert_eq!((counts.violations, counts.expired_for_group), expected);
            }
        }
        // One offset is missing, and two messages are.
        let mut deliveries = whole()[..2].to_vec();
        deliveries.extend([(3, stamp(1, 2)), (4, stamp(0, 2))]);
        let ledger = after(&deliveries, Ledger::expired);
        ledger.close();
        assert!(ledger.counts().violations > 0);
        // The end is missing, and nothing says that it was removed.
        let ledger = after(&whole()[..4], Ledger::expired);
        ledger.begins(0, 4);
        assert!(!ledger.is_even());
        ledger.close();
        assert!(ledger.counts().violations > 0);
    }

    #[test]
    fn acknowledgements_have_an_order_too() {
        let ledger = Ledger::new(1, 1);
        ledger.acknowledged(&stamp(0, 0), 0, 5);
        ledger.acknowledged(&stamp(0, 1), 0, 4);
        assert_eq!(ledger.counts().violations, 1);
    }
}
