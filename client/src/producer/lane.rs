//! The order of one (topic, queue): which batch goes next, and what an answer means. Pure.
//!
//! Every batch has a sequence within (producer, epoch); the shard stores batches of a producer in sequence only, each
//! once. That makes retries simple and safe:
//! - At most `in_flight_max` batches are undecided. They are sent in order on one connection.
//! - After any failure nothing is sent until every unanswered batch has failed or been answered; then everything
//!   undecided is sent again in order, under the same sequences. What was stored after all is answered as a duplicate.
//! - When a batch leaves for good without being stored, the sequences behind it have a hole. Once the shard has said so
//!   (which proves that nothing behind the hole is stored), the rest is numbered anew from 0 under a higher epoch;
//!   remnants of the old epoch are refused from then on.
//! - A batch is *in doubt* when it was sent and no answer came. If it can never be settled, its messages are "maybe".

use std::collections::VecDeque;

/// Names a batch within its lane.
pub(super) type BatchId = u64;

/// What is written into a batch's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) epoch: u32,
    pub(super) sequence: u32,
}

/// How sending a batch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// Stored, now or by an earlier attempt.
    Stored,
    /// Not stored by this attempt, but it may work later.
    Refused,
    /// No answer: nobody knows.
    Lost,
    /// Will never be stored.
    Rejected,
    /// The shard misses an earlier batch (`OutOfOrderSequence`).
    Gap,
    /// The shard does not know the producer and the sequence is not 0.
    Unknown,
    /// The shard knows a higher epoch.
    Stale { epoch: u32 },
}

/// How it ends for a batch that leaves the lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Stored,
    NotStored,
    Maybe,
}

/// What to do about an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    /// The batch left the lane.
    Settle(BatchId, Verdict),
    /// The remaining batches have new stamps.
    Restamp,
    /// Wait a moment before sending.
    BackOff,
}

#[derive(Debug)]
struct Batch {
    id: BatchId,
    sequence: u32,
    records: u32,
    state: State,
    /// An attempt went unanswered, and no later answer proved that it was not stored.
    in_doubt: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ready,
    Sent,
    Failed(Answer),
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Lane {
    in_flight_max: usize,
    epoch: u32,
    next_sequence: u32,
    next_id: BatchId,
    /// Undecided batches, in order.
    batches: VecDeque<Batch>,
    /// A batch failed, and others are still unanswered.
    recovering: bool,
    /// A batch left without being stored: later sequences do not fit.
    hole: bool,
}

impl Lane {
    pub(super) fn new(in_flight_max: usize) -> Self {
        Self {
            in_flight_max,
            epoch: 0,
            next_sequence: 0,
            next_id: 0,
            batches: VecDeque::new(),
            recovering: false,
            hole: false,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Batches that are sent and unanswered.
    pub(super) fn unanswered(&self) -> usize {
        self.batches
            .iter()
            .filter(|batch| batch.state == State::Sent)
            .count()
    }

    /// Whether another batch may be added.
    pub(super) fn has_room(&self) -> bool {
        self.batches.len() < self.in_flight_max
    }

    /// Adds a batch of `records` messages behind the others.
    pub(super) fn push(&mut self, records: u32) -> (BatchId, Stamp) {
        debug_assert!(self.has_room() && records > 0);
        let id = self.next_id;
        let sequence = self.next_sequence;
        self.next_id += 1;
        self.next_sequence = sequence.wrapping_add(records);
        let batch = Batch {
            id,
            sequence,
            records,
            state: State::Ready,
            in_doubt: false,
        };
        self.batches.push_back(batch);
        (
            id,
            Stamp {
                epoch: self.epoch,
                sequence,
            },
        )
    }

    pub(super) fn stamp(&self, id: BatchId) -> Option<Stamp> {
        let batch = self.batches.iter().find(|batch| batch.id == id)?;
        Some(Stamp {
            epoch: self.epoch,
            sequence: batch.sequence,
        })
    }

    /// The batch to send next, if one may be sent now.
    pub(super) fn next_to_send(&self) -> Option<BatchId> {
        if self.recovering {
            return None;
        }
        self.batches
            .iter()
            .find(|batch| batch.state == State::Ready)
            .map(|batch| batch.id)
    }

    /// The batch is on its way.
    pub(super) fn sent(&mut self, id: BatchId) {
        if let Some(batch) = self.batches.iter_mut().find(|batch| batch.id == id) {
            batch.state = State::Sent;
        }
    }

    /// Takes in how an attempt ended. Answers for batches that left are ignored.
    pub(super) fn answered(&mut self, id: BatchId, answer: Answer) -> Vec<Effect> {
        let Some(at) = self.batches.iter().position(|batch| batch.id == id) else {
            return Vec::new();
        };
        if answer == Answer::Stored {
            self.batches.remove(at);
            let mut effects = vec![Effect::Settle(id, Verdict::Stored)];
            effects.extend(self.recover());
            return effects;
        }
        let batch = &mut self.batches[at];
        batch.state = State::Failed(answer);
        batch.in_doubt |= answer == Answer::Lost;
        self.recovering = true;
        self.recover()
    }

    /// Gives a batch up, because its deadline passed. Sent batches are given up when they were answered or lost.
    pub(super) fn give_up(&mut self, id: BatchId) -> Vec<Effect> {
        let Some(at) = self.batches.iter().position(|batch| batch.id == id) else {
            return Vec::new();
        };
        if self.batches[at].state == State::Sent {
            return Vec::new();
        }
        let verdict = self.leave(at);
        let mut effects = vec![Effect::Settle(id, verdict)];
        if self.recovering {
            effects.extend(self.recover());
        } else {
            effects.extend(self.close_hole());
        }
        effects
    }

    /// Removes a batch that is not known to be stored.
    fn leave(&mut self, at: usize) -> Verdict {
        let batch = self.batches.remove(at).expect("found a line above");
        self.hole = true;
        if batch.in_doubt {
            Verdict::Maybe
        } else {
            Verdict::NotStored
        }
    }

    /// Decides what to do about failures, once every sent batch has its answer.
    fn recover(&mut self) -> Vec<Effect> {
        if !self.recovering || self.unanswered() > 0 {
            return Vec::new();
        }
        let mut effects = Vec::new();
        while let Some(head) = self.batches.front() {
            if head.state != State::Failed(Answer::Rejected) {
                break;
            }
            let id = head.id;
            let verdict = self.leave(0);
            effects.push(Effect::Settle(id, verdict));
        }
        let head = self.batches.front().map(|head| head.state);
        let again = matches!(head, Some(State::Failed(Answer::Refused | Answer::Lost)));
        match head {
            // Nothing behind a hole is stored, whatever became of the answers.
            Some(State::Failed(Answer::Gap)) => {
                self.batches
                    .iter_mut()
                    .for_each(|batch| batch.in_doubt = false);
                self.hole = true;
            }
            Some(State::Failed(Answer::Unknown)) => effects.extend(self.drop_doubtful()),
            Some(State::Failed(Answer::Stale { epoch })) => {
                self.epoch = self.epoch.max(epoch);
                effects.extend(self.drop_doubtful());
            }
            _ => {}
        }
        self.recovering = false;
        self.batches
            .iter_mut()
            .for_each(|batch| batch.state = State::Ready);
        effects.extend(self.close_hole());
        if again {
            effects.push(Effect::BackOff);
        }
        effects
    }

    /// The shard's memory of this producer is gone, and with it the way to settle doubts.
    fn drop_doubtful(&mut self) -> Vec<Effect> {
        self.hole = true;
        let (doubtful, clear) = self
            .batches
            .drain(..)
            .partition::<VecDeque<_>, _>(|b| b.in_doubt);
        self.batches = clear;
        doubtful
            .iter()
            .map(|batch| Effect::Settle(batch.id, Verdict::Maybe))
            .collect()
    }

    /// Numbers anew what is left, unless something of it may be stored under its old number.
    fn close_hole(&mut self) -> Option<Effect> {
        let busy = self
            .batches
            .iter()
            .any(|b| b.in_doubt || b.state == State::Sent);
        if !self.hole || busy {
            return None;
        }
        self.hole = false;
        self.epoch = self.epoch.wrapping_add(1);
        self.next_sequence = 0;
        for batch in &mut self.batches {
            batch.sequence = self.next_sequence;
            self.next_sequence = self.next_sequence.wrapping_add(batch.records);
        }
        Some(Effect::Restamp)
    }
}
