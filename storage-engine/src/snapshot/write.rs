//! Writing a snapshot into the temporary file, and reading it back.

use super::format::{ItemKind, encode_header, encode_item};
use super::load::{Walk, verify};
use super::{CHUNK_BYTES_MAX, SnapshotError, SnapshotInfo, TEMPORARY};
use crate::disk::{BLOCK_BYTES, Disk, DiskErrorKind, DiskFile, Durability};
use crate::format::round_up;
use crate::position::Position;
use std::rc::Rc;

/// Bytes collected before a write.
const WRITE_BYTES: usize = 256 << 10;

/// Takes chunks, in the order of their keys. One at a time in a directory.
pub struct SnapshotWriter<D: Disk> {
    disk: D,
    file: D::File,
    log_id: u128,
    replay_from: Position,
    last_stamp: Position,
    chunks: u32,
    chunk_checksums: crc32fast::Hasher,
    pending: Vec<u8>,
    written_bytes: u64,
}

/// Written, synced and read back; not yet named.
#[derive(Debug)]
#[must_use = "a staged snapshot is nothing until it is published"]
pub struct StagedSnapshot {
    pub info: SnapshotInfo,
}

impl<D: Disk> SnapshotWriter<D> {
    /// Starts a snapshot whose first chunk will be stamped `replay_from`.
    pub async fn create(
        disk: &D,
        log_id: u128,
        replay_from: Position,
    ) -> Result<Self, SnapshotError> {
        match disk.remove(TEMPORARY).await {
            Err(error) if error.kind != DiskErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let file = disk.create(TEMPORARY).await?;
        let mut pending = Vec::with_capacity(WRITE_BYTES);
        encode_header(&mut pending, log_id, replay_from);
        Ok(Self {
            disk: disk.clone(),
            file,
            log_id,
            replay_from,
            last_stamp: replay_from,
            chunks: 0,
            chunk_checksums: crc32fast::Hasher::new(),
            pending,
            written_bytes: 0,
        })
    }

    /// Adds a chunk that holds every record below `stamp`.
    ///
    /// # Panics
    /// If the stamp is below the last one.
    pub async fn push(&mut self, stamp: Position, payload: &[u8]) -> Result<(), SnapshotError> {
        assert!(stamp >= self.last_stamp, "stamps of a snapshot never fall");
        if payload.len() > CHUNK_BYTES_MAX {
            let bytes = payload.len();
            return Err(SnapshotError::TooLarge { bytes });
        }
        self.last_stamp = stamp;
        let sum = encode_item(
            &mut self.pending,
            self.log_id,
            ItemKind::Chunk,
            self.chunks,
            stamp,
            payload,
        );
        self.chunks += 1;
        self.chunk_checksums.update(&sum.to_le_bytes());
        while self.pending.len() >= WRITE_BYTES {
            self.write(WRITE_BYTES).await?;
        }
        Ok(())
    }

    /// Writes the rest, syncs, and reads everything back.
    pub async fn finish(mut self) -> Result<StagedSnapshot, SnapshotError> {
        let all = self.chunk_checksums.clone().finalize().to_le_bytes();
        let (chunks, stamp) = (self.chunks, self.last_stamp);
        encode_item(
            &mut self.pending,
            self.log_id,
            ItemKind::Footer,
            chunks,
            stamp,
            &all,
        );
        let padded = round_up(self.pending.len(), BLOCK_BYTES);
        self.pending.resize(padded, 0);
        while !self.pending.is_empty() {
            self.write(self.pending.len().min(WRITE_BYTES)).await?;
        }
        self.file.sync_data().await?;
        self.file.close().await?;
        let mut walk = Walk::open(&self.disk, TEMPORARY, self.log_id).await?;
        let found = verify(&mut walk).await?;
        let info = SnapshotInfo {
            replay_from: self.replay_from,
            last_stamp: self.last_stamp,
            bytes: self.written_bytes,
        };
        if found != info {
            return Err(walk.corrupt(0, "it is not what was written"));
        }
        Ok(StagedSnapshot { info })
    }

    /// Writes the first `bytes` pending ones, a multiple of the block size.
    async fn write(&mut self, bytes: usize) -> Result<(), SnapshotError> {
        let mut buffer = self.disk.alloc(bytes);
        buffer.copy_from_slice(&self.pending[..bytes]);
        self.pending.drain(..bytes);
        self.file
            .write_at(Rc::new(buffer), self.written_bytes, Durability::Volatile)
            .await?;
        self.written_bytes += bytes as u64;
        Ok(())
    }
}
