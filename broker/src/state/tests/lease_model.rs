//! Members of a group over a slow network, against a shard that crashes: two never both own a queue.
//!
//! A member believes that it owns a queue from the answer to its acquisition until one term after it *sent* the
//! last acquisition or heartbeat whose answer came while it still believed. Its requests arrive in order (one
//! connection); it forgets answers to acquisitions that it sent before a release.

use super::world::{World, offset};
use super::{Random, with_seeds};
use crate::state::leases::{Acquire, Deadlines, acquire, is_releasable, term_ms};
use crate::state::offsets::{Commit, QueueRange, commit};
use crate::state::record::GroupOffsets;
use crate::state::{ControlRecord, StateLimits};
use ringmq_storage_engine::position::{Position, QueueHandle, QueueOffset};
use std::collections::BTreeMap;
use std::time::Duration;

const GROUP: &str = "g";
const MEMBERS: [&str; 3] = ["m0", "m1", "m2"];

#[derive(Debug, Clone, Copy)]
enum Ask {
    Acquire(QueueHandle, u32),
    Heartbeat,
    Release(QueueHandle),
    Commit(QueueHandle, Position, QueueOffset),
}

#[derive(Debug, Clone, Copy)]
enum Told {
    Owns(QueueHandle, Position, u32),
    Alive,
}

struct Message<T> {
    member: usize,
    sent_at: Duration,
    number: u64,
    body: T,
    /// Answers go out once durable has reached this.
    after: Position,
}

#[derive(Debug, Clone, Copy)]
struct Belief {
    lease: Position,
    term: Duration,
    until: Duration,
}

struct Model {
    world: World,
    handles: Vec<QueueHandle>,
    deadlines: Deadlines,
    durable: Position,
    now: Duration,
    asks: Vec<Message<Ask>>,
    answers: Vec<Message<Told>>,
    beliefs: BTreeMap<(usize, QueueHandle), Belief>,
    /// When a member last gave a queue back: the count of its requests then.
    released: BTreeMap<(usize, QueueHandle), u64>,
    sent: u64,
    /// Committed and answered.
    committed: BTreeMap<QueueHandle, QueueOffset>,
    takeovers: usize,
}

impl Model {
    fn new() -> Self {
        let mut world = World::new(StateLimits::default());
        let handles = world.topic("orders", 2);
        Self {
            durable: world.end,
            world,
            handles,
            deadlines: Deadlines::new(Duration::ZERO),
            now: Duration::ZERO,
            asks: Vec::new(),
            answers: Vec::new(),
            beliefs: BTreeMap::new(),
            released: BTreeMap::new(),
            sent: 0,
            committed: BTreeMap::new(),
            takeovers: 0,
        }
    }

    fn ask(&mut self, random: &mut Random) {
        let member = random.below(MEMBERS.len());
        let handle = *random.pick(&self.handles).expect("there are queues");
        let belief = self.beliefs.get(&(member, handle)).copied();
        let body = match random.below(10) {
            0..4 => Ask::Acquire(handle, term_ms([2_000, 2_000, 3_000][random.below(3)])),
            4..7 => Ask::Heartbeat,
            7 => {
                // It stops before it says so.
                self.beliefs.remove(&(member, handle));
                self.released.insert((member, handle), self.sent);
                Ask::Release(handle)
            }
            _ => {
                let lease = belief.map_or(Position(random.next() % 9_000), |b| b.lease);
                Ask::Commit(handle, lease, offset(random.next() % 100))
            }
        };
        self.sent += 1;
        self.asks.push(Message {
            member,
            sent_at: self.now,
            number: self.sent,
            body,
            after: Position(0),
        });
    }

    fn serve(&mut self, random: &mut Random) {
        if self.asks.is_empty() {
            return;
        }
        let picked = self.asks[random.below(self.asks.len())].member;
        let first = self.asks.iter().position(|ask| ask.member == picked);
        let ask = self.asks.remove(first.expect("picked from here"));
        if random.percent(10) {
            return;
        }
        let member = MEMBERS[ask.member];
        let told = match ask.body {
            Ask::Acquire(handle, term) => self
                .grant(member, handle, term)
                .map(|lease| Told::Owns(handle, lease, term)),
            Ask::Heartbeat => {
                self.deadlines
                    .renew(&self.world.state, GROUP, member, self.now);
                Some(Told::Alive)
            }
            Ask::Release(handle) => {
                if is_releasable(&self.world.state, GROUP, member, handle) {
                    self.world.control(&ControlRecord::LeaseRelease {
                        group: GROUP.into(),
                        handles: vec![handle],
                    });
                }
                None
            }
            Ask::Commit(handle, lease, offset) => {
                self.commit(ask.member, handle, lease, offset);
                None
            }
        };
        if let Some(body) = told {
            self.answers.push(Message {
                member: ask.member,
                sent_at: ask.sent_at,
                number: ask.number,
                body,
                after: self.world.end,
            });
        }
    }

    fn grant(&mut self, member: &str, handle: QueueHandle, term: u32) -> Option<Position> {
        let state = &self.world.state;
        let had = state
            .group_queue(GROUP, handle)
            .and_then(|entry| entry.lease.clone());
        match acquire(
            state,
            &self.deadlines,
            GROUP,
            member,
            handle,
            term,
            self.now,
        ) {
            Acquire::Grant => {
                self.takeovers += usize::from(had.is_some_and(|had| *had.member != *member));
                self.deadlines.mark(GROUP, member, self.now);
                Some(self.world.control(&ControlRecord::LeaseGrant {
                    group: GROUP.into(),
                    member: member.into(),
                    term_ms: term,
                    handles: vec![handle],
                }))
            }
            Acquire::Held { lease } => {
                self.deadlines
                    .renew(&self.world.state, GROUP, member, self.now);
                Some(lease)
            }
            Acquire::Refused { holder, remaining } => {
                assert_ne!(holder, member);
                assert!(!remaining.is_zero());
                None
            }
        }
    }

    fn commit(&mut self, member: usize, handle: QueueHandle, lease: Position, at: QueueOffset) {
        let range = QueueRange {
            min: offset(0),
            visible: offset(80),
        };
        let asked = Commit {
            group: GROUP,
            member: MEMBERS[member],
            lease,
            handle,
            offset: at,
        };
        let state = &self.world.state;
        let held = state
            .group_queue(GROUP, handle)
            .and_then(|entry| entry.lease.as_ref());
        let may = held.is_some_and(|l| l.id == lease && *l.member == *MEMBERS[member]);
        let decided = commit(state, range, asked);
        assert_eq!(decided.is_ok(), may);
        if let Ok(Some(to)) = decided {
            assert!(
                state
                    .committed(GROUP, handle)
                    .is_none_or(|committed| committed < to)
            );
            assert!(to <= range.visible);
            self.world
                .control(&ControlRecord::OffsetsPut(vec![GroupOffsets {
                    group: GROUP.into(),
                    offsets: vec![(handle, to)],
                }]));
        }
    }

    fn hear(&mut self, random: &mut Random) {
        if random.percent(70) {
            self.durable = self.world.end;
            for &handle in &self.handles {
                if let Some(committed) = self.world.state.committed(GROUP, handle) {
                    self.committed.insert(handle, committed);
                }
            }
        }
        let ready = |answer: &Message<Told>| answer.after <= self.durable;
        let Some(at) = self.answers.iter().position(ready) else {
            return;
        };
        let answer = self.answers.swap_remove(at);
        match answer.body {
            Told::Owns(handle, lease, term) => {
                let term = Duration::from_millis(term.into());
                let until = answer.sent_at + term;
                let released = self.released.get(&(answer.member, handle));
                let is_current = released.is_none_or(|&released| answer.number > released);
                if until > self.now && is_current {
                    let belief = Belief { lease, term, until };
                    self.beliefs.insert((answer.member, handle), belief);
                }
            }
            Told::Alive => {
                for ((member, _), belief) in &mut self.beliefs {
                    if *member == answer.member && belief.until > self.now {
                        belief.until = belief.until.max(answer.sent_at + belief.term);
                    }
                }
            }
        }
    }

    fn crash(&mut self, random: &mut Random) {
        let end = if random.percent(50) {
            self.durable
        } else {
            self.world.end
        };
        self.world.crash(end);
        self.durable = end;
        self.deadlines = Deadlines::new(self.now);
        self.answers.clear();
        self.asks.clear();
        for (&handle, &committed) in &self.committed {
            let now = self.world.state.committed(GROUP, handle);
            assert!(now.is_some_and(|now| now >= committed));
        }
    }

    fn check(&mut self) {
        let now = self.now;
        self.beliefs.retain(|_, belief| belief.until > now);
        for &handle in &self.handles {
            let owners = self.beliefs.keys().filter(|(_, queue)| *queue == handle);
            assert!(owners.count() <= 1, "two members own queue {handle:?}");
        }
        // Who believes holds the lease in the state, so its commits are taken.
        for (&(member, handle), belief) in &self.beliefs {
            let entry = self.world.state.group_queue(GROUP, handle);
            let lease = entry
                .and_then(|entry| entry.lease.as_ref())
                .expect("leased");
            assert_eq!(&*lease.member, MEMBERS[member]);
            assert!(belief.lease <= lease.id);
        }
    }
}

#[test]
fn two_members_never_both_own_a_queue() {
    let takeovers = std::cell::Cell::new(0);
    with_seeds(300, |random| {
        let mut model = Model::new();
        for _ in 0..400 {
            model.now += Duration::from_millis(random.next() % [10, 100, 3_000][random.below(3)]);
            match random.below(100) {
                0..35 => model.ask(random),
                35..70 => model.serve(random),
                70..98 => model.hear(random),
                _ => model.crash(random),
            }
            model.check();
        }
        takeovers.set(takeovers.get() + model.takeovers);
    });
    assert!(
        takeovers.get() > 0,
        "some leases ran out and were taken over"
    );
}

#[test]
fn after_a_restart_each_lease_gets_one_full_term() {
    let mut world = World::new(StateLimits::default());
    let handle = world.topic("orders", 1)[0];
    world.control(&ControlRecord::LeaseGrant {
        group: GROUP.into(),
        member: "m0".into(),
        term_ms: 5_000,
        handles: vec![handle],
    });
    let state = world.replay(&world.snapshot(1));
    let start = Duration::from_secs(1_000);
    let deadlines = Deadlines::new(start);
    let at = |after_ms| {
        let now = start + Duration::from_millis(after_ms);
        acquire(&state, &deadlines, GROUP, "m1", handle, 5_000, now)
    };
    let refused = |remaining_ms| Acquire::Refused {
        holder: "m0".to_owned(),
        remaining: Duration::from_millis(remaining_ms),
    };
    assert_eq!(at(0), refused(5_000));
    assert_eq!(at(4_999), refused(1));
    assert_eq!(at(5_000), Acquire::Grant);
}

#[test]
fn signs_of_life_are_bounded() {
    let mut deadlines = Deadlines::new(Duration::ZERO);
    for step in 0..20_000u64 {
        let now = Duration::from_secs(10 * step);
        deadlines.mark(GROUP, &format!("m{step}"), now);
    }
    assert!(deadlines.len() < 300, "{} kept", deadlines.len());
    // Who holds nothing leaves no trace.
    let state = World::new(StateLimits::default()).state;
    let mut deadlines = Deadlines::new(Duration::ZERO);
    deadlines.renew(&state, GROUP, "m1", Duration::ZERO);
    assert!(deadlines.is_empty());
}

#[test]
fn a_lease_is_never_shortened() {
    let mut world = World::new(StateLimits::default());
    let handle = world.topic("orders", 1)[0];
    let lease = world.control(&ControlRecord::LeaseGrant {
        group: GROUP.into(),
        member: "m0".into(),
        term_ms: 5_000,
        handles: vec![handle],
    });
    let deadlines = Deadlines::new(Duration::ZERO);
    let ask = |term| {
        acquire(
            &world.state,
            &deadlines,
            GROUP,
            "m0",
            handle,
            term,
            Duration::ZERO,
        )
    };
    assert_eq!(ask(2_000), Acquire::Held { lease });
    assert_eq!(ask(5_000), Acquire::Held { lease });
    assert_eq!(ask(6_000), Acquire::Grant);
}
