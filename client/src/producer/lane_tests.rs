//! The lane against a model of a shard that loses requests, loses answers, refuses and forgets.

use super::lane::{Answer, BatchId, Effect, Lane, Stamp, Verdict};
use proptest::prelude::*;
use std::collections::{BTreeMap, VecDeque};

/// What a shard knows of one producer, by the broker's rules; and what it stored, in order.
#[derive(Debug, Default)]
struct Shard {
    known: Option<(u32, u32)>,
    results: VecDeque<(u32, u32)>,
    stored: Vec<BatchId>,
}

impl Shard {
    fn produce(&mut self, id: BatchId, stamp: Stamp, records: u32) -> Answer {
        let (epoch, next) = match self.known {
            None if stamp.sequence == 0 => (stamp.epoch, 0),
            None => return Answer::Unknown,
            Some((epoch, _)) if stamp.epoch < epoch => return Answer::Stale { epoch },
            Some((epoch, _)) if stamp.epoch > epoch && stamp.sequence == 0 => {
                self.results.clear();
                (stamp.epoch, 0)
            }
            Some((epoch, _)) if stamp.epoch > epoch => return Answer::Gap,
            Some(known) => known,
        };
        if stamp.sequence != next {
            // One behind the oldest result that is kept was stored, and is answered so (`DuplicateForgotten`).
            let oldest = self.results.front().map(|(sequence, _)| *sequence);
            let is_forgotten = oldest.is_some_and(|oldest| stamp.sequence < oldest);
            let is_stored = is_forgotten || self.results.contains(&(stamp.sequence, records));
            return if is_stored {
                Answer::Stored
            } else {
                Answer::Gap
            };
        }
        self.known = Some((epoch, next + records));
        self.results.push_back((stamp.sequence, records));
        if self.results.len() > 5 {
            self.results.pop_front();
        }
        self.stored.push(id);
        Answer::Stored
    }

    fn forget(&mut self) {
        self.known = None;
        self.results.clear();
    }
}

/// One step of the world.
#[derive(Debug, Clone)]
enum Step {
    Push(u32),
    Send,
    /// The shard takes the oldest request on its way.
    Process,
    /// The shard refuses the oldest request on its way.
    Refuse,
    Reject,
    /// The client reads the oldest answer.
    Answer,
    /// The connection breaks; requests and answers on it are gone.
    Break,
    GiveUp,
    Forget,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1u32..5).prop_map(Step::Push),
        6 => Just(Step::Send),
        6 => Just(Step::Process),
        1 => Just(Step::Refuse),
        1 => Just(Step::Reject),
        6 => Just(Step::Answer),
        1 => Just(Step::Break),
        1 => Just(Step::GiveUp),
        1 => Just(Step::Forget),
    ];
    prop::collection::vec(step, 1..200)
}

#[derive(Debug, Default)]
struct World {
    shard: Shard,
    records: BTreeMap<BatchId, u32>,
    requests: VecDeque<(BatchId, Stamp)>,
    answers: VecDeque<(BatchId, Answer)>,
    verdicts: BTreeMap<BatchId, Verdict>,
}

impl World {
    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            if let Effect::Settle(id, verdict) = effect {
                assert_eq!(
                    self.verdicts.insert(id, verdict),
                    None,
                    "batch {id} settled twice"
                );
            }
        }
    }

    fn step(&mut self, lane: &mut Lane, step: &Step) {
        match step {
            Step::Push(records) if lane.has_room() => {
                let (id, _) = lane.push(*records);
                self.records.insert(id, *records);
            }
            Step::Push(_) => {}
            Step::Send => {
                if let Some(id) = lane.next_to_send() {
                    let stamp = lane.stamp(id).expect("it is in the lane");
                    lane.sent(id);
                    self.requests.push_back((id, stamp));
                }
            }
            Step::Process => {
                if let Some((id, stamp)) = self.requests.pop_front() {
                    let answer = self.shard.produce(id, stamp, self.records[&id]);
                    self.answers.push_back((id, answer));
                }
            }
            Step::Refuse => self.answer_without_storing(Answer::Refused),
            Step::Reject => self.answer_without_storing(Answer::Rejected),
            Step::Answer => {
                if let Some((id, answer)) = self.answers.pop_front() {
                    let effects = lane.answered(id, answer);
                    self.perform(effects);
                }
            }
            Step::Break => {
                let answers = self.answers.drain(..).map(|(id, _)| id);
                let lost: Vec<_> = answers
                    .chain(self.requests.drain(..).map(|r| r.0))
                    .collect();
                for id in lost {
                    let effects = lane.answered(id, Answer::Lost);
                    self.perform(effects);
                }
            }
            Step::GiveUp => {
                let oldest = self
                    .records
                    .keys()
                    .find(|id| !self.verdicts.contains_key(id))
                    .copied();
                if let Some(id) = oldest {
                    let effects = lane.give_up(id);
                    self.perform(effects);
                }
            }
            // Shards forget producers after days of silence, longer than any batch is retried. Were one forgotten while
            // its batch with sequence 0 is undecided, the retry would look like a new producer's first batch.
            Step::Forget => {
                let mut undecided = self.records.keys().filter_map(|id| lane.stamp(*id));
                if undecided.all(|stamp| stamp.sequence != 0) {
                    self.shard.forget();
                }
            }
        }
        assert!(lane.unanswered() <= 5);
    }

    fn answer_without_storing(&mut self, answer: Answer) {
        if let Some((id, _)) = self.requests.pop_front() {
            self.answers.push_back((id, answer));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn nothing_is_lost_doubled_or_reordered(steps in steps()) {
        let mut lane = Lane::new(5);
        let mut world = World::default();
        for step in &steps {
            world.step(&mut lane, step);
        }
        // The world heals: everything must be settled in a bounded number of rounds.
        for _ in 0..1000 {
            for step in [Step::Send, Step::Process, Step::Answer] {
                world.step(&mut lane, &step);
            }
        }
        prop_assert!(lane.is_empty(), "stuck: {lane:?}");
        prop_assert_eq!(world.verdicts.len(), world.records.len());
        let stored = &world.shard.stored;
        let maybe = |id: &BatchId| world.verdicts[id] == Verdict::Maybe;
        for (id, verdict) in &world.verdicts {
            let times = stored.iter().filter(|s| *s == id).count();
            match verdict {
                Verdict::Stored => prop_assert_eq!(times, 1, "batch {}", id),
                Verdict::NotStored => prop_assert_eq!(times, 0, "batch {}", id),
                Verdict::Maybe => prop_assert!(times <= 1, "batch {}", id),
            }
        }
        prop_assert!(stored.is_sorted(), "order {stored:?}, maybe {:?}",
            stored.iter().filter(|id| maybe(id)).collect::<Vec<_>>());
    }
}

#[test]
fn a_refused_head_is_sent_again_with_all_behind_it() {
    let mut lane = Lane::new(5);
    let ids: Vec<_> = (0..3).map(|_| lane.push(2).0).collect();
    ids.iter().for_each(|id| lane.sent(*id));
    assert_eq!(lane.answered(ids[0], Answer::Refused), []);
    assert_eq!(lane.answered(ids[1], Answer::Unknown), []);
    assert_eq!(
        lane.next_to_send(),
        None,
        "the third one is still unanswered"
    );
    assert_eq!(lane.answered(ids[2], Answer::Unknown), [Effect::BackOff]);
    assert_eq!(lane.next_to_send(), Some(ids[0]));
    assert_eq!(
        lane.stamp(ids[2]),
        Some(Stamp {
            epoch: 0,
            sequence: 4
        }),
        "same sequences"
    );
}

#[test]
fn what_stands_behind_a_rejected_batch_is_numbered_anew() {
    let mut lane = Lane::new(5);
    let ids: Vec<_> = (0..2).map(|_| lane.push(3).0).collect();
    ids.iter().for_each(|id| lane.sent(*id));
    assert_eq!(lane.answered(ids[1], Answer::Unknown), []);
    let effects = lane.answered(ids[0], Answer::Rejected);
    assert_eq!(effects[0], Effect::Settle(ids[0], Verdict::NotStored));
    assert!(effects.contains(&Effect::Restamp));
    assert_eq!(
        lane.stamp(ids[1]),
        Some(Stamp {
            epoch: 1,
            sequence: 0
        })
    );
}

#[test]
fn doubt_that_cannot_be_settled_is_maybe() {
    let mut lane = Lane::new(5);
    let (first, _) = lane.push(1);
    lane.sent(first);
    lane.answered(first, Answer::Stored);
    let (second, stamp) = lane.push(1);
    assert_eq!(stamp.sequence, 1);
    lane.sent(second);
    lane.answered(second, Answer::Lost);
    lane.sent(second);
    let effects = lane.answered(second, Answer::Unknown);
    assert!(
        effects.contains(&Effect::Settle(second, Verdict::Maybe)),
        "{effects:?}"
    );
}
