//! Writing a bundle: temporary file, sync, rename. A crash on the way leaves no bundle, and a scan makes one.

use super::encode::Encoder;
use super::page::PAGE_BYTES;
use super::rows::DirectoryEntry;
use super::{file_name, temporary_name};
use crate::disk::{Disk, DiskBuffer, DiskError, DiskErrorKind, DiskFile, Durability};
use crate::index::ActiveIndex;
use crate::position::{Position, QueueHandle};
use futures_lite::future::yield_now;
use std::rc::Rc;

/// Pages encoded and written at a time; other tasks run in between.
const PAGES_PER_WRITE: usize = 32;

/// Where and how a segment ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealedAt {
    /// Position behind the last frame.
    pub segment_end: Position,
    /// Header checksum of the last frame: what the next segment's first frame is chained to.
    pub last_header_checksum: u32,
}

/// What goes into a bundle besides the index itself.
#[derive(Clone, Copy)]
pub struct BundleSource<'a> {
    /// Number of the segment.
    pub segment: u64,
    pub log_id: u128,
    pub sealed_at: SealedAt,
    /// Directory of the segment before, sorted by queue.
    pub directory_before: &'a [DirectoryEntry],
    /// Whether a queue still exists; others leave the directory.
    pub keep: &'a dyn Fn(QueueHandle) -> bool,
}

/// Writes the bundle of a segment that gets no more batches. Returns its length.
pub async fn write<D: Disk>(
    disk: &D,
    index: &ActiveIndex,
    source: BundleSource<'_>,
) -> Result<u64, DiskError> {
    let temporary = temporary_name(source.segment);
    match disk.remove(&temporary).await {
        Err(error) if error.kind != DiskErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.create(&temporary).await?;
    let mut encoder = Encoder::new(source.log_id, index, source.directory_before, source.keep);
    let mut offset = PAGE_BYTES as u64;
    loop {
        let mut buffer = disk.alloc(PAGES_PER_WRITE * PAGE_BYTES);
        let mut pages = 0;
        for page in buffer.chunks_exact_mut(PAGE_BYTES) {
            if !encoder.next_page(page) {
                break;
            }
            pages += 1;
        }
        if pages == 0 {
            break;
        }
        buffer.truncate(pages * PAGE_BYTES);
        file.write_at(Rc::new(buffer), offset, Durability::Volatile)
            .await?;
        offset += (pages * PAGE_BYTES) as u64;
        yield_now().await;
    }
    let header = encoder.header(source.sealed_at).encode();
    let mut buffer = disk.alloc(PAGE_BYTES);
    buffer.copy_from_slice(&header);
    file.write_at(Rc::new(buffer), 0, Durability::Volatile)
        .await?;
    file.sync_data().await?;
    file.close().await?;
    disk.rename(&temporary, &file_name(source.segment)).await?;
    Ok(offset)
}
