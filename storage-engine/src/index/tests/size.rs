//! What queues, batches and keys cost.

use super::model::insert;
use super::segment::{LOG_ID, source};
use crate::disk::Disk;
use crate::fixture::{Wanted, on_disk, put_at};
use crate::index::bundle;
use crate::index::{ActiveIndex, Catalog, CatalogOptions};
use crate::position::Position;

/// One batch in each of 100,000 queues.
fn wide_index() -> (ActiveIndex, Position) {
    let mut index = ActiveIndex::new(Position(0));
    let mut position = Position(128);
    for queue in 0..100_000 {
        let wanted = Wanted {
            queue,
            base_offset: 0,
            store_time_ms: 5,
            records: &[(0, "k", "")],
            body_bytes: 1,
        };
        let put = put_at(position, &wanted);
        insert(&mut index, &put);
        position.0 += 8 + put.bytes.len() as u64;
    }
    (index, position)
}

#[test]
fn a_hundred_thousand_queues_cost_one_file_and_few_bytes() {
    on_disk(1, |disk, _| async move {
        let (index, end) = wide_index();
        assert!(
            index.index_bytes() <= 100_000 * 112,
            "{} bytes",
            index.index_bytes()
        );
        let bytes = bundle::write(&disk, &index, source(0, end))
            .await
            .expect("disk is well");
        // 32 a queue, 32 + 8 a batch, 16 + 1.25 a key, 16 in the directory, and under 1 % for pages.
        assert!(bytes <= 100_000 * 107, "{bytes} bytes");
        let files = disk.list().await.expect("disk is well");
        assert_eq!(files.len(), 1);

        let options = CatalogOptions {
            log_id: LOG_ID,
            segment_bytes: 1 << 28,
            cache_bytes: 64 << 10,
        };
        let catalog = Catalog::new(disk, options);
        catalog.add_sealed(0, Some(77));
        catalog.load_start().await.expect("the bundle is whole");
        assert!(catalog.cached_bytes() <= 64 << 10);
    });
}
