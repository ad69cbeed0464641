//! What a directory holds, as readers see it, and whether a damaged copy shows the same or says what it cannot.

use crate::directory::{AUDIT, ORDERS, SmallStore};
use ringmq_storage_engine::position::{Position, QueueHandle, QueueOffset};
use ringmq_storage_engine::state_machine::StateMachine;
use ringmq_storage_engine::store::{LogMode, ReadError, ReadLimits};
use std::collections::BTreeMap;

/// Everything that can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    queues: BTreeMap<QueueHandle, Queue>,
    digest: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Queue {
    min: QueueOffset,
    visible: QueueOffset,
    batches: BTreeMap<QueueOffset, Batch>,
    by_key: Vec<Position>,
    by_time: QueueOffset,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Batch {
    position: Position,
    bytes: Vec<u8>,
}

/// What a copy showed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    pub batches: usize,
    /// Typed errors, and the log being read-only.
    pub reported: usize,
    /// Batches that are gone although nothing was reported.
    pub dropped: usize,
}

const LIMITS: ReadLimits = ReadLimits {
    max_bytes: 1 << 20,
    max_batches: 4,
};
/// A store time between those of the directory.
const SOME_TIME_MS: i64 = 1_767_225_600_200;

fn key() -> u32 {
    ringmq_wire::batch::key_hash("key")
}

impl Content {
    pub async fn of(store: &SmallStore) -> Self {
        let mut queues = BTreeMap::new();
        for queue in [ORDERS[0], ORDERS[1], AUDIT] {
            queues.insert(queue, Queue::of(store, queue).await);
        }
        Self {
            queues,
            digest: store.with_state(StateMachine::digest),
        }
    }

    pub fn batches(&self) -> usize {
        self.queues.values().map(|queue| queue.batches.len()).sum()
    }

    /// Where the last message of the log is.
    pub fn last_position(&self) -> Position {
        let batches = self
            .queues
            .values()
            .flat_map(|queue| queue.batches.values());
        batches
            .map(|batch| batch.position)
            .max()
            .unwrap_or_default()
    }

    /// Looks at a copy. Panics on wrong bytes, and on a batch below `exempt_from` that is missing in silence.
    pub async fn look(&self, store: &SmallStore, exempt_from: Position) -> Seen {
        let mut seen = Seen::default();
        let serving = store.health().mode == LogMode::Serving;
        seen.reported += usize::from(!serving);
        for (queue, expected) in &self.queues {
            expected.look(store, *queue, &mut seen).await;
            expected.find(store, *queue, &mut seen).await;
        }
        for (queue, batch) in self.missing(store) {
            let excused = !serving || batch.position >= exempt_from;
            assert!(excused, "{queue:?} lost {:?} in silence", batch.position);
            seen.dropped += 1;
        }
        if serving && seen.dropped == 0 {
            let digest = store.with_state(StateMachine::digest);
            assert_eq!(digest, self.digest, "the state differs");
        }
        seen
    }

    /// Batches at or above the visible offset.
    fn missing<'a>(
        &'a self,
        store: &'a SmallStore,
    ) -> impl Iterator<Item = (QueueHandle, &'a Batch)> {
        self.queues.iter().flat_map(|(queue, expected)| {
            let visible = store.visible_offset(*queue).unwrap_or_default();
            assert!(visible <= expected.visible, "more than there was");
            let missing = expected.batches.range(visible..);
            missing.map(|(_, batch)| (*queue, batch))
        })
    }
}

/// The first offset of each moment is that of the first batch stored then, also where a whole segment between has no
/// batch.
async fn check_times(store: &SmallStore, queue: QueueHandle) {
    let min = store.min_offset(queue).expect("it exists");
    let whole = ReadLimits {
        max_bytes: 1 << 24,
        max_batches: 1000,
    };
    let read = store.read(queue, min, whole).await.expect("undamaged");
    let mut last_ms = i64::MIN;
    for batch in &read.batches {
        let time_ms = batch.header.store_time_ms;
        let base = QueueOffset(batch.header.base_offset).max(min);
        if time_ms > last_ms {
            let found = store.offset_at_time(queue, time_ms).await;
            assert_eq!(found.expect("undamaged"), base, "{queue:?} at {time_ms}");
        }
        last_ms = time_ms;
    }
}

impl Queue {
    async fn of(store: &SmallStore, queue: QueueHandle) -> Self {
        let visible = store.visible_offset(queue).expect("it exists");
        let min = store.min_offset(queue).expect("it exists");
        let mut batches = BTreeMap::new();
        let mut from = min;
        while from < visible {
            let read = store.read(queue, from, LIMITS).await.expect("undamaged");
            assert!(read.next_offset > from, "a read goes on");
            from = read.next_offset;
            for batch in read.batches {
                let base = QueueOffset(batch.header.base_offset);
                let (position, bytes) = (batch.position, batch.bytes.to_vec());
                batches.insert(base, Batch { position, bytes });
            }
        }
        check_times(store, queue).await;
        let by_key = store.find_key(queue, key(), i64::MIN, i64::MAX, 100).await;
        let by_time = store.offset_at_time(queue, SOME_TIME_MS).await;
        Self {
            min,
            visible,
            batches,
            by_key: by_key.expect("undamaged"),
            by_time: by_time.expect("undamaged"),
        }
    }

    /// Reads the queue from end to end, over what is reported.
    async fn look(&self, store: &SmallStore, queue: QueueHandle, seen: &mut Seen) {
        let visible = store.visible_offset(queue).unwrap_or_default();
        let mut from = self.min;
        while from < visible {
            let behind = match store.read(queue, from, LIMITS).await {
                Ok(read) => {
                    assert!(!read.batches.is_empty(), "{queue:?} at {from:?}: silence");
                    for batch in &read.batches {
                        let known = self.batches.get(&QueueOffset(batch.header.base_offset));
                        let known = known.expect("no batch is invented");
                        assert!(*batch.bytes == known.bytes, "{queue:?}: wrong bytes");
                        assert_eq!(batch.position, known.position);
                    }
                    seen.batches += read.batches.len();
                    read.next_offset
                }
                Err(ReadError::Corrupt { next_readable, .. }) => {
                    seen.reported += 1;
                    next_readable
                }
                Err(ReadError::OffsetOutOfRange { min, .. }) => {
                    let read_only = store.health().mode != LogMode::Serving;
                    assert!(read_only, "{queue:?}: {from:?} is out of range in silence");
                    min
                }
                Err(error) => panic!("{queue:?} at {from:?}: {error}"),
            };
            assert!(behind > from, "{queue:?} at {from:?}: no way on");
            from = behind;
        }
    }

    /// Asks by key, by time and by position. A log that is whole answers as before; a damaged one may know less.
    async fn find(&self, store: &SmallStore, queue: QueueHandle, seen: &mut Seen) {
        let whole = store.health().mode == LogMode::Serving
            && seen.reported == 0
            && store.visible_offset(queue) == Some(self.visible);
        match store.find_key(queue, key(), i64::MIN, i64::MAX, 100).await {
            Ok(found) if whole => assert_eq!(found, self.by_key),
            Ok(found) => assert!(found.iter().all(|at| self.by_key.contains(at))),
            Err(_) => seen.reported += 1,
        }
        match store.offset_at_time(queue, SOME_TIME_MS).await {
            Ok(found) if whole => assert_eq!(found, self.by_time),
            Ok(_) => {}
            Err(_) => seen.reported += 1,
        }
        if whole {
            assert_eq!(store.min_offset(queue), Some(self.min));
        }
        for batch in self.batches.values() {
            match store.read_position(batch.position).await {
                Ok(found) => assert!(*found.batch.bytes == batch.bytes, "wrong bytes"),
                Err(ReadError::PositionNotFound(_)) => {
                    assert!(!whole, "{:?} is gone in silence", batch.position);
                }
                Err(_) => seen.reported += 1,
            }
        }
    }
}
