//! Random records into a store, several frames in flight, everything noted in the model.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use ringmq_storage_engine::disk::Disk;
use ringmq_storage_engine::position::QueueHandle;
use ringmq_storage_engine::runtime::Runtime;
use ringmq_storage_engine::runtime::sim::SeededRandom;
use ringmq_storage_engine::state_machine::StateMachine;
use ringmq_storage_engine::store::{AppendError, Appended, Store};
use ringmq_wire::batch::{BatchBuilder, BatchOptions, Record};

use crate::model::{Model, PlacedBatch, Submitted};
use crate::state::{TestState, create_queue, set_register};

pub const QUEUES: u32 = 3;

/// How long a full store may stay full before that is a failure of the engine.
const BUSY_ROUNDS_MAX: u32 = 10_000;

/// One run's submitter.
pub struct Workload<D: Disk, R: Runtime> {
    pub store: Store<D, R, TestState>,
    pub runtime: R,
    pub model: Rc<RefCell<Model>>,
    pub random: SeededRandom,
}

impl<D: Disk, R: Runtime> Workload<D, R> {
    /// Makes the queues that do not exist yet.
    pub async fn create_queues(&mut self) {
        for queue in 0..QUEUES {
            let missing = self
                .store
                .with_state(|state| state.next_offset(QueueHandle(queue)).is_none());
            if missing {
                self.append_control(&create_queue(queue)).await;
            }
        }
    }

    /// About `frames` frames of one to three blocks, as fast as the store takes them.
    pub async fn submit(&mut self, frames: u32) {
        for _ in 0..frames {
            if self.random.one_in(6) {
                let record = set_register(self.random.below(20) as u32, self.random.next_u64());
                self.append_control(&record).await;
            }
            self.append_batch().await;
            match self.random.below(8) {
                0 => self.pause().await,
                1 | 2 => {}
                _ => self.runtime.yield_now().await,
            }
        }
    }

    /// Lets frames finish, or everything; once in a while long enough for the store to notice that it is idle.
    async fn pause(&mut self) {
        match self.random.below(4) {
            0 => self.settle().await,
            1 => self.runtime.sleep(Duration::from_millis(20)).await,
            _ => {
                let moment = Duration::from_micros(self.random.below(150));
                self.runtime.sleep(moment).await;
            }
        }
    }

    /// Waits until everything is acknowledged.
    pub async fn settle(&self) {
        let end = self
            .model
            .borrow()
            .submitted
            .last()
            .map(|record| record.appended.end);
        if let Some(end) = end {
            self.store.durable(end).await.expect("no fault is injected");
        }
    }

    async fn append_batch(&mut self) {
        let queue = QueueHandle(self.random.below(u64::from(QUEUES)) as u32);
        let batch = self.batch();
        let mut rounds = 0;
        let (appended, base) = loop {
            let base = self.store.with_state(|state| state.next_offset(queue));
            let base = base.expect("the queue was made");
            match self.store.append_batch(queue, base, &batch) {
                Ok(appended) => break (appended, base),
                Err(refusal) => self.wait(refusal, &mut rounds).await,
            }
        };
        let placed = PlacedBatch::new(queue, base, &batch, appended);
        self.note(appended, Some(placed));
    }

    async fn append_control(&mut self, record: &[u8]) {
        let mut rounds = 0;
        let appended = loop {
            match self.store.append_control(record) {
                Ok(appended) => break appended,
                Err(refusal) => self.wait(refusal, &mut rounds).await,
            }
        };
        self.note(appended, None);
    }

    async fn wait(&self, refusal: AppendError, rounds: &mut u32) {
        let busy = matches!(refusal, AppendError::Busy);
        assert!(busy, "no fault is injected: {refusal}");
        *rounds += 1;
        assert!(*rounds < BUSY_ROUNDS_MAX, "the store stays busy");
        self.runtime.sleep(Duration::from_micros(20)).await;
    }

    /// Enters a record into the model, and its acknowledgement once it comes.
    fn note(&mut self, appended: Appended, batch: Option<PlacedBatch>) {
        let digest = self.store.with_state(StateMachine::digest);
        let record = Submitted {
            appended,
            digest,
            batch,
        };
        self.model.borrow_mut().submitted.push(record);
        let (store, model) = (self.store.clone(), Rc::clone(&self.model));
        model.borrow().check_frontiers(store.frontiers());
        self.runtime.spawn(async move {
            if store.durable(appended.end).await.is_ok() {
                let mut model = model.borrow_mut();
                model.acknowledged = model.acknowledged.max(appended.end);
                model.check_frontiers(store.frontiers());
            }
        });
    }

    /// A batch of one to three messages, with padding to fill most of one to three blocks.
    fn batch(&mut self) -> Vec<u8> {
        let mut builder = BatchBuilder::new();
        let messages = 1 + self.random.below(3);
        let bytes = 200 + self.random.below(11_000);
        for _ in 0..messages {
            let len = bytes / messages;
            let body: Vec<u8> = (0..len / 8 + 1)
                .flat_map(|_| self.random.next_u64().to_le_bytes())
                .collect();
            let record = Record {
                born_time_ms: 0,
                keys: &["key"],
                tag: "tag",
                properties: &[],
                envelope: None,
                body: &body,
            };
            builder.push(&record).expect("a small message");
        }
        builder
            .finish(&BatchOptions::default())
            .expect("a small batch")
    }
}
