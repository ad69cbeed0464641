//! Is this the batch that the index named, and is it whole?

use crate::commitlog::record::{RECORD_HEADER_BYTES, RecordKind};
use crate::disk::DiskError;
use crate::format::u32_at;
use crate::index::{BatchRef, Extent};
use ringmq_wire::batch::{BatchError, BatchHeader, BatchView};

/// What was wrong with a batch.
#[derive(Debug, thiserror::Error)]
pub enum CorruptCause {
    #[error("{0}")]
    Unreadable(#[source] DiskError),
    #[error("the segment ends before the batch does")]
    BehindEnd,
    #[error("its record header is not that of a batch of {batch_bytes} bytes")]
    RecordHeader { batch_bytes: u32 },
    #[error(transparent)]
    Batch(#[from] BatchError),
    #[error("it is queue {queue} from offset {base_offset} on, not what the index says")]
    Misplaced { queue: u32, base_offset: u64 },
}

/// Checks a record: header and batch.
pub(super) fn check(
    record: &[u8],
    extent: &Extent,
    expected: Option<&BatchRef>,
) -> Result<BatchHeader, CorruptCause> {
    let batch_bytes = extent.batch_bytes;
    let kind = [RecordKind::Batch as u8, 0, 0, 0];
    if u32_at(record, 0) != batch_bytes || record[4..RECORD_HEADER_BYTES] != kind {
        return Err(CorruptCause::RecordHeader { batch_bytes });
    }
    let header = *BatchView::parse_placed(&record[RECORD_HEADER_BYTES..])?.header();
    let is_expected = |batch: &BatchRef| {
        header.queue_handle == batch.queue.0 && header.base_offset == batch.base_offset.0
    };
    if expected.is_some_and(|batch| !is_expected(batch)) {
        return Err(CorruptCause::Misplaced {
            queue: header.queue_handle,
            base_offset: header.base_offset,
        });
    }
    Ok(header)
}
