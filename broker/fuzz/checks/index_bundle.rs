//! An index bundle, every page under a right checksum and every question asked of it.

#[path = "simulated.rs"]
mod simulated;

use ringmq_storage_engine::index::bundle::{Bundle, BundleIdentity, PageCache, file_name};
use ringmq_storage_engine::position::{Position, QueueHandle, QueueOffset};
use std::rc::Rc;

const PAGE: usize = 4096;

pub fn check(bytes: &[u8]) {
    let identity = BundleIdentity {
        log_id: 7,
        segment_base: Position(0),
    };
    let file = sealed(bytes, identity);
    simulated::on_disk(|disk| async move {
        simulated::write(&disk, &file_name(0), &file).await;
        let cache = Rc::new(PageCache::new(2 * PAGE));
        let Ok(bundle) = Bundle::open(&disk, 0, identity, None, cache).await else {
            return;
        };
        bundle.verify().await.expect("every page was sealed");
        let directory = bundle.directory().await.unwrap_or_default();
        let _ = bundle.first_offsets().await;
        for position in [0, 4096, 9000, u64::MAX] {
            let _ = bundle.extent_at(Position(position)).await;
        }
        let queues = directory.iter().map(|entry| entry.queue).take(3);
        for queue in queues.chain([QueueHandle(0), QueueHandle(1), QueueHandle(u32::MAX)]) {
            let _ = bundle.next_offset(queue).await;
            let _ = bundle.batch_at_time(queue, 1).await;
            let mut left = 100;
            let wanted = |_: &_| {
                left -= 1;
                left > 0
            };
            let _ = bundle.batches_from(queue, QueueOffset(1), wanted).await;
            let _ = bundle
                .find_key(queue, 1, i64::MIN..=i64::MAX, Position(u64::MAX), 100)
                .await;
        }
    });
}

/// The input as rows of pages, each with its number and a right checksum; the first is a header of this log.
fn sealed(bytes: &[u8], identity: BundleIdentity) -> Vec<u8> {
    let mut file = bytes.to_vec();
    file.resize(bytes.len().max(1).next_multiple_of(PAGE), 0);
    file.truncate(32 * PAGE);
    file[8..24].copy_from_slice(b"RNGQIDX1\x01\0\0\0\0\0\0\0");
    file[24..40].copy_from_slice(&identity.log_id.to_le_bytes());
    file[40..48].copy_from_slice(&identity.segment_base.0.to_le_bytes());
    for (number, page) in file.chunks_exact_mut(PAGE).enumerate() {
        page[4..8].copy_from_slice(&(number as u32).to_le_bytes());
        let log_id = if number == 0 { 0 } else { identity.log_id };
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&log_id.to_le_bytes());
        hasher.update(&identity.segment_base.0.to_le_bytes());
        hasher.update(&page[4..]);
        page[..4].copy_from_slice(&hasher.finalize().to_le_bytes());
    }
    file
}
