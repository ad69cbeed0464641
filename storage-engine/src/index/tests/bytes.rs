//! The bytes of a bundle: the same from every rebuild, every changed bit found, hostile ones survived.

use super::model::insert;
use super::segment::{LOG_ID, open, random_segment, source};
use crate::disk::sim::{SimDisk, SimDiskOptions};
use crate::disk::{Disk, DiskFile, Durability};
use crate::fixture::{on_disk, seed};
use crate::index::ActiveIndex;
use crate::index::bundle::{self, Bundle, BundleError, BundleIdentity, PAGE_BYTES, PageCache};
use crate::position::{Position, QueueHandle, QueueOffset};
use crate::runtime::sim::{SeededRandom, SimRuntime};
use ringmq_wire::batch::key_hash;
use std::rc::Rc;

/// Writes a small bundle; gives its bytes.
async fn small_bundle(disk: &SimDisk, seed: u64) -> Vec<u8> {
    let (index, _, end) = random_segment(seed, 3, 20);
    bundle::write(disk, &index, source(0, end))
        .await
        .expect("disk is well");
    disk.bytes(&bundle::file_name(0))
        .expect("it was just written")
}

/// A disk with `bytes` as the bundle.
async fn disk_with(runtime: &SimRuntime, bytes: &[u8]) -> SimDisk {
    let disk = SimDisk::new(runtime, SimDiskOptions::default());
    let file = disk
        .create(&bundle::file_name(0))
        .await
        .expect("the disk is empty");
    let mut buffer = disk.alloc(bytes.len());
    buffer.copy_from_slice(bytes);
    let written = file
        .write_at(Rc::new(buffer), 0, Durability::Volatile)
        .await;
    written.expect("disk is well");
    disk
}

async fn try_open(disk: &SimDisk) -> Result<Bundle<SimDisk>, BundleError> {
    let identity = BundleIdentity {
        log_id: LOG_ID,
        segment_base: Position(0),
    };
    Bundle::open(
        disk,
        0,
        identity,
        Some(77),
        Rc::new(PageCache::new(1 << 20)),
    )
    .await
}

/// Whether the bundle is found to be whole.
async fn is_whole(disk: &SimDisk) -> bool {
    match try_open(disk).await {
        Ok(bundle) => bundle.verify().await.is_ok(),
        Err(_) => false,
    }
}

/// Asks the bundle everything; the number of answers.
async fn ask_all(disk: &SimDisk) -> Result<usize, BundleError> {
    let bundle = try_open(disk).await?;
    let mut answers = bundle.first_offsets().await?.len();
    for queue in [1, 4, 7] {
        let queue = QueueHandle(queue);
        answers += bundle
            .batches_from(queue, QueueOffset(0), |_| true)
            .await?
            .len();
        answers += usize::from(bundle.batch_at_time(queue, 1005).await?.is_some());
        for key in 0..10 {
            let hash = key_hash(&format!("key-{key}"));
            let found = bundle.find_key(queue, hash, 0..=i64::MAX, Position(u64::MAX), 100);
            answers += found.await?.len();
        }
    }
    answers += usize::from(bundle.extent_at(Position(500)).await?.is_some());
    Ok(answers)
}

#[test]
fn a_rebuild_gives_the_same_bytes() {
    let seed = seed();
    on_disk(seed, move |disk, _| async move {
        let (index, model, end) = random_segment(seed, 40, 5000);
        bundle::write(&disk, &index, source(3, end))
            .await
            .expect("disk is well");
        let first = disk.bytes(&bundle::file_name(3));
        let mut again = ActiveIndex::new(Position(0));
        for put in &model.puts {
            insert(&mut again, put);
        }
        bundle::write(&disk, &again, source(3, end))
            .await
            .expect("disk is well");
        assert_eq!(disk.bytes(&bundle::file_name(3)), first);
        assert!(disk.bytes(&bundle::temporary_name(3)).is_none());
    });
}

#[test]
fn every_flipped_bit_is_found() {
    let seed = seed();
    on_disk(seed, move |disk, runtime| async move {
        let mut bytes = small_bundle(&disk, seed).await;
        assert!(is_whole(&disk).await);
        assert!(ask_all(&disk).await.is_ok_and(|answers| answers > 20));
        for byte in 0..bytes.len() {
            // All bits where the fields are, one elsewhere.
            let bits = if byte < 184 {
                0..8
            } else {
                byte % 8..byte % 8 + 1
            };
            for bit in bits {
                bytes[byte] ^= 1 << bit;
                let damaged = disk_with(&runtime, &bytes).await;
                assert!(!is_whole(&damaged).await, "bit {bit} of byte {byte}");
                bytes[byte] ^= 1 << bit;
            }
        }
    });
}

#[test]
fn misplaced_and_missing_pages_are_found() {
    let seed = seed();
    on_disk(seed, move |disk, runtime| async move {
        let bytes = small_bundle(&disk, seed).await;
        for page in 1..bytes.len() / PAGE_BYTES - 1 {
            let mut swapped = bytes.clone();
            let (left, right) = swapped.split_at_mut((page + 1) * PAGE_BYTES);
            left[page * PAGE_BYTES..].swap_with_slice(&mut right[..PAGE_BYTES]);
            let damaged = disk_with(&runtime, &swapped).await;
            assert!(
                ask_all(&damaged).await.is_err(),
                "pages {page} and {}",
                page + 1
            );
        }
        for len in (PAGE_BYTES..bytes.len()).step_by(PAGE_BYTES) {
            let damaged = disk_with(&runtime, &bytes[..len]).await;
            assert!(!is_whole(&damaged).await, "cut to {len} bytes");
        }
        let longer = [&bytes[..], &[0; PAGE_BYTES]].concat();
        assert!(!is_whole(&disk_with(&runtime, &longer).await).await);
    });
}

#[test]
fn hostile_pages_never_panic() {
    let seed = seed();
    on_disk(seed, move |disk, runtime| async move {
        let bytes = small_bundle(&disk, seed).await;
        let identity = BundleIdentity {
            log_id: LOG_ID,
            segment_base: Position(0),
        };
        let mut random = SeededRandom::new(seed, "hostile");
        let mut answered = 0;
        for _ in 0..1000 {
            let mut hostile = bytes.clone();
            // Anything may be in the pages, with checksums that fit.
            let page = random.index(bytes.len() / PAGE_BYTES);
            for _ in 0..1 + random.below(8) {
                let at = page * PAGE_BYTES + 8 + random.index(200);
                hostile[at] = random.next_u64() as u8;
            }
            let page_bytes = &mut hostile[page * PAGE_BYTES..(page + 1) * PAGE_BYTES];
            bundle::seal_page(page_bytes, page as u32, (page > 0).then_some(&identity));
            let disk = disk_with(&runtime, &hostile).await;
            answered += usize::from(ask_all(&disk).await.is_ok());
        }
        assert!(
            answered > 100,
            "only {answered} hostile files got as far as answers"
        );
    });
}

#[test]
fn golden_header() {
    on_disk(1, |disk, _| async move {
        let bytes = small_bundle(&disk, 1).await;
        assert_eq!(&bytes[4..8], [0; 4]);
        assert_eq!(&bytes[8..16], b"RNGQIDX1");
        assert_eq!(bytes[16..24], [1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[24..40], LOG_ID.to_le_bytes());
        assert_eq!(bytes[40..48], [0; 8]);
        assert_eq!(bytes[56..64], [77, 0, 0, 0, 0, 0, 0, 0]);
        let section = |number: usize| {
            let at = 80 + 16 * number;
            let field = |at: usize| {
                u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
            };
            (field(at), field(at + 4), field(at + 8))
        };
        assert_eq!(section(0), (1, 1, 3));
        assert_eq!(section(1), (2, 1, 20));
        assert_eq!(section(2), (3, 1, 20));
        assert_eq!((section(3).0, section(3).1), (4, 1));
        assert_eq!(section(4), (5, 1, 1));
        assert_eq!(section(5), (6, 1, 3));
        assert_eq!(bytes[176..180], [7, 0, 0, 0]);
        assert_eq!(bytes.len(), 7 * PAGE_BYTES);
        open(&disk, 0, Position(0)).await;
    });
}
