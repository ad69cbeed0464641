//! `shard.meta` of an open store: one writer at a time, the durable frontier always as it is.

use crate::disk::{Disk, DiskError};
use crate::position::Position;
use crate::shard_meta::{MetaFile, ShardMeta};
use crate::sync::Turn;
use std::cell::RefCell;

/// Owns the file and what is in it.
pub(super) struct MetaKeeper<D: Disk> {
    file: MetaFile<D>,
    meta: RefCell<ShardMeta>,
    turn: Turn,
}

impl<D: Disk> MetaKeeper<D> {
    pub(super) fn new(file: MetaFile<D>, meta: ShardMeta) -> Self {
        let meta = RefCell::new(meta);
        let turn = Turn::default();
        Self { file, meta, turn }
    }

    /// Changes the meta and makes that durable. On an error nothing changed in memory; the next write goes to the
    /// same slot, so the other one stays whole.
    pub(super) async fn update(
        &self,
        change: impl FnOnce(&mut ShardMeta),
    ) -> Result<(), DiskError> {
        let _turn = self.turn.take().await;
        let mut meta = self.meta.borrow().clone();
        change(&mut meta);
        self.file.write(&mut meta).await?;
        *self.meta.borrow_mut() = meta;
        Ok(())
    }

    /// The durable frontier that is recorded.
    pub(super) fn durable(&self) -> Position {
        self.meta.borrow().durable
    }

    pub(super) fn log_start(&self) -> Position {
        self.meta.borrow().log_start
    }

    /// A copy.
    pub(super) fn meta(&self) -> ShardMeta {
        self.meta.borrow().clone()
    }
}
