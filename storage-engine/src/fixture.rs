//! What the tests of the derived data share: seeds, placed batches, and a log of them in memory.

use crate::commitlog::record::{RECORD_HEADER_BYTES, RecordKind, encode_around, record_bytes};
use crate::disk::sim::{SimDisk, SimDiskOptions};
use crate::index::{BatchRef, TagsSummary};
use crate::position::{Position, QueueHandle, QueueOffset};
use crate::runtime::sim::{SeededRandom, SimExecutor};
use ringmq_wire::batch::{BatchBuilder, BatchOptions, BatchView, Record, key_hash, place};
use std::future::Future;

/// The seed of a random test: `RINGMQ_SEED`, or a fixed one. Printed when the test fails.
pub(crate) fn seed() -> u64 {
    let seed = std::env::var("RINGMQ_SEED").ok();
    let seed = seed.map_or(7, |text| text.parse().expect("RINGMQ_SEED is a number"));
    let words = format!("replay with RINGMQ_SEED={seed}\n");
    // The test harness shows this for failed tests only.
    std::io::Write::write_all(&mut std::io::stdout(), words.as_bytes()).expect("stdout is open");
    seed
}

/// Runs a future on a simulated machine with an empty disk.
pub(crate) fn on_disk<T: 'static, F: Future<Output = T> + 'static>(
    seed: u64,
    test: impl FnOnce(SimDisk, crate::runtime::sim::SimRuntime) -> F,
) -> T {
    let executor = SimExecutor::new(seed);
    let disk = SimDisk::new(&executor.runtime(), SimDiskOptions::default());
    let ended = executor.run(test(disk, executor.runtime()));
    ended.expect("the test runs to its end")
}

/// What a batch is to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) queue: u32,
    pub(crate) base_offset: u64,
    pub(crate) store_time_ms: i64,
    /// (offset delta, key, tag) of each record; an empty key is none.
    pub(crate) records: &'a [(u32, &'a str, &'a str)],
    pub(crate) body_bytes: usize,
}

/// Encodes and places a batch.
pub(crate) fn placed(wanted: &Wanted<'_>) -> Vec<u8> {
    let body = vec![b'x'; wanted.body_bytes];
    let mut builder = BatchBuilder::new();
    for (delta, key, tag) in wanted.records {
        let keys = [*key];
        let record = Record {
            born_time_ms: wanted.store_time_ms,
            keys: if key.is_empty() { &[] } else { &keys },
            tag,
            properties: &[],
            envelope: None,
            body: &body,
        };
        builder
            .push_at(*delta, &record)
            .expect("a small record fits");
    }
    let options = BatchOptions::default();
    let mut batch = builder.finish(&options).expect("a small batch is valid");
    place(
        &mut batch,
        wanted.queue,
        wanted.base_offset,
        wanted.store_time_ms,
    );
    batch
}

/// A record around a batch.
pub(crate) fn record(batch: &[u8]) -> Vec<u8> {
    let mut record = vec![0; record_bytes(batch.len())];
    record[RECORD_HEADER_BYTES..RECORD_HEADER_BYTES + batch.len()].copy_from_slice(batch);
    encode_around(&mut record, RecordKind::Batch, batch.len());
    record
}

/// A batch and where it was put.
#[derive(Debug, Clone)]
pub(crate) struct Put {
    pub(crate) at: BatchRef,
    pub(crate) bytes: Vec<u8>,
    /// (key hash, record index)
    pub(crate) keys: Vec<(u32, u32)>,
}

/// Makes batches for random queues, one behind the other, as a log would hold them.
pub(crate) struct RandomLog {
    pub(crate) random: SeededRandom,
    pub(crate) queues: u64,
    pub(crate) keys: u64,
    pub(crate) body_bytes_max: usize,
    next_offsets: std::collections::BTreeMap<u32, u64>,
    position: u64,
    time_ms: i64,
}

impl RandomLog {
    pub(crate) fn new(seed: u64, queues: u64) -> Self {
        Self {
            random: SeededRandom::new(seed, "log"),
            queues,
            keys: 50,
            body_bytes_max: 40,
            next_offsets: std::collections::BTreeMap::new(),
            position: 128,
            time_ms: 1_000,
        }
    }

    /// Goes on at the start of a segment.
    pub(crate) fn skip_to(&mut self, base: Position) {
        self.position = base.0 + 128;
    }

    pub(crate) fn position(&self) -> Position {
        Position(self.position)
    }

    /// The next batch.
    pub(crate) fn put(&mut self) -> Put {
        // Queue handles with gaps between them.
        let queue = self.random.below(self.queues) as u32 * 3 + 1;
        let names: Vec<String> = (0..self.keys).map(|key| format!("key-{key}")).collect();
        let tags = ["", "red", "green", "blue"];
        let mut delta = 0;
        let mut records = Vec::new();
        for _ in 0..1 + self.random.below(4) {
            let key = self.random.index(names.len() + 10);
            let key = names.get(key).map_or("", |name| name);
            records.push((delta, key, tags[self.random.index(tags.len())]));
            delta += 1 + if self.random.one_in(4) {
                self.random.below(9) as u32
            } else {
                0
            };
        }
        self.time_ms += self.random.below(3) as i64;
        let wanted = Wanted {
            queue,
            base_offset: self.next_offsets.get(&queue).copied().unwrap_or(0),
            store_time_ms: self.time_ms,
            records: &records,
            body_bytes: self.random.index(self.body_bytes_max + 1),
        };
        let put = put_at(Position(self.position), &wanted);
        self.next_offsets.insert(queue, put.at.next_offset.0);
        self.position += record_bytes(put.bytes.len()) as u64;
        put
    }
}

/// A batch at a position, and what the index should say about it.
pub(crate) fn put_at(position: Position, wanted: &Wanted<'_>) -> Put {
    let bytes = placed(wanted);
    let view = BatchView::parse_placed(&bytes).expect("it was just built");
    let keys = wanted.records.iter().enumerate();
    let keys = keys
        .filter(|(_, (_, key, _))| !key.is_empty())
        .map(|(index, (_, key, _))| (key_hash(key), index as u32))
        .collect();
    let at = BatchRef {
        queue: QueueHandle(wanted.queue),
        base_offset: QueueOffset(wanted.base_offset),
        next_offset: QueueOffset(view.header().next_offset()),
        position,
        batch_bytes: bytes.len() as u32,
        record_count: wanted.records.len() as u32,
        store_time_ms: wanted.store_time_ms,
        tags: TagsSummary::of(view.tags_codes()),
    };
    Put { at, bytes, keys }
}
