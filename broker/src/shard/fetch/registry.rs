//! The table of fetch sessions of a shard. Pure: no clock, no log, no socket.
//!
//! A slot is one queue of one session. It is `Idle` (all visible messages were served), `Ready` (in the session's
//! ready list), `Serving` (handed out as a [`Turn`]) or `Paused`. Only queues that gain visible messages are ever
//! looked at, so an idle slot costs its memory and nothing else.
//!
//! Invariants:
//! - A slot that is not paused and whose next offset is below the visible one is `Ready` or `Serving`.
//! - A `Ready` slot has exactly one live entry in the ready list; its ticket tells it from entries that a pause,
//!   a seek or a removal left behind. Those are dropped when they come up, and swept when they outnumber the slots.
//! - Turns are handed out from the front and go back to the end, so no ready slot waits longer than one turn of
//!   every other ready slot.

use ringmq_storage_engine::position::{QueueHandle, QueueOffset};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Number of a session within its shard; never 0, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u32);

/// What a slot reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    pub queue: QueueHandle,
    /// The next offset wanted.
    pub offset: QueueOffset,
    /// Tags codes wanted; `None`: all messages.
    pub tags: Option<Rc<[u32]>>,
}

/// A slot's turn to be read. Give it back with [`FetchRegistry::finish`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    pub slot: u32,
    pub subscription: Subscription,
}

/// How a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Read up to `next`; the queue is visible up to `visible` by now.
    Progress {
        next: QueueOffset,
        visible: QueueOffset,
    },
    /// Not served after all: first in line again.
    Unserved,
    /// An error was reported for the slot: paused until the client seeks and resumes.
    Failed,
}

/// Why a slot cannot be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SlotError {
    #[error("slot {0} is in use")]
    InUse(u32),
    #[error("slot {0} is not in the session")]
    Unknown(u32),
    #[error("a session has at most {0} slots")]
    TooMany(usize),
}

#[derive(Debug)]
struct Slot {
    subscription: Subscription,
    state: SlotState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SlotState {
    Idle,
    /// With the ticket of its entry in the ready list.
    Ready(u64),
    Serving,
    Paused,
}

#[derive(Debug, Default)]
struct Session {
    slots: BTreeMap<u32, Slot>,
    ready: VecDeque<(u32, u64)>,
    ready_count: usize,
    next_ticket: u64,
    waker: Option<Waker>,
}

/// See the module.
#[derive(Debug)]
pub struct FetchRegistry {
    sessions: BTreeMap<SessionId, Session>,
    /// Every slot, by the queue that it reads.
    by_queue: BTreeSet<(QueueHandle, SessionId, u32)>,
    last_session: u32,
    slots_max: usize,
}

impl FetchRegistry {
    /// `slots_max`: slots of one session.
    pub fn new(slots_max: usize) -> Self {
        Self {
            sessions: BTreeMap::new(),
            by_queue: BTreeSet::new(),
            last_session: 0,
            slots_max,
        }
    }

    pub fn open(&mut self) -> SessionId {
        self.last_session = self
            .last_session
            .checked_add(1)
            .expect("four billion sessions outlast a process");
        let id = SessionId(self.last_session);
        self.sessions.insert(id, Session::default());
        id
    }

    pub fn close(&mut self, id: SessionId) {
        let Some(session) = self.sessions.remove(&id) else {
            return;
        };
        for (number, slot) in session.slots {
            self.by_queue.remove(&(slot.subscription.queue, id, number));
        }
        if let Some(waker) = session.waker {
            waker.wake();
        }
    }

    pub fn is_open(&self, id: SessionId) -> bool {
        self.sessions.contains_key(&id)
    }

    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Slots of all sessions.
    pub fn slots(&self) -> usize {
        self.by_queue.len()
    }

    /// `visible`: the queue's visible offset now.
    pub fn add(
        &mut self,
        id: SessionId,
        slot: u32,
        subscription: Subscription,
        visible: QueueOffset,
    ) -> Result<(), SlotError> {
        let slots_max = self.slots_max;
        let session = self.session(id).ok_or(SlotError::Unknown(slot))?;
        if session.slots.contains_key(&slot) {
            return Err(SlotError::InUse(slot));
        }
        if session.slots.len() >= slots_max {
            return Err(SlotError::TooMany(slots_max));
        }
        let queue = subscription.queue;
        // Above the end is for the read to report, so it is due as well.
        let due = subscription.offset != visible;
        let state = SlotState::Idle;
        session.slots.insert(
            slot,
            Slot {
                subscription,
                state,
            },
        );
        if due {
            session.make_ready(slot);
        }
        self.by_queue.insert((queue, id, slot));
        Ok(())
    }

    pub fn remove(&mut self, id: SessionId, slot: u32) -> Result<(), SlotError> {
        let session = self.session(id).ok_or(SlotError::Unknown(slot))?;
        session.unready(slot);
        let removed = session
            .slots
            .remove(&slot)
            .ok_or(SlotError::Unknown(slot))?;
        session.sweep();
        self.by_queue
            .remove(&(removed.subscription.queue, id, slot));
        Ok(())
    }

    /// The queue that a slot reads.
    pub fn queue(&self, id: SessionId, slot: u32) -> Option<QueueHandle> {
        let slot = self.sessions.get(&id)?.slots.get(&slot)?;
        Some(slot.subscription.queue)
    }

    pub fn seek(
        &mut self,
        id: SessionId,
        slot: u32,
        offset: QueueOffset,
        visible: QueueOffset,
    ) -> Result<(), SlotError> {
        let session = self.session(id).ok_or(SlotError::Unknown(slot))?;
        let entry = session.slot(slot)?;
        entry.subscription.offset = offset;
        let paused = entry.state == SlotState::Paused;
        session.unready(slot);
        if !paused && offset != visible {
            session.make_ready(slot);
        }
        Ok(())
    }

    /// A paused slot keeps its place and is not served.
    pub fn pause(&mut self, id: SessionId, slot: u32) -> Result<(), SlotError> {
        let session = self.session(id).ok_or(SlotError::Unknown(slot))?;
        session.unready(slot);
        session.slot(slot)?.state = SlotState::Paused;
        Ok(())
    }

    pub fn resume(
        &mut self,
        id: SessionId,
        slot: u32,
        visible: QueueOffset,
    ) -> Result<(), SlotError> {
        let session = self.session(id).ok_or(SlotError::Unknown(slot))?;
        let entry = session.slot(slot)?;
        if entry.state == SlotState::Paused {
            entry.state = SlotState::Idle;
            if entry.subscription.offset != visible {
                session.make_ready(slot);
            }
        }
        Ok(())
    }

    /// These queues gained visible messages, or are gone: their idle slots are due.
    pub fn wake(&mut self, queues: &[QueueHandle]) {
        for queue in queues {
            let first = Bound::Included((*queue, SessionId(0), 0));
            let last = Bound::Included((*queue, SessionId(u32::MAX), u32::MAX));
            for (_, id, slot) in self.by_queue.range((first, last)) {
                let Some(session) = self.sessions.get_mut(id) else {
                    continue;
                };
                let idle = |slot: &Slot| slot.state == SlotState::Idle;
                if session.slots.get(slot).is_some_and(idle) {
                    session.make_ready(*slot);
                }
            }
        }
    }

    /// The next ready slot, if any.
    pub fn next_turn(&mut self, id: SessionId) -> Option<Turn> {
        let session = self.session(id)?;
        while let Some((number, ticket)) = session.ready.pop_front() {
            let Some(slot) = session.slots.get_mut(&number) else {
                continue;
            };
            if slot.state == SlotState::Ready(ticket) {
                slot.state = SlotState::Serving;
                session.ready_count -= 1;
                let subscription = slot.subscription.clone();
                return Some(Turn {
                    slot: number,
                    subscription,
                });
            }
        }
        None
    }

    /// Ends a turn. A slot that was removed, paused or moved meanwhile stays as it is.
    pub fn finish(&mut self, id: SessionId, slot: u32, outcome: Outcome) {
        let Some(session) = self.session(id) else {
            return;
        };
        let Some(entry) = session.slots.get_mut(&slot) else {
            return;
        };
        if entry.state != SlotState::Serving {
            return;
        }
        entry.state = SlotState::Idle;
        match outcome {
            Outcome::Progress { next, visible } => {
                entry.subscription.offset = next;
                if next < visible {
                    session.make_ready(slot);
                }
            }
            Outcome::Unserved => session.make_ready_first(slot),
            Outcome::Failed => entry.state = SlotState::Paused,
        }
    }

    /// Ready when the session has a ready slot, or is closed; otherwise wakes the caller then.
    pub fn poll_ready(&mut self, id: SessionId, cx: &Context<'_>) -> Poll<()> {
        let Some(session) = self.session(id) else {
            return Poll::Ready(());
        };
        if session.ready_count > 0 {
            return Poll::Ready(());
        }
        session.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn session(&mut self, id: SessionId) -> Option<&mut Session> {
        self.sessions.get_mut(&id)
    }
}

impl Session {
    fn slot(&mut self, slot: u32) -> Result<&mut Slot, SlotError> {
        self.slots.get_mut(&slot).ok_or(SlotError::Unknown(slot))
    }

    /// Takes a slot out of the ready list, or away from whoever serves it.
    fn unready(&mut self, slot: u32) {
        let Some(slot) = self.slots.get_mut(&slot) else {
            return;
        };
        match slot.state {
            SlotState::Ready(_) => {
                slot.state = SlotState::Idle;
                self.ready_count -= 1;
            }
            SlotState::Serving => slot.state = SlotState::Idle,
            SlotState::Idle | SlotState::Paused => {}
        }
        self.sweep();
    }

    fn make_ready(&mut self, slot: u32) {
        let ticket = self.ticket(slot);
        self.ready.push_back((slot, ticket));
    }

    fn make_ready_first(&mut self, slot: u32) {
        let ticket = self.ticket(slot);
        self.ready.push_front((slot, ticket));
    }

    fn ticket(&mut self, slot: u32) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        if let Some(slot) = self.slots.get_mut(&slot) {
            slot.state = SlotState::Ready(ticket);
            self.ready_count += 1;
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        ticket
    }

    /// Drops left-behind entries once there are more of them than slots.
    fn sweep(&mut self) {
        if self.ready.len() > 2 * self.slots.len() + 16 {
            let slots = &self.slots;
            self.ready.retain(|(number, ticket)| {
                slots
                    .get(number)
                    .is_some_and(|slot| slot.state == SlotState::Ready(*ticket))
            });
        }
    }
}

#[cfg(test)]
impl FetchRegistry {
    /// Checks the invariants that can be seen from inside.
    pub(super) fn check(&self) {
        let mut slots = 0;
        for (id, session) in &self.sessions {
            let mut ready = 0;
            for (number, slot) in &session.slots {
                slots += 1;
                let key = (slot.subscription.queue, *id, *number);
                assert!(self.by_queue.contains(&key));
                if let SlotState::Ready(ticket) = slot.state {
                    ready += 1;
                    let entries = session.ready.iter().filter(|e| **e == (*number, ticket));
                    assert_eq!(entries.count(), 1);
                }
            }
            assert_eq!(ready, session.ready_count);
            assert!(session.ready.len() <= 2 * session.slots.len() + 17);
        }
        assert_eq!(slots, self.by_queue.len());
    }
}
