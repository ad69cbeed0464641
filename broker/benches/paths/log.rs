//! The storage engine: a batch into a frame, into the index, and out of the cache.

use super::{Path, RECORDS, batch, placed};
use futures_lite::future::block_on;
use ringmq_storage_engine::cache::TailCache;
use ringmq_storage_engine::commitlog::frame::Link;
use ringmq_storage_engine::commitlog::open_frame::{FrameIdentity, OpenFrame, QueueSpan};
use ringmq_storage_engine::commitlog::record::record_bytes;
use ringmq_storage_engine::disk::sim::{SimDisk, SimDiskOptions, SimFile};
use ringmq_storage_engine::disk::{Disk, DiskError};
use ringmq_storage_engine::index::bundle::{BundleSource, SealedAt, write};
use ringmq_storage_engine::index::{ActiveIndex, BatchRef, TagsSummary};
use ringmq_storage_engine::position::{Position, QueueHandle, QueueOffset};
use ringmq_storage_engine::reader::{Reader, ReaderOptions, SegmentSource};
use ringmq_storage_engine::runtime::sim::{SimExecutor, SimRuntime};
use ringmq_wire::batch::BatchView;
use std::hint::black_box;
use std::rc::Rc;

const FRAME_BYTES: usize = 1 << 20;
const BATCHES: u64 = 32;
const IDENTITY: FrameIdentity = FrameIdentity {
    log_id: 1,
    term: 1,
    epoch: 1,
};

pub(super) fn paths() -> Vec<Path> {
    let executor = SimExecutor::new(1);
    let disk = SimDisk::new(&executor.runtime(), SimDiskOptions::default());
    vec![
        append(&disk),
        insert(),
        seal_index(),
        fetch(&disk, executor.runtime()),
    ]
}

fn span(number: u64) -> QueueSpan {
    QueueSpan {
        queue: QueueHandle(1),
        base: QueueOffset(number * RECORDS as u64),
        next: QueueOffset((number + 1) * RECORDS as u64),
    }
}

/// A frame of [`BATCHES`] batches, sealed.
fn append(disk: &SimDisk) -> Path {
    let (disk, batch) = (disk.clone(), batch());
    Path::new("append batches to a frame", move || {
        let mut frame = OpenFrame::new(disk.alloc(FRAME_BYTES), Position(0));
        for number in 0..BATCHES {
            frame.push_batch(&[black_box(&batch)], span(number), 1_700_000_000_000);
        }
        black_box(
            frame
                .seal(IDENTITY, &Link::GENESIS, Position(0))
                .buffer
                .len(),
        );
    })
}

fn index_of(batches: &[Vec<u8>]) -> ActiveIndex {
    let mut index = ActiveIndex::new(Position(0));
    let mut position = 128;
    for batch in batches {
        let view = BatchView::parse_unverified(batch).expect("it was just built");
        let inserted = index.insert(Position(position), &view);
        inserted.expect("batches come in order");
        position += record_bytes(batch.len()) as u64;
    }
    index
}

/// Batches of eight queues in turn.
fn batches_of_queues() -> Vec<Vec<u8>> {
    let numbers = 0..8 * BATCHES;
    numbers
        .map(|number| placed(1 + (number % 8) as u32, number / 8))
        .collect()
}

fn insert() -> Path {
    let batches = batches_of_queues();
    Path::new("index batches", move || {
        black_box(index_of(black_box(&batches)).batch_count());
    })
}

fn seal_index() -> Path {
    let index = index_of(&batches_of_queues());
    Path::new("seal an index", move || {
        // A disk of its own: what earlier runs wrote must not cost the next one anything.
        let executor = SimExecutor::new(1);
        let disk = SimDisk::new(&executor.runtime(), SimDiskOptions::default());
        let index = index.clone();
        let written = executor.run(async move {
            let source = BundleSource {
                segment: 0,
                log_id: 1,
                sealed_at: SealedAt {
                    segment_end: Position(1 << 28),
                    last_header_checksum: 1,
                },
                directory_before: &[],
                keep: &|_| true,
            };
            write(&disk, &index, source).await
        });
        let bytes = written.expect("the run ends").expect("the disk is well");
        black_box(bytes);
    })
}

/// Nothing is read from the disk here.
struct NoSegments;

impl SegmentSource<SimDisk> for NoSegments {
    type Segment = SimFile;
    fn file(segment: &SimFile) -> &SimFile {
        segment
    }
    async fn segment(&self, _number: u64) -> Result<Option<SimFile>, DiskError> {
        Ok(None)
    }
}

/// Reads [`BATCHES`] batches that are in the newest frame.
fn fetch(disk: &SimDisk, runtime: SimRuntime) -> Path {
    let mut frame = OpenFrame::new(disk.alloc(FRAME_BYTES), Position(0));
    let batch = batch();
    let refs: Vec<BatchRef> = (0..BATCHES)
        .map(|number| {
            let at = span(number);
            let placed = frame.push_batch(&[&batch], at, 1_700_000_000_000);
            BatchRef {
                queue: at.queue,
                base_offset: at.base,
                next_offset: at.next,
                position: placed.position,
                batch_bytes: batch.len() as u32,
                record_count: RECORDS as u32,
                store_time_ms: 1_700_000_000_000,
                tags: TagsSummary::default(),
            }
        })
        .collect();
    let sealed = frame.seal(IDENTITY, &Link::GENESIS, Position(0));
    let mut cache = TailCache::new(FRAME_BYTES);
    cache.push(Position(0), Rc::clone(&sealed.buffer));
    let options = ReaderOptions::new(1 << 28);
    let reader: Reader<SimDisk, SimRuntime, NoSegments> = Reader::new(runtime, NoSegments, options);
    Path::new("fetch from the cache", move || {
        let tail = |at, len| cache.find(at, len);
        let read = block_on(reader.read(black_box(&refs), Position(1 << 20), tail));
        assert_eq!(read.expect("all is in memory").batches.len(), refs.len());
    })
}
