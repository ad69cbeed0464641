//! The index of a sealed segment against the segment itself.

use crate::disk::{Disk, DiskErrorKind};
use crate::index::ActiveIndex;
use crate::index::bundle::{
    self, Bundle, BundleError, BundleIdentity, PAGE_BYTES, PageCache, SealedAt,
};
use crate::position::{Position, QueueHandle, QueueOffset};
use std::collections::BTreeSet;
use std::rc::Rc;

/// What a scan of the segment says.
pub(super) struct Expected<'a> {
    pub(super) number: u64,
    pub(super) base: Position,
    pub(super) log_id: u128,
    pub(super) index: &'a ActiveIndex,
    pub(super) queues: &'a BTreeSet<QueueHandle>,
    pub(super) sealed_at: SealedAt,
    /// The scan has not seen all that was there when the index was made.
    pub(super) is_damaged: bool,
}

/// File name of a segment's index.
pub(super) fn name(number: u64) -> String {
    bundle::file_name(number)
}

/// Whether there is an index and it says the same; an error says what is wrong with it.
pub(super) async fn compare<D: Disk>(disk: &D, expected: &Expected<'_>) -> Result<bool, String> {
    let identity = BundleIdentity {
        log_id: expected.log_id,
        segment_base: expected.base,
    };
    let checksum = expected.sealed_at.last_header_checksum;
    let checksum = (!expected.is_damaged).then_some(checksum);
    let cache = Rc::new(PageCache::new(64 * PAGE_BYTES));
    let bundle = match Bundle::open(disk, expected.number, identity, checksum, cache).await {
        Ok(bundle) => bundle,
        Err(BundleError::Disk(error)) if error.kind == DiskErrorKind::NotFound => {
            return Ok(false);
        }
        Err(error) => return Err(error.to_string()),
    };
    let compared = compare_rows(&bundle, expected).await;
    match compared.map_err(|error| error.to_string())? {
        None => Ok(true),
        Some(queue) => Err(format!(
            "it does not say of queue {} what the segment says",
            queue.0
        )),
    }
}

/// The first queue whose batches differ.
async fn compare_rows<D: Disk>(
    bundle: &Bundle<D>,
    expected: &Expected<'_>,
) -> Result<Option<QueueHandle>, BundleError> {
    bundle.verify().await?;
    for queue in expected.queues {
        let start = QueueOffset(0);
        let mut known = bundle
            .batches_from(*queue, start, |_| true)
            .await?
            .into_iter();
        for batch in expected.index.batches_from(*queue, start) {
            // Of a damaged segment the index knows batches that the scan does not.
            let found =
                known.find(|known| !expected.is_damaged || known.position >= batch.position);
            if found != Some(batch) {
                return Ok(Some(*queue));
            }
        }
        if !expected.is_damaged && known.next().is_some() {
            return Ok(Some(*queue));
        }
    }
    Ok(None)
}
