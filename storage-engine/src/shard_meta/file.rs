//! Reading and writing `shard.meta`.

use super::{Loaded, META_FILE, SLOT_BYTES, ShardMeta, Slot, choose};
use crate::disk::{Disk, DiskError, DiskErrorKind, DiskFile, Durability};
use std::rc::Rc;

/// The open file. One writer at a time: the caller keeps the turn.
pub struct MetaFile<D: Disk> {
    disk: D,
    file: D::File,
}

impl<D: Disk> MetaFile<D> {
    /// Opens the file, or creates it with empty slots, and reads both slots.
    pub async fn open(disk: &D) -> Result<(Self, Loaded), DiskError> {
        let file = match disk.open(META_FILE).await {
            Ok(file) => file,
            Err(error) if error.kind == DiskErrorKind::NotFound => disk.create(META_FILE).await?,
            Err(error) => return Err(error),
        };
        if file.len() < 2 * SLOT_BYTES as u64 {
            file.allocate(2 * SLOT_BYTES as u64).await?;
            file.sync_data().await?;
        }
        disk.sync_dir().await?;
        let slots = [
            read_slot::<D>(&file, 0).await,
            read_slot::<D>(&file, 1).await,
        ];
        let disk = disk.clone();
        Ok((Self { disk, file }, choose(slots)))
    }

    /// Raises the generation and writes the slot whose turn it is.
    pub async fn write(&self, meta: &mut ShardMeta) -> Result<(), DiskError> {
        meta.generation += 1;
        let mut slot = self.disk.alloc(SLOT_BYTES);
        meta.encode(&mut slot);
        let at = meta.generation % 2 * SLOT_BYTES as u64;
        self.file
            .write_at(Rc::new(slot), at, Durability::Durable)
            .await
    }

    /// Closes the file.
    pub async fn close(self) -> Result<(), DiskError> {
        self.file.close().await
    }
}

async fn read_slot<D: Disk>(file: &D::File, slot: u64) -> Slot {
    match file.read_at(slot * SLOT_BYTES as u64, SLOT_BYTES).await {
        Ok(bytes) => Slot::parse(&bytes),
        Err(error) => Slot::Unreadable(error.to_string()),
    }
}
