//! Reading snapshots: the newest that is whole, proven whole before the state sees any of it.

use super::format::{
    HEADER_BYTES, ITEM_HEADER_BYTES, ItemKind, check_item, decode_header, decode_item_header,
    item_bytes,
};
use super::{SnapshotError, SnapshotInfo, Snapshots, file_name, stamp_in};
use crate::disk::{BLOCK_BYTES, Disk, DiskError, DiskFile};
use crate::format::u32_at;
use crate::position::Position;

/// Bytes read at once.
const READ_BYTES: usize = 256 << 10;

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotOutcome {
    /// No snapshot was ever published here (or all were removed by hand).
    Absent,
    /// This one was loaded.
    Present(SnapshotInfo),
    /// There are snapshots, and none is whole: [`LoadedSnapshots::damaged`] says why.
    Unreadable,
}

/// Result of [`load`].
pub struct LoadedSnapshots<D: Disk> {
    pub outcome: SnapshotOutcome,
    /// The snapshots that may be relied upon, to publish further ones.
    pub snapshots: Snapshots<D>,
    /// Files that were passed over, and why.
    pub damaged: Vec<SnapshotError>,
}

/// Loads the newest whole snapshot of a directory into `restore` (stamp, payload), chunk by chunk.
///
/// The file is read twice: a damaged one is passed over before the state has seen any of it. Of the one before it only
/// the header is read: it was whole when it was published, and is looked at in full when it is needed.
pub async fn load<D: Disk>(
    disk: &D,
    log_id: u128,
    mut restore: impl FnMut(Position, &[u8]) -> Result<(), String>,
) -> Result<LoadedSnapshots<D>, SnapshotError> {
    let mut damaged = Vec::new();
    let mut kept = Vec::new();
    let entries = disk.list().await?;
    let mut stamps: Vec<Position> = entries.iter().filter_map(|e| stamp_in(&e.name)).collect();
    stamps.sort_unstable();
    for stamp in stamps.iter().rev() {
        let found = if kept.is_empty() {
            find(disk, log_id, *stamp).await
        } else {
            glance(disk, log_id, *stamp).await
        };
        match found {
            Ok(info) => kept.insert(0, info),
            Err(error) => {
                mark!("recovery: a snapshot is passed over");
                damaged.push(error);
            }
        }
        if kept.len() == 2 {
            break;
        }
    }
    let outcome = match kept.last() {
        None if stamps.is_empty() => SnapshotOutcome::Absent,
        None => SnapshotOutcome::Unreadable,
        Some(info) => {
            let mut walk = Walk::open(disk, &file_name(info.last_stamp), log_id).await?;
            while let Some(chunk) = walk.next().await? {
                let what = restore(chunk.stamp, walk.payload());
                what.map_err(|what| {
                    mark!("recovery: the state refuses a snapshot");
                    SnapshotError::Refused {
                        file: walk.name.clone(),
                        number: chunk.number,
                        what,
                    }
                })?;
            }
            SnapshotOutcome::Present(*info)
        }
    };
    Ok(LoadedSnapshots {
        outcome,
        snapshots: Snapshots::new(disk.clone(), log_id, kept),
        damaged,
    })
}

/// Names of all snapshots of a directory, oldest first.
pub async fn names<D: Disk>(disk: &D) -> Result<Vec<String>, DiskError> {
    let entries = disk.list().await?.into_iter();
    let names = entries.map(|entry| entry.name);
    Ok(names.filter(|name| stamp_in(name).is_some()).collect())
}

/// Reads one snapshot in full; `chunk` sees each chunk once it is proven.
pub async fn check<D: Disk>(
    disk: &D,
    name: &str,
    log_id: u128,
    mut chunk: impl FnMut(Position, &[u8]),
) -> Result<SnapshotInfo, SnapshotError> {
    let mut walk = Walk::open(disk, name, log_id).await?;
    while let Some(found) = walk.next().await? {
        chunk(found.stamp, walk.payload());
    }
    let info = verify(&mut walk).await?;
    if stamp_in(name) == Some(info.last_stamp) {
        Ok(info)
    } else {
        Err(walk.corrupt(0, "it has the name of another"))
    }
}

async fn find<D: Disk>(
    disk: &D,
    log_id: u128,
    stamp: Position,
) -> Result<SnapshotInfo, SnapshotError> {
    let mut walk = Walk::open(disk, &file_name(stamp), log_id).await?;
    let info = verify(&mut walk).await?;
    if info.last_stamp != stamp {
        return Err(walk.corrupt(0, "it has the name of another"));
    }
    Ok(info)
}

async fn glance<D: Disk>(
    disk: &D,
    log_id: u128,
    stamp: Position,
) -> Result<SnapshotInfo, SnapshotError> {
    let walk = Walk::open(disk, &file_name(stamp), log_id).await?;
    Ok(SnapshotInfo {
        replay_from: walk.replay_from,
        last_stamp: stamp,
        bytes: walk.file.len(),
    })
}

/// Reads to the end; says what the snapshot is.
pub(super) async fn verify<D: Disk>(walk: &mut Walk<D>) -> Result<SnapshotInfo, SnapshotError> {
    while walk.next().await?.is_some() {}
    Ok(SnapshotInfo {
        replay_from: walk.replay_from,
        last_stamp: walk.last_stamp,
        bytes: walk.file.len(),
    })
}

/// A chunk that was reached.
pub(super) struct Chunk {
    pub(super) number: u32,
    pub(super) stamp: Position,
}

/// Goes through a snapshot, checking everything it passes.
pub(super) struct Walk<D: Disk> {
    pub(super) name: String,
    file: D::File,
    log_id: u128,
    replay_from: Position,
    last_stamp: Position,
    chunks: u32,
    chunk_checksums: crc32fast::Hasher,
    /// Bytes of the file from `window_at` on; the current item starts at `item` in it.
    window: Vec<u8>,
    window_at: u64,
    item: usize,
    payload_bytes: usize,
    finished: bool,
}

impl<D: Disk> Walk<D> {
    pub(super) async fn open(disk: &D, name: &str, log_id: u128) -> Result<Self, SnapshotError> {
        let file = disk.open(name).await?;
        let mut walk = Self {
            name: name.to_owned(),
            file,
            log_id,
            replay_from: Position::default(),
            last_stamp: Position::default(),
            chunks: 0,
            chunk_checksums: crc32fast::Hasher::new(),
            window: Vec::new(),
            window_at: 0,
            item: 0,
            payload_bytes: 0,
            finished: false,
        };
        if !walk.file.len().is_multiple_of(BLOCK_BYTES as u64) {
            return Err(walk.corrupt(walk.file.len(), "length is not a multiple of 4096"));
        }
        walk.fill(HEADER_BYTES).await?;
        let decoded = decode_header(&walk.window[..HEADER_BYTES], log_id);
        walk.replay_from = decoded.map_err(|what| walk.corrupt(0, what))?;
        walk.last_stamp = walk.replay_from;
        walk.item = HEADER_BYTES;
        Ok(walk)
    }

    pub(super) fn corrupt(&self, offset: u64, what: &'static str) -> SnapshotError {
        SnapshotError::Corrupt {
            file: self.name.clone(),
            offset,
            what,
        }
    }

    /// Payload of the chunk that [`Self::next`] has reached.
    pub(super) fn payload(&self) -> &[u8] {
        let start = self.item - item_bytes(self.payload_bytes) + ITEM_HEADER_BYTES;
        &self.window[start..start + self.payload_bytes]
    }

    /// The next chunk; `None` behind the last, when the footer has proven that it is the last.
    pub(super) async fn next(&mut self) -> Result<Option<Chunk>, SnapshotError> {
        if self.finished {
            return Ok(None);
        }
        let at = self.window_at + self.item as u64;
        self.fill(ITEM_HEADER_BYTES).await?;
        let header = decode_item_header(&self.window[self.item..]);
        let header = header.map_err(|what| self.corrupt(at, what))?;
        let bytes = item_bytes(header.payload_bytes);
        self.fill(bytes).await?;
        let item = &self.window[self.item..self.item + bytes];
        let payload = &item[ITEM_HEADER_BYTES..ITEM_HEADER_BYTES + header.payload_bytes];
        let checked = check_item(self.log_id, item).and_then(|()| {
            let first = self.chunks == 0 && header.kind == ItemKind::Chunk;
            if header.number != self.chunks {
                Err("chunks are missing or out of order")
            } else if header.stamp < self.last_stamp || (first && header.stamp != self.replay_from)
            {
                Err("stamps are out of order")
            } else if header.kind == ItemKind::Footer
                && (header.stamp != self.last_stamp
                    || payload != self.chunk_checksums.clone().finalize().to_le_bytes())
            {
                Err("footer does not match the chunks")
            } else {
                Ok(())
            }
        });
        checked.map_err(|what| self.corrupt(at, what))?;
        debug_assert_eq!(header.checksum, u32_at(item, 12));
        self.item += bytes;
        self.payload_bytes = header.payload_bytes;
        self.last_stamp = header.stamp;
        if header.kind == ItemKind::Footer {
            self.finished = true;
            return self.check_end().map(|()| None);
        }
        self.chunks += 1;
        self.chunk_checksums.update(&header.checksum.to_le_bytes());
        Ok(Some(Chunk {
            number: header.number,
            stamp: header.stamp,
        }))
    }

    /// Behind the footer, only the padding of its block is left.
    fn check_end(&self) -> Result<(), SnapshotError> {
        let at = self.window_at + self.item as u64;
        let end = self.window_at + self.window.len() as u64;
        if self.file.len() != at.next_multiple_of(BLOCK_BYTES as u64) || end != self.file.len() {
            return Err(self.corrupt(at, "bytes behind the footer"));
        }
        if self.window[self.item..].iter().any(|byte| *byte != 0) {
            return Err(self.corrupt(at, "padding is not zero"));
        }
        Ok(())
    }

    /// Makes sure that the window has `bytes` from the current item on.
    async fn fill(&mut self, bytes: usize) -> Result<(), SnapshotError> {
        if self.window.len() - self.item >= bytes {
            return Ok(());
        }
        self.window.drain(..self.item);
        self.window_at += self.item as u64;
        self.item = 0;
        while self.window.len() < bytes {
            let from = self.window_at + self.window.len() as u64;
            let left = self.file.len().saturating_sub(from);
            if left == 0 {
                return Err(self.corrupt(from, "file is cut short"));
            }
            let wanted = left.min(READ_BYTES as u64) as usize;
            let read = self.file.read_at(from, wanted).await?;
            self.window.extend_from_slice(&read);
        }
        Ok(())
    }
}
