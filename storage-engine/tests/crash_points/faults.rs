//! Every block of a store that was stopped cleanly is damaged, one at a time; the verdict is the one of
//! `docs/durability.md`: what is derived or kept twice is made good, the log is reported, nothing wrong is served.

use std::rc::Rc;

use ringmq_storage_engine::disk::sim::Damage;
use ringmq_storage_engine::disk::{BLOCK_BYTES, Disk};
use ringmq_storage_engine::position::QueueOffset;
use ringmq_storage_engine::state_machine::StateMachine;
use ringmq_storage_engine::store::{LogMode, OpenError, ReadError, ReadLimits, Store};

use crate::model::{Model, PlacedBatch};
use crate::run::{Crashed, Life, SimStore};
use crate::state::TestState;

/// What became of the stored batches under a fault.
#[derive(Debug, Default, Clone, Copy)]
pub struct Found {
    pub intact: usize,
    /// Reported as damaged, or behind the end of a log that is read-only.
    pub reported: usize,
}

impl Crashed {
    /// Damages one block after the other; returns how many, and how many batches were reported in all.
    pub fn damage_each_block(&self, damage: &Damage) -> (u32, usize) {
        let mut blocks = 0;
        let mut reported = 0;
        for name in self.names("") {
            let len = self.bytes(&name).len() as u64;
            for offset in (0..len).step_by(BLOCK_BYTES) {
                let life = self.undamaged();
                assert!(life.disk.damage(&name, offset, damage.clone()));
                let found = life.open_and_look(&name);
                if !name.ends_with(".seg") {
                    let made_good = found.reported == 0;
                    assert!(made_good, "{damage:?} at {offset} of {name}: {found:?}");
                }
                blocks += 1;
                reported += found.reported;
            }
        }
        (blocks, reported)
    }

    /// Both slots of `shard.meta` are damaged: refused in words, never taken for an empty directory.
    pub fn damage_meta(&self, name: &str, damage: &Damage) {
        let life = self.undamaged();
        for offset in (0..self.bytes(name).len() as u64).step_by(BLOCK_BYTES) {
            life.disk.damage(name, offset, damage.clone());
        }
        let (disk, runtime) = (life.disk.clone(), life.executor.runtime());
        let options = life.plan.options.clone();
        let opened = life.executor.run(async move {
            let opened = Store::open(disk, runtime, options, TestState::default()).await;
            opened.err()
        });
        let refused = opened.expect("no cut").expect("it must not open");
        assert!(matches!(refused, OpenError::MetaUnreadable(_)), "{refused}");
    }
}

impl Life {
    fn open_and_look(&self, name: &str) -> Found {
        let (disk, runtime) = (self.disk.clone(), self.executor.runtime());
        let (options, model) = (self.plan.options.clone(), Rc::clone(&self.model));
        let name = name.to_owned();
        let found = self.executor.run(async move {
            let opened = Store::open(disk.clone(), runtime, options, TestState::default()).await;
            let store = opened.unwrap_or_else(|e| panic!("damage of {name} keeps it shut: {e}"));
            let model = model.borrow().clone();
            let found = model.look(&store).await;
            let whole = found.reported == 0;
            match store.health().mode {
                LogMode::Serving => {
                    let digest = store.with_state(StateMachine::digest);
                    assert_eq!(digest, model.digest(), "{name}: state differs");
                }
                LogMode::ReadOnly => assert!(!whole || name.ends_with(".seg"), "{name}"),
                mode => panic!("{name}: {mode:?}"),
            }
            assert!(disk.list().await.is_ok());
            found
        });
        found.expect("no cut")
    }
}

impl Model {
    /// Every batch that was submitted is read with its bytes, or reported; none is wrong.
    async fn look(&self, store: &SimStore) -> Found {
        let mut found = Found::default();
        for batch in self
            .submitted
            .iter()
            .filter_map(|record| record.batch.as_ref())
        {
            match read_one(store, batch).await {
                true => found.intact += 1,
                false => found.reported += 1,
            }
        }
        found
    }
}

async fn read_one(store: &SimStore, batch: &PlacedBatch) -> bool {
    let limits = ReadLimits {
        max_bytes: 1,
        max_batches: 1,
    };
    match store.read(batch.queue, batch.base, limits).await {
        Ok(read) if read.batches.is_empty() => {
            assert_eq!(store.health().mode, LogMode::ReadOnly, "{:?}", batch.base);
            false
        }
        Ok(read) => {
            assert!(
                *read.batches[0].bytes == *batch.bytes,
                "wrong bytes were served"
            );
            true
        }
        Err(ReadError::Corrupt { next_readable, .. }) => {
            assert!(next_readable > batch.base || next_readable == QueueOffset(0));
            false
        }
        Err(ReadError::OffsetOutOfRange { .. } | ReadError::QueueNotFound(_)) => {
            assert_eq!(store.health().mode, LogMode::ReadOnly, "{:?}", batch.base);
            false
        }
        Err(error) => panic!("{:?} at {}: {error}", batch.queue, batch.base),
    }
}
