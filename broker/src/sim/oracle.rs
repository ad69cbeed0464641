//! What the outside knows for certain, and what must therefore be true for ever.
//!
//! - A message that was acknowledged as durable, or that a consumer saw, is at its offset with its bytes as long as
//!   its topic lives and retention has not passed it.
//! - One offset has one content; messages of a producer are stored once, in order, without inventions; what a producer
//!   was told is not stored is not.
//! - A group's committed offset does not go back, unless an operator resets it, or a RocketMQ consumer does it itself.
//! - A queue's lock has one holder at a time.
//! - Consumers of a group divide the queues among themselves, each for one of them, once nothing changes any more.

use super::commits::{SharedOffset, Ticket};
use super::message::Message;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Low half of a topic's incarnation, unique in a run.
pub type Incarnation = u64;
/// A queue of one incarnation of a topic.
pub type QueueId = (Incarnation, u32);

/// How a message ended for its producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Stored,
    NotStored,
    Maybe,
}

/// A topic as its administrator knows it.
#[derive(Debug, Clone)]
pub struct TopicFact {
    pub name: String,
    /// Small and unique in a run: what belongs to the topic is named after it.
    pub number: u64,
    pub queues: u32,
    pub placement: Vec<String>,
    /// Every share is acknowledged.
    pub created: bool,
    /// RocketMQ clients use it too, so it stays: what they send to a topic that is gone would make another.
    pub remoting: bool,
    /// Its deletion was asked for: it may be gone.
    pub deleting: bool,
    /// Its deletion was acknowledged by every share.
    pub deleted: bool,
}

impl TopicFact {
    /// Name of the shard that has the queue.
    pub fn shard_of(&self, queue: u32) -> &str {
        &self.placement[queue as usize % self.placement.len()]
    }
}

#[derive(Debug, Default)]
struct LaneFact {
    /// Numbers below this were sent, or may have been.
    submitted: u64,
    durable: bool,
    outcomes: BTreeMap<u64, Outcome>,
}

#[derive(Debug, Default, Clone, Copy)]
struct GroupFact {
    /// At least this is committed.
    floor: u64,
    /// Raised when a reset begins and when it ends: commits that overlap one prove nothing.
    resets: u64,
    /// The newest lease that was granted.
    lease: u64,
    /// A reset got no answer: it may still happen, at any time.
    unknown: bool,
}

/// Who has locked a queue, for certain.
#[derive(Debug)]
struct LockFact {
    holder: String,
    from: Duration,
    until: Duration,
}

/// A queue that RocketMQ consumers of a group share.
#[derive(Debug, Default)]
struct SharedFact {
    offset: SharedOffset,
    /// Those who read it.
    readers: BTreeSet<String>,
    lock: Option<LockFact>,
    /// Their unlocking got no answer: it may still happen, at any time.
    may_unlock: BTreeSet<String>,
}

/// A commit that is about to be asked for.
#[derive(Debug, Clone, Copy)]
pub struct CommitAsked {
    resets: u64,
    newest_lease: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Oracle {
    topics: BTreeMap<Incarnation, TopicFact>,
    known: BTreeMap<QueueId, BTreeMap<u64, Message>>,
    lanes: BTreeMap<(QueueId, u64), LaneFact>,
    groups: BTreeMap<(String, QueueId), GroupFact>,
    /// Of groups of RocketMQ consumers.
    shared: BTreeMap<(String, QueueId), SharedFact>,
    /// Batches that were told to be stored already.
    pub duplicates: u64,
    pub acknowledged: u64,
    pub seen: u64,
    pub commits: u64,
}

impl Oracle {
    // Topics.

    pub fn topic_asked(&mut self, incarnation: Incarnation, topic: TopicFact) {
        self.topics.insert(incarnation, topic);
    }

    pub fn topic(&mut self, incarnation: Incarnation) -> &mut TopicFact {
        let topic = self.topics.get_mut(&incarnation);
        topic.expect("nobody else makes topics")
    }

    pub fn topics(&self) -> impl Iterator<Item = (Incarnation, &TopicFact)> {
        self.topics.iter().map(|(id, topic)| (*id, topic))
    }

    pub fn may_be_deleted(&self, incarnation: Incarnation) -> bool {
        self.topics
            .get(&incarnation)
            .is_some_and(|topic| topic.deleting)
    }

    // Messages.

    /// Messages below `end` of this producer may be on their way.
    pub fn submitted(&mut self, queue: QueueId, producer: u64, end: u64, durable: bool) {
        let lane = self.lanes.entry((queue, producer)).or_default();
        lane.submitted = end;
        lane.durable = durable;
    }

    /// A producer was told that the message is on disk, and where.
    pub fn acknowledged(&mut self, queue: QueueId, offset: u64, message: Message) {
        self.acknowledged += 1;
        self.learn(queue, offset, message, "acknowledged");
    }

    /// A consumer got the message.
    pub fn seen(&mut self, queue: QueueId, offset: u64, message: Message) {
        self.seen += 1;
        self.learn(queue, offset, message, "delivered");
    }

    fn learn(&mut self, queue: QueueId, offset: u64, message: Message, how: &str) {
        let of_queue = self.known.entry(queue).or_default();
        let earlier = *of_queue.entry(offset).or_insert(message);
        assert_eq!(
            earlier, message,
            "offset {offset} of {queue:?} was {earlier}, now {message} is {how}"
        );
        let lane = self.lanes.get(&(queue, message.producer));
        let lane = lane.unwrap_or_else(|| panic!("{message} in {queue:?} was never sent there"));
        assert!(
            message.number < lane.submitted,
            "{message} in {queue:?} was never sent"
        );
        let outcome = lane.outcomes.get(&message.number);
        assert_ne!(
            outcome,
            Some(&Outcome::NotStored),
            "{message} is at {offset} of {queue:?}"
        );
    }

    /// Whether anybody was told where the message is.
    pub fn is_known(&self, queue: QueueId, message: Message) -> bool {
        let known = self.known.get(&queue);
        known.is_some_and(|known| known.values().any(|found| *found == message))
    }

    /// A producer is done with a message.
    pub fn settled(&mut self, queue: QueueId, producer: u64, number: u64, outcome: Outcome) {
        let lane = self.lanes.entry((queue, producer)).or_default();
        lane.outcomes.insert(number, outcome);
        if outcome == Outcome::NotStored {
            let message = Message { producer, number };
            assert!(
                !self.is_known(queue, message),
                "{message} is in {queue:?}, but its producer is told that it is not"
            );
        }
    }

    /// The whole queue as a reader finds it: `first` is its minimum offset.
    pub fn check_queue(&self, queue: QueueId, first: u64, messages: &[Message]) {
        let mut last: BTreeMap<u64, u64> = BTreeMap::new();
        for (message, offset) in messages.iter().zip(first..) {
            let before = last.insert(message.producer, message.number);
            assert!(
                before.is_none_or(|before| before < message.number),
                "{message} at {offset} of {queue:?} is behind number {before:?}: twice, or out of order"
            );
        }
        let end = first + messages.len() as u64;
        let known = self.known.get(&queue);
        for (offset, message) in known.into_iter().flat_map(|known| known.range(first..)) {
            assert!(
                *offset < end,
                "{message} at {offset} of {queue:?} is lost: the queue ends at {end}"
            );
            let found = messages[(offset - first) as usize];
            assert!(
                found == *message,
                "offset {offset} of {queue:?} was {message}, now it is {found}"
            );
        }
        let lanes = self.lanes.iter().filter(|((of, _), _)| *of == queue);
        for ((_, producer), lane) in lanes.filter(|(_, lane)| lane.durable && first == 0) {
            let stored = lane
                .outcomes
                .iter()
                .filter(|(_, outcome)| **outcome == Outcome::Stored);
            let expected = stored.count();
            let found = messages.iter().filter(|message| {
                let outcome = lane.outcomes.get(&message.number);
                message.producer == *producer && outcome == Some(&Outcome::Stored)
            });
            let found = found.count();
            assert!(
                found >= expected,
                "{queue:?} has {found} of {expected} stored messages of {producer}"
            );
        }
    }

    /// The first offset behind everything that is known of a queue.
    pub fn known_end(&self, queue: QueueId) -> u64 {
        let last = self
            .known
            .get(&queue)
            .and_then(|known| known.keys().next_back());
        last.map_or(0, |last| last + 1)
    }

    // Groups.

    fn group(&mut self, group: &str, queue: QueueId) -> &mut GroupFact {
        self.groups.entry((group.to_owned(), queue)).or_default()
    }

    /// What is known before a group's place is asked for: at least this is committed, unless it is reset meanwhile.
    pub fn place_asked(&mut self, group: &str, queue: QueueId) -> (u64, u64) {
        let fact = self.group(group, queue);
        (fact.floor, fact.resets)
    }

    /// The answer to that.
    pub fn placed(
        &mut self,
        group: &str,
        queue: QueueId,
        asked: (u64, u64),
        committed: Option<u64>,
    ) {
        let fact = self.group(group, queue);
        let (floor, resets) = asked;
        if fact.resets == resets && !fact.unknown {
            let committed = committed.unwrap_or(0);
            assert!(
                committed >= floor,
                "{group} in {queue:?} went back from {floor} to {committed}"
            );
        }
    }

    /// A lease was granted or renewed.
    pub fn leased(&mut self, group: &str, queue: QueueId, lease: u64) {
        let fact = self.group(group, queue);
        fact.lease = fact.lease.max(lease);
    }

    pub fn commit_asked(&mut self, group: &str, queue: QueueId) -> CommitAsked {
        let fact = self.group(group, queue);
        CommitAsked {
            resets: fact.resets,
            newest_lease: fact.lease,
        }
    }

    /// The commit was acknowledged.
    pub fn committed(
        &mut self,
        group: &str,
        queue: QueueId,
        asked: CommitAsked,
        lease: u64,
        offset: u64,
    ) {
        self.commits += 1;
        let fact = self.group(group, queue);
        assert!(
            lease >= asked.newest_lease,
            "{group} committed {offset} in {queue:?} under lease {lease}; {} had been granted before",
            asked.newest_lease
        );
        if fact.resets == asked.resets {
            fact.floor = fact.floor.max(offset);
        }
    }

    /// An operator is about to set the group to `offset`, or has just done so.
    pub fn reset(&mut self, group: &str, queue: QueueId, offset: u64) {
        let fact = self.group(group, queue);
        fact.resets += 1;
        fact.floor = fact.floor.min(offset);
    }

    /// A reset got no answer.
    pub fn reset_unanswered(&mut self, group: &str, queue: QueueId) {
        self.group(group, queue).unknown = true;
    }

    // Groups of RocketMQ consumers.

    fn shared_fact(&mut self, group: &str, queue: QueueId) -> &mut SharedFact {
        self.shared.entry((group.to_owned(), queue)).or_default()
    }

    /// What is known of the group's place in a queue.
    pub fn shared(&mut self, group: &str, queue: QueueId) -> &mut SharedOffset {
        &mut self.shared_fact(group, queue).offset
    }

    /// A shard wrote what a consumer committed.
    pub fn shared_committed(&mut self, group: &str, queue: QueueId, commit: Ticket) {
        self.commits += 1;
        self.shared(group, queue).committed(commit);
    }

    /// A shard said what is committed.
    pub fn shared_placed(
        &mut self,
        group: &str,
        queue: QueueId,
        question: Ticket,
        committed: Option<u64>,
    ) {
        let floor = self.shared(group, queue).answered(question);
        let committed = committed.unwrap_or(0);
        assert!(
            committed >= floor,
            "{group} in {queue:?} went back from {floor} to {committed}, which nobody committed"
        );
    }

    /// A consumer begins to read a queue, or lets go of it.
    pub fn reads(&mut self, group: &str, queue: QueueId, member: &str, begins: bool) {
        let readers = &mut self.shared_fact(group, queue).readers;
        if begins {
            readers.insert(member.to_owned());
        } else {
            readers.remove(member);
        }
    }

    /// Consumers that read a queue for a group.
    pub fn readers(&self, group: &str, queue: QueueId) -> usize {
        let fact = self.shared.get(&(group.to_owned(), queue));
        fact.map_or(0, |fact| fact.readers.len())
    }

    /// A consumer was told that it has a queue's lock, for `term` since a moment between the two.
    pub fn locked(
        &mut self,
        group: &str,
        queue: QueueId,
        member: &str,
        (asked, answered): (Duration, Duration),
        term: Duration,
    ) {
        let fact = self.shared_fact(group, queue);
        let mut from = answered;
        if let Some(lock) = &fact.lock {
            let is_held = lock.from <= asked && answered < lock.until;
            assert!(
                lock.holder == member || !is_held,
                "{member} got the lock of {queue:?} between {asked:?} and {answered:?}: {lock:?}"
            );
            if lock.holder == member && is_held {
                from = lock.from;
            }
        }
        let is_certain = !fact.may_unlock.contains(member);
        fact.lock = is_certain.then(|| LockFact {
            holder: member.to_owned(),
            from,
            until: asked + term,
        });
    }

    /// A consumer gives a queue's lock back, if it has it.
    pub fn unlock_asked(&mut self, group: &str, queue: QueueId, member: &str) {
        let fact = self.shared_fact(group, queue);
        fact.lock.take_if(|lock| lock.holder == member);
        fact.may_unlock.insert(member.to_owned());
    }

    /// It has not got it now.
    pub fn unlock_answered(&mut self, group: &str, queue: QueueId, member: &str) {
        self.shared_fact(group, queue).may_unlock.remove(member);
    }
}
