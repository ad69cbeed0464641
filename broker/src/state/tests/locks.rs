//! Queue locks of RocketMQ clients against a plain table of who renewed what when.

use super::world::World;
use super::{Random, with_seeds};
use crate::state::leases::{Acquire, Deadlines, acquire, any_running, is_releasable};
use crate::state::limits::LOCK_TERM_MS;
use crate::state::{ControlRecord, StateLimits};
use ringmq_storage_engine::position::QueueHandle;
use std::collections::BTreeMap;
use std::time::Duration;

const GROUP: &str = "g";
const CLIENTS: [&str; 3] = ["a", "b", "c"];
const TERM: Duration = Duration::from_millis(LOCK_TERM_MS as u64);

struct Table {
    world: World,
    deadlines: Deadlines,
    now: Duration,
    /// Queue → who locked it and when it said so last.
    model: BTreeMap<QueueHandle, (&'static str, Duration)>,
}

impl Table {
    fn new() -> (Self, Vec<QueueHandle>) {
        let mut world = World::new(StateLimits::default());
        let handles = world.topic("orders", 3);
        let table = Self {
            world,
            deadlines: Deadlines::new(Duration::ZERO),
            now: Duration::ZERO,
            model: BTreeMap::new(),
        };
        (table, handles)
    }

    /// As the handler of `LOCK_BATCH_MQ` does it.
    fn lock(&mut self, client: &str, handle: QueueHandle) -> bool {
        let (state, now) = (&self.world.state, self.now);
        let outcome = acquire(
            state,
            &self.deadlines,
            GROUP,
            client,
            handle,
            LOCK_TERM_MS,
            now,
        );
        let lease = match outcome {
            Acquire::Grant => self.world.control(&ControlRecord::LeaseGrant {
                group: GROUP.into(),
                member: client.into(),
                term_ms: LOCK_TERM_MS,
                handles: vec![handle],
            }),
            Acquire::Held { lease } => lease,
            Acquire::Refused { .. } => return false,
        };
        self.deadlines.mark_lock(lease, now);
        true
    }

    fn unlock(&mut self, client: &str, handle: QueueHandle) {
        if is_releasable(&self.world.state, GROUP, client, handle) {
            self.world.control(&ControlRecord::LeaseRelease {
                group: GROUP.into(),
                handles: vec![handle],
            });
        }
    }

    fn step(&mut self, random: &mut Random, handles: &[QueueHandle]) {
        let client = CLIENTS[random.below(3)];
        let handle = handles[random.below(handles.len())];
        match random.below(20) {
            0..=9 => {
                let free = self
                    .model
                    .get(&handle)
                    .is_none_or(|(holder, seen)| *holder == client || *seen + TERM <= self.now);
                assert_eq!(self.lock(client, handle), free, "at {:?}", self.now);
                if free {
                    self.model.insert(handle, (client, self.now));
                }
            }
            10..=12 => {
                self.unlock(client, handle);
                self.model
                    .retain(|queue, (holder, _)| *queue != handle || *holder != client);
            }
            // A restart gives each lock a whole term.
            13 => {
                self.deadlines = Deadlines::new(self.now);
                for (_, seen) in self.model.values_mut() {
                    *seen = self.now;
                }
            }
            _ => self.now += Duration::from_millis(random.below(30_000) as u64),
        }
        let running = self.model.values().any(|(_, seen)| *seen + TERM > self.now);
        let any = any_running(&self.world.state, &self.deadlines, GROUP, self.now);
        assert_eq!(any, running);
    }
}

#[test]
fn a_lock_is_its_clients_until_it_unlocks_or_is_silent_for_its_term() {
    with_seeds(50, |random| {
        let (mut table, handles) = Table::new();
        for _ in 0..500 {
            table.step(random, &handles);
        }
    });
}

#[test]
fn a_client_that_lives_does_not_keep_a_queue_it_no_longer_locks() {
    let (mut table, handles) = Table::new();
    assert!(table.lock("a", handles[0]) && table.lock("a", handles[1]));
    for _ in 0..3 {
        table.now += Duration::from_secs(20);
        assert!(table.lock("a", handles[0]));
    }
    assert!(!table.lock("b", handles[0]));
    assert!(
        table.lock("b", handles[1]),
        "60 s after its own last renewal"
    );
}

#[test]
fn many_old_locks_are_forgotten_without_shortening_any() {
    let (mut table, handles) = Table::new();
    for round in 0..1_000 {
        let client = CLIENTS[round % 3];
        table.unlock(CLIENTS[(round + 2) % 3], handles[0]);
        assert!(table.lock(client, handles[0]));
        table.now += Duration::from_secs(59);
        assert!(!table.lock(CLIENTS[(round + 1) % 3], handles[0]));
    }
}
