//! Leases: which member of a group owns a queue.
//!
//! The log decides who owns: a grant replaces the lease before it, and only the holder of the lease in the state
//! may commit. Time decides only when somebody else *may* be granted the queue. Grants and releases are records;
//! renewals are not, so deadlines live here, in memory, and after a restart each lease gets one full term.
//!
//! A queue lock of RocketMQ is a lease whose holder is the client. A native member renews all that it holds at once;
//! a lock is renewed for itself, because a client that gave up one queue goes on renewing the others, and its one-way
//! unlock may be lost.

use super::limits::{LEASE_TERM_MS_DEFAULT, LEASE_TERM_MS_MAX, LEASE_TERM_MS_MIN};
use super::{Group, Lease, ShardState};
use ringmq_storage_engine::position::{Position, QueueHandle};
use std::collections::BTreeMap;
use std::time::Duration;

/// When members were last heard of. One for each shard, beside its state.
#[derive(Debug)]
pub struct Deadlines {
    /// When the shard started to serve: what an unheard member is taken to have said last.
    started_at: Duration,
    /// Group → member → last sign of life. Only members that hold a lease.
    seen: BTreeMap<Box<str>, BTreeMap<Box<str>, Duration>>,
    len: usize,
    /// Sweep when `len` reaches this.
    sweep_at: usize,
    /// Locks by lease id → last renewal.
    locks: BTreeMap<Position, Duration>,
    /// Sweep the locks when there are so many.
    sweep_locks_at: usize,
}

const SWEEP_AT_MIN: usize = 64;

impl Deadlines {
    /// `now`: monotonic time, as in all other calls.
    pub fn new(now: Duration) -> Self {
        Self {
            started_at: now,
            seen: BTreeMap::new(),
            len: 0,
            sweep_at: SWEEP_AT_MIN,
            locks: BTreeMap::new(),
            sweep_locks_at: SWEEP_AT_MIN,
        }
    }

    /// The member lives: all its leases run for another term from now. Does nothing for who holds none.
    pub fn renew(&mut self, state: &ShardState, group: &str, member: &str, now: Duration) {
        if state
            .group(group)
            .is_some_and(|group| group.is_holder(member))
        {
            self.mark(group, member, now);
        }
    }

    /// Notes a sign of life; also call it with each grant.
    pub fn mark(&mut self, group: &str, member: &str, now: Duration) {
        if let Some(seen) = self
            .seen
            .get_mut(group)
            .and_then(|group| group.get_mut(member))
        {
            *seen = now;
            return;
        }
        if self.len >= self.sweep_at {
            self.sweep(now);
        }
        let members = self.seen.entry(group.into()).or_default();
        members.insert(member.into(), now);
        self.len += 1;
    }

    /// The lock with this lease id is renewed or granted now. Each lock needs a grant record of its own.
    pub fn mark_lock(&mut self, lease: Position, now: Duration) {
        if self.locks.len() >= self.sweep_locks_at {
            // Without its renewal an old lock would count from the start of the shard, which is longer ago still.
            let oldest = now.saturating_sub(Duration::from_millis(LEASE_TERM_MS_MAX.into()));
            self.locks.retain(|_, &mut seen| seen >= oldest);
            self.sweep_locks_at = (2 * self.locks.len()).max(SWEEP_AT_MIN);
        }
        self.locks.insert(lease, now);
    }

    /// Forgets signs of life too old to keep any lease: without them the lease is expired just as well.
    fn sweep(&mut self, now: Duration) {
        let oldest = now.saturating_sub(Duration::from_millis(LEASE_TERM_MS_MAX.into()));
        for members in self.seen.values_mut() {
            members.retain(|_, &mut seen| seen >= oldest);
        }
        self.seen.retain(|_, members| !members.is_empty());
        self.len = self.seen.values().map(BTreeMap::len).sum();
        // At least doubling keeps the cost of sweeping constant for each mark.
        self.sweep_at = (2 * self.len).max(SWEEP_AT_MIN);
    }

    /// How long the lease still runs; zero: others may have the queue.
    pub fn remaining(&self, group: &str, lease: &Lease, now: Duration) -> Duration {
        let lock = self.locks.get(&lease.id);
        let seen = lock.or_else(|| self.seen.get(group)?.get(&*lease.member));
        let seen = seen.copied().unwrap_or(self.started_at);
        let term = Duration::from_millis(lease.term_ms.into());
        (seen + term).saturating_sub(now)
    }

    /// How many members are kept.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// The term that a member gets for the one it asks for; 0: it has no wish.
pub fn term_ms(asked_ms: u32) -> u32 {
    match asked_ms {
        0 => LEASE_TERM_MS_DEFAULT,
        asked => asked.clamp(LEASE_TERM_MS_MIN, LEASE_TERM_MS_MAX),
    }
}

/// What an acquisition of one queue comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acquire {
    /// Grant it by a record; the lease id is the record's position.
    Grant,
    /// The member holds it already: renewed.
    Held { lease: Position },
    /// Somebody else holds it.
    Refused { holder: String, remaining: Duration },
}

/// Decides on one queue; `term_ms` comes from [`term_ms`].
pub fn acquire(
    state: &ShardState,
    deadlines: &Deadlines,
    group: &str,
    member: &str,
    handle: QueueHandle,
    term_ms: u32,
    now: Duration,
) -> Acquire {
    let entry = state.group_queue(group, handle);
    let Some(lease) = entry.and_then(|entry| entry.lease.as_ref()) else {
        return Acquire::Grant;
    };
    if *lease.member == *member {
        // A longer term is a new promise, so it needs a record. A shorter one changes nothing: the member may
        // still count on the longer, whose answer it had first.
        return if term_ms <= lease.term_ms {
            Acquire::Held { lease: lease.id }
        } else {
            Acquire::Grant
        };
    }
    let remaining = deadlines.remaining(group, lease, now);
    if remaining.is_zero() {
        return Acquire::Grant;
    }
    Acquire::Refused {
        holder: lease.member.to_string(),
        remaining,
    }
}

/// Whether a release by `member` changes anything: only the holder's does.
pub fn is_releasable(state: &ShardState, group: &str, member: &str, handle: QueueHandle) -> bool {
    let entry = state.group_queue(group, handle);
    let lease = entry.and_then(|entry| entry.lease.as_ref());
    lease.is_some_and(|lease| *lease.member == *member)
}

/// All queues here that `member` holds for `group`.
pub fn held_by(state: &ShardState, group: &str, member: &str) -> Vec<QueueHandle> {
    let Some(group) = state.group(group).filter(|group| group.is_holder(member)) else {
        return Vec::new();
    };
    let queues = group.queues();
    queues
        .filter(|(_, queue)| queue.lease.as_ref().is_some_and(|l| *l.member == *member))
        .map(|(handle, _)| handle)
        .collect()
}

/// The running lease of a queue, if any, and how long it still runs.
pub fn running<'a>(
    state: &'a ShardState,
    deadlines: &Deadlines,
    group: &str,
    handle: QueueHandle,
    now: Duration,
) -> Option<(&'a Lease, Duration)> {
    let lease = state.group_queue(group, handle)?.lease.as_ref()?;
    let remaining = deadlines.remaining(group, lease, now);
    (!remaining.is_zero()).then_some((lease, remaining))
}

/// Whether a member or client of the group holds any queue here now.
pub fn any_running(state: &ShardState, deadlines: &Deadlines, group: &str, now: Duration) -> bool {
    let queues = state.group(group).into_iter().flat_map(Group::queues);
    let mut leases = queues.filter_map(|(_, queue)| queue.lease.as_ref());
    leases.any(|lease| !deadlines.remaining(group, lease, now).is_zero())
}
