//! What was submitted, what was acknowledged, and what must be found after a power cut.

use std::collections::BTreeMap;

use ringmq_storage_engine::disk::Disk;
use ringmq_storage_engine::position::{Frontiers, Position, QueueHandle, QueueOffset};
use ringmq_storage_engine::runtime::Runtime;
use ringmq_storage_engine::state_machine::StateMachine;
use ringmq_storage_engine::store::{Appended, ReadError, ReadLimits, Store};
use ringmq_wire::batch::{BatchHeader, place};

use crate::state::TestState;

/// A record that the store took.
#[derive(Debug, Clone)]
pub struct Submitted {
    pub appended: Appended,
    /// Digest of the live state with this record applied.
    pub digest: u64,
    /// The batch as it must be found; `None` for a control record.
    pub batch: Option<PlacedBatch>,
}

#[derive(Debug, Clone)]
pub struct PlacedBatch {
    pub queue: QueueHandle,
    pub base: QueueOffset,
    pub next: QueueOffset,
    pub bytes: Vec<u8>,
}

impl PlacedBatch {
    pub fn new(queue: QueueHandle, base: QueueOffset, sent: &[u8], appended: Appended) -> Self {
        let mut bytes = sent.to_vec();
        place(&mut bytes, queue.0, base.0, appended.store_time_ms);
        let header = BatchHeader::parse(&bytes).expect("the batch was built by the builder");
        Self {
            queue,
            base,
            next: QueueOffset(header.next_offset()),
            bytes,
        }
    }
}

#[derive(Debug, Clone, Default)]
pub struct Model {
    /// In order of the log.
    pub submitted: Vec<Submitted>,
    /// Everything below was acknowledged.
    pub acknowledged: Position,
    empty_digest: u64,
}

impl Model {
    pub fn new() -> Self {
        Self {
            empty_digest: TestState::default().digest(),
            ..Self::default()
        }
    }

    /// Check 5: the frontiers are in order, and nothing was acknowledged early.
    pub fn check_frontiers(&self, frontiers: Frontiers) {
        let Frontiers {
            appended,
            written,
            durable,
            visible,
        } = frontiers;
        let ordered = appended >= written && written >= durable && durable >= visible;
        assert!(ordered, "frontiers out of order: {frontiers:?}");
        assert!(
            durable >= self.acknowledged,
            "{} was acknowledged: {frontiers:?}",
            self.acknowledged
        );
    }

    /// The log ends at `end` now: what lies behind was dropped for good.
    pub fn cut(&mut self, end: Position) {
        assert!(
            end >= self.acknowledged,
            "check 1: the log ends at {end}, {} was acknowledged",
            self.acknowledged
        );
        self.submitted.retain(|record| record.appended.end <= end);
        self.acknowledged = end;
    }

    /// Digest of the state at the end of the log.
    pub fn digest(&self) -> u64 {
        self.submitted
            .last()
            .map_or(self.empty_digest, |record| record.digest)
    }

    fn queues(&self) -> BTreeMap<QueueHandle, Vec<&PlacedBatch>> {
        let mut queues: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for batch in self
            .submitted
            .iter()
            .filter_map(|record| record.batch.as_ref())
        {
            queues.entry(batch.queue).or_default().push(batch);
        }
        queues
    }

    /// Checks 1, 2, 3 and 7 over a store that has nothing in flight: each queue holds exactly what was
    /// submitted and survived, byte for byte, dense from its min offset.
    pub async fn check_content<D: Disk, R: Runtime>(&self, store: &Store<D, R, TestState>) {
        let frontiers = store.frontiers();
        self.check_frontiers(frontiers);
        // The engine's own records may be in flight, ours are not.
        let end = self.submitted.last().map(|record| record.appended.end);
        assert!(
            end.is_none_or(|end| frontiers.visible >= end),
            "{frontiers:?}"
        );
        let digest = store.with_state(StateMachine::digest);
        assert_eq!(
            digest,
            self.digest(),
            "state differs from what was lived through"
        );
        for (queue, batches) in self.queues() {
            self.check_queue(store, queue, &batches).await;
        }
    }

    async fn check_queue<D: Disk, R: Runtime>(
        &self,
        store: &Store<D, R, TestState>,
        queue: QueueHandle,
        batches: &[&PlacedBatch],
    ) {
        let end = batches.last().map_or(QueueOffset(0), |batch| batch.next);
        let state_end = store.with_state(|state| state.next_offset(queue));
        assert_eq!(state_end, Some(end));
        assert_eq!(store.visible_offset(queue), Some(end), "{queue:?}");
        let min = store.min_offset(queue).expect("the queue exists");
        let mut offset = min;
        for batch in batches.iter().filter(|batch| batch.next > min) {
            let limits = ReadLimits {
                max_bytes: 1,
                max_batches: 1,
            };
            let read = store.read(queue, offset, limits).await;
            if is_retired(store, queue, batch.next) {
                // Retention took the bundle while we looked; what is left is checked with the next batch.
                offset = batch.next;
                continue;
            }
            let read = read.unwrap_or_else(|e| panic!("{queue:?} at {offset}: {e}"));
            assert_eq!(
                read.batches.len(),
                1,
                "the first batch comes whatever its size"
            );
            let found = &read.batches[0];
            assert!(
                *found.bytes == *batch.bytes,
                "{queue:?} at {offset}: not the bytes that were submitted"
            );
            assert_eq!(found.header.base_offset, batch.base.0);
            assert_eq!(read.next_offset, batch.next);
            let position = found.position;
            let at_position = store.read_position(position).await;
            if !is_retired(store, queue, batch.next) {
                let at_position = at_position.unwrap_or_else(|e| panic!("at {position}: {e}"));
                assert!(*at_position.batch.bytes == *batch.bytes);
            }
            offset = batch.next;
        }
        assert_eq!(offset, end, "offsets are dense from {min}");
        let at_end = store.read(queue, end, ReadLimits::default()).await;
        assert!(at_end.expect("the end can be read").batches.is_empty());
        let beyond = store.read(queue, QueueOffset(end.0 + 1), ReadLimits::default());
        assert!(matches!(
            beyond.await,
            Err(ReadError::OffsetOutOfRange { .. })
        ));
    }
}

/// Whether retention has removed everything of the queue below `next`.
fn is_retired<D: Disk, R: Runtime>(
    store: &Store<D, R, TestState>,
    queue: QueueHandle,
    next: QueueOffset,
) -> bool {
    store.min_offset(queue).is_none_or(|min| min >= next)
}
