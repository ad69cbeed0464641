//! The registry against a model: nothing lost, nothing twice, nobody starved.

use super::*;
use proptest::prelude::*;
use ringmq_storage_engine::position::{QueueHandle, QueueOffset};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};

#[derive(Debug, Clone)]
enum Step {
    Append {
        queue: u32,
        messages: u64,
    },
    Add {
        session: usize,
        slot: u32,
        queue: u32,
        from: u64,
    },
    Remove {
        session: usize,
        slot: u32,
    },
    Seek {
        session: usize,
        slot: u32,
        to: u64,
    },
    Pause {
        session: usize,
        slot: u32,
    },
    Resume {
        session: usize,
        slot: u32,
    },
    /// Serve a turn of at most `messages`; `appended` more become visible while it is read, and the slot itself may
    /// be changed meanwhile.
    Serve {
        session: usize,
        turn: TurnPlan,
    },
}

#[derive(Debug, Clone, Copy)]
struct TurnPlan {
    messages: u64,
    appended: u64,
    put_back: bool,
    meddle: Option<Meddle>,
}

#[derive(Debug, Clone, Copy)]
enum Meddle {
    Pause,
    SeekToStart,
    Remove,
}

const QUEUES: u32 = 4;
const SLOTS: u32 = 6;
const SESSIONS: usize = 2;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let session = 0..SESSIONS;
    let slot = 0..SLOTS;
    let step = prop_oneof![
        3 => (0..QUEUES, 1u64..5).prop_map(|(queue, messages)| Step::Append { queue, messages }),
        3 => (session.clone(), slot.clone(), 0..QUEUES, 0u64..10)
            .prop_map(|(session, slot, queue, from)| Step::Add { session, slot, queue, from }),
        1 => (session.clone(), slot.clone()).prop_map(|(session, slot)| Step::Remove { session, slot }),
        1 => (session.clone(), slot.clone(), 0u64..10)
            .prop_map(|(session, slot, to)| Step::Seek { session, slot, to }),
        1 => (session.clone(), slot.clone()).prop_map(|(session, slot)| Step::Pause { session, slot }),
        1 => (session.clone(), slot).prop_map(|(session, slot)| Step::Resume { session, slot }),
        6 => (session, turn_plan()).prop_map(|(session, turn)| Step::Serve { session, turn }),
    ];
    prop::collection::vec(step, 1..120)
}

fn turn_plan() -> impl Strategy<Value = TurnPlan> {
    let meddle = prop_oneof![
        12 => Just(None),
        1 => Just(Some(Meddle::Pause)),
        1 => Just(Some(Meddle::SeekToStart)),
        1 => Just(Some(Meddle::Remove)),
    ];
    (1u64..4, 0u64..2, any::<bool>(), meddle).prop_map(|(messages, appended, put_back, meddle)| {
        TurnPlan {
            messages,
            appended,
            put_back,
            meddle,
        }
    })
}

#[derive(Debug, Clone, Copy)]
struct ModelSlot {
    queue: u32,
    next: u64,
    paused: bool,
}

struct World {
    registry: FetchRegistry,
    ids: Vec<SessionId>,
    visible: [u64; QUEUES as usize],
    model: Vec<BTreeMap<u32, ModelSlot>>,
}

impl World {
    fn new() -> Self {
        let mut registry = FetchRegistry::new(SLOTS as usize);
        let ids = (0..SESSIONS).map(|_| registry.open()).collect();
        Self {
            registry,
            ids,
            visible: [0; QUEUES as usize],
            model: vec![BTreeMap::new(); SESSIONS],
        }
    }

    fn append(&mut self, queue: u32, messages: u64) {
        self.visible[queue as usize] += messages;
        self.registry.wake(&[QueueHandle(queue)]);
    }

    /// Serves one turn and compares it with the model; false when nothing was ready.
    fn serve(&mut self, session: usize, plan: TurnPlan) -> bool {
        let id = self.ids[session];
        let Some(turn) = self.registry.next_turn(id) else {
            let due = self.model[session].values().filter(|slot| self.due(slot));
            assert_eq!(due.count(), 0, "a due slot was not ready");
            return false;
        };
        let slot = self.model[session][&turn.slot];
        assert!(!slot.paused);
        assert_eq!(turn.subscription.queue, QueueHandle(slot.queue));
        assert_eq!(
            turn.subscription.offset,
            QueueOffset(slot.next),
            "lost or twice"
        );
        if plan.appended > 0 {
            self.append(slot.queue, plan.appended);
        }
        if let Some(meddle) = plan.meddle {
            self.meddle(session, turn.slot, meddle);
            // Whatever came of the turn: the change stands.
            let (next, visible) = (QueueOffset(slot.next + 1), QueueOffset(slot.next + 2));
            let outcome = Outcome::Progress { next, visible };
            self.registry.finish(id, turn.slot, outcome);
            return true;
        }
        let visible = self.visible[slot.queue as usize];
        let outcome = if plan.put_back {
            Outcome::Unserved
        } else if slot.next > visible {
            self.model[session]
                .get_mut(&turn.slot)
                .expect("known")
                .paused = true;
            Outcome::Failed
        } else {
            let next = (slot.next + plan.messages).min(visible);
            self.model[session].get_mut(&turn.slot).expect("known").next = next;
            let (next, visible) = (QueueOffset(next), QueueOffset(visible));
            Outcome::Progress { next, visible }
        };
        self.registry.finish(id, turn.slot, outcome);
        true
    }

    fn meddle(&mut self, session: usize, slot: u32, meddle: Meddle) {
        match meddle {
            Meddle::Pause => self.run(Step::Pause { session, slot }),
            Meddle::SeekToStart => self.run(Step::Seek {
                session,
                slot,
                to: 0,
            }),
            Meddle::Remove => self.run(Step::Remove { session, slot }),
        }
    }

    fn due(&self, slot: &ModelSlot) -> bool {
        !slot.paused && slot.next < self.visible[slot.queue as usize]
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Append { queue, messages } => self.append(queue, messages),
            Step::Add {
                session,
                slot,
                queue,
                from,
            } => {
                let subscription = Subscription {
                    queue: QueueHandle(queue),
                    offset: QueueOffset(from),
                    tags: None,
                };
                let visible = QueueOffset(self.visible[queue as usize]);
                let added = self
                    .registry
                    .add(self.ids[session], slot, subscription, visible);
                let new = ModelSlot {
                    queue,
                    next: from,
                    paused: false,
                };
                let in_use = self.model[session].contains_key(&slot);
                assert_eq!(added.is_err(), in_use);
                self.model[session].entry(slot).or_insert(new);
            }
            Step::Remove { session, slot } => {
                let removed = self.registry.remove(self.ids[session], slot);
                assert_eq!(removed.is_ok(), self.model[session].remove(&slot).is_some());
            }
            Step::Seek { session, slot, to } => {
                let Some(entry) = self.model[session].get_mut(&slot) else {
                    return;
                };
                entry.next = to;
                let visible = QueueOffset(self.visible[entry.queue as usize]);
                let id = self.ids[session];
                self.registry
                    .seek(id, slot, QueueOffset(to), visible)
                    .expect("known slot");
            }
            Step::Pause { session, slot } => {
                let paused = self.registry.pause(self.ids[session], slot);
                let entry = self.model[session].get_mut(&slot);
                assert_eq!(paused.is_ok(), entry.is_some());
                if let Some(entry) = entry {
                    entry.paused = true;
                }
            }
            Step::Resume { session, slot } => {
                let Some(entry) = self.model[session].get_mut(&slot) else {
                    return;
                };
                entry.paused = false;
                let visible = QueueOffset(self.visible[entry.queue as usize]);
                self.registry
                    .resume(self.ids[session], slot, visible)
                    .expect("known slot");
            }
            Step::Serve { session, turn } => {
                self.serve(session, turn);
            }
        }
        self.registry.check();
    }
}

proptest! {
    #[test]
    fn every_message_is_served_once_and_in_order(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            world.run(step);
        }
        // With no more changes, every due slot is served to its end in bounded turns.
        for session in 0..SESSIONS {
            let mut turns = 0;
            let plan = TurnPlan { messages: 3, appended: 0, put_back: false, meddle: None };
            while world.serve(session, plan) {
                turns += 1;
                prop_assert!(turns < 1000, "no end");
            }
            let open = world.model[session].values().filter(|slot| world.due(slot)).count();
            prop_assert_eq!(open, 0);
        }
    }

    #[test]
    fn ready_slots_take_turns(backlogs in prop::collection::vec(1u64..50, 2..20)) {
        let mut registry = FetchRegistry::new(backlogs.len());
        let id = registry.open();
        for (index, backlog) in backlogs.iter().enumerate() {
            let queue = QueueHandle(index as u32);
            let subscription = Subscription { queue, offset: QueueOffset(0), tags: None };
            registry.add(id, index as u32, subscription, QueueOffset(*backlog)).expect("fits");
        }
        let mut last_turn = vec![0usize; backlogs.len()];
        let mut turn_number = 0;
        while let Some(turn) = registry.next_turn(id) {
            turn_number += 1;
            let index = turn.slot as usize;
            prop_assert!(turn_number - last_turn[index] <= backlogs.len(), "slot {} starved", index);
            last_turn[index] = turn_number;
            let next = QueueOffset(turn.subscription.offset.0 + 1);
            let visible = QueueOffset(backlogs[index]);
            registry.finish(id, turn.slot, Outcome::Progress { next, visible });
        }
        prop_assert_eq!(turn_number as u64, backlogs.iter().sum::<u64>());
    }
}

struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn idle_queues_cost_nothing_and_the_right_session_is_woken() {
    let mut registry = FetchRegistry::new(100_000);
    let (reader, other) = (registry.open(), registry.open());
    for slot in 0..100_000 {
        let queue = QueueHandle(slot);
        let subscription = Subscription {
            queue,
            offset: QueueOffset(5),
            tags: None,
        };
        registry
            .add(reader, slot, subscription, QueueOffset(5))
            .expect("fits");
    }
    let counts = [0, 1].map(|_| Arc::new(Count(AtomicUsize::new(0))));
    for (id, count) in [reader, other].into_iter().zip(&counts) {
        let waker = Waker::from(Arc::clone(count));
        assert!(
            registry
                .poll_ready(id, &Context::from_waker(&waker))
                .is_pending()
        );
    }
    assert!(registry.next_turn(reader).is_none());
    registry.wake(&[QueueHandle(77_777), QueueHandle(200_000)]);
    let woken = counts.map(|count| count.0.load(Ordering::Relaxed));
    assert_eq!(woken, [1, 0]);
    assert_eq!(
        registry.next_turn(reader).map(|turn| turn.slot),
        Some(77_777)
    );
    assert!(registry.next_turn(reader).is_none());
    registry.close(reader);
    assert_eq!((registry.slots(), registry.sessions()), (0, 1));
}
