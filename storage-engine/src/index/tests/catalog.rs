//! All segments together, against the model: rolls, seals, restarts, damage, rebuilds, cuts and retention.

use super::model::{Model, insert};
use super::segment::LOG_ID;
use crate::disk::Disk;
use crate::disk::sim::{Damage, SimDisk};
use crate::fixture::{RandomLog, on_disk, seed};
use crate::index::bundle::{DirectoryEntry, SealedAt, file_name};
use crate::index::{ActiveIndex, BatchLimits, Catalog, CatalogOptions, IndexError};
use crate::position::{Position, QueueHandle, QueueOffset};
use crate::runtime::sim::SeededRandom;
use ringmq_wire::batch::{BatchView, key_hash};
use std::collections::{BTreeMap, BTreeSet};

const SEGMENT_BYTES: u64 = 1 << 14;
const ALL: BatchLimits = BatchLimits {
    batches_max: usize::MAX,
    bytes_max: u64::MAX,
};

struct World {
    disk: SimDisk,
    catalog: Catalog<SimDisk>,
    log: RandomLog,
    model: Model,
    random: SeededRandom,
    /// First segment of the log; the first without a bundle; the active one.
    oldest: u64,
    unsealed: u64,
    active: u64,
    /// Next offsets of queues when the segment before `oldest` was sealed.
    removed: BTreeMap<QueueHandle, QueueOffset>,
    /// Segments whose bundle is damaged.
    damaged: BTreeSet<u64>,
    /// This catalog knows what was before the oldest segment.
    removed_known: bool,
    rebuilds: u32,
}

fn options() -> CatalogOptions {
    CatalogOptions {
        log_id: LOG_ID,
        segment_bytes: SEGMENT_BYTES,
        cache_bytes: 16 << 10,
    }
}

fn sealed_at(segment: u64) -> SealedAt {
    SealedAt {
        segment_end: Position((segment + 1) * SEGMENT_BYTES),
        last_header_checksum: segment as u32 + 5,
    }
}

impl World {
    fn new(disk: SimDisk, seed: u64, queues: u64) -> Self {
        let catalog = Catalog::new(disk.clone(), options());
        catalog.open_segment(Position(0));
        Self {
            disk,
            catalog,
            log: RandomLog::new(seed, queues),
            model: Model::default(),
            random: SeededRandom::new(seed, "world"),
            oldest: 0,
            unsealed: 0,
            active: 0,
            removed: BTreeMap::new(),
            damaged: BTreeSet::new(),
            removed_known: false,
            rebuilds: 0,
        }
    }

    fn append(&mut self) {
        if self.log.position().0 % SEGMENT_BYTES > SEGMENT_BYTES - 2000 {
            self.active += 1;
            let base = Position(self.active * SEGMENT_BYTES);
            self.catalog.open_segment(base);
            self.log.skip_to(base);
        }
        let put = self.log.put();
        let view = BatchView::parse_placed(&put.bytes).expect("the batch is whole");
        let inserted = self.catalog.insert(put.at.position, &view);
        inserted.expect("batches come in order");
        self.model.add(put);
    }

    async fn seal(&mut self) {
        if self.unsealed == self.active {
            return;
        }
        let segment = self.unsealed;
        assert_eq!(self.catalog.frozen().first(), Some(&segment));
        let catalog = self.catalog.clone();
        self.answered(async || catalog.seal(segment, sealed_at(segment), &|_| true).await)
            .await;
        self.unsealed += 1;
    }

    /// Asks; rebuilds what must be rebuilt; asks again.
    async fn answered<T>(&mut self, ask: impl AsyncFn() -> Result<T, IndexError>) -> T {
        let mut tries = 0;
        loop {
            match ask().await {
                Ok(answer) => return answer,
                Err(IndexError::NeedsRebuild { segment, .. }) => self.rebuild(segment).await,
                Err(error) => panic!("{error}"),
            }
            tries += 1;
            assert!(tries < 100, "rebuilds do not help");
        }
    }

    async fn rebuild(&mut self, segment: u64) {
        let mut wanted = vec![segment];
        while let Some(segment) = wanted.last().copied() {
            let index = self.scan(segment);
            let at = sealed_at(segment);
            let scan = async |segment| Some(self.scan(segment));
            let behind = match self.catalog.is_told_of_before(segment) {
                true => Vec::new(),
                false => self.catalog.starts_behind(segment, scan).await,
            };
            let installed = self.catalog.install_rebuilt(&index, at, &behind, &|_| true);
            match installed.await {
                Ok(()) => {
                    wanted.pop();
                    self.rebuilds += 1;
                    self.damaged.remove(&segment);
                }
                Err(IndexError::NeedsRebuild { segment, .. }) => wanted.push(segment),
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn scan(&self, segment: u64) -> ActiveIndex {
        let base = segment * SEGMENT_BYTES;
        let mut index = ActiveIndex::new(Position(base));
        for put in &self.model.puts {
            if put.at.position.0 / SEGMENT_BYTES == segment {
                insert(&mut index, put);
            }
        }
        index
    }

    async fn restart(&mut self) {
        self.catalog = Catalog::new(self.disk.clone(), options());
        for segment in self.oldest..self.unsealed {
            let known = self.random.coin();
            let checksum = sealed_at(segment).last_header_checksum;
            self.catalog.add_sealed(segment, known.then_some(checksum));
        }
        for segment in self.unsealed..=self.active {
            self.catalog.open_segment(Position(segment * SEGMENT_BYTES));
            for put in &self.model.puts {
                if put.at.position.0 / SEGMENT_BYTES == segment {
                    let view = BatchView::parse_placed(&put.bytes).expect("the batch is whole");
                    let inserted = self.catalog.insert(put.at.position, &view);
                    inserted.expect("batches come in order");
                }
            }
        }
        self.removed_known = self.oldest == self.unsealed;
        let catalog = self.catalog.clone();
        self.answered(async || catalog.load_start().await).await;
        let mut next_offsets = self.removed.clone();
        next_offsets.extend(self.model.next_offsets());
        let entries = next_offsets.into_iter();
        let entries = entries.map(|(queue, next_offset)| DirectoryEntry { queue, next_offset });
        self.catalog.set_next_offsets(entries.collect());
    }

    async fn damage(&mut self) {
        if self.oldest == self.unsealed {
            return;
        }
        let segment = self.oldest + self.random.below(self.unsealed - self.oldest);
        let name = file_name(segment);
        let len = self.disk.bytes(&name).map_or(0, |bytes| bytes.len() as u64);
        if len == 0 {
            return;
        }
        let at = self.random.below(len / 4096) * 4096;
        self.damaged.insert(segment);
        match self.random.below(4) {
            0 => self.disk.remove(&name).await.expect("it is there"),
            1 => assert!(self.disk.damage(&name, at, Damage::BitFlip)),
            2 => assert!(self.disk.damage(&name, at, Damage::Unreadable)),
            _ => assert!(self.disk.damage(&name, at, Damage::Noise)),
        }
    }

    async fn remove_oldest(&mut self) {
        if self.oldest == self.unsealed {
            return;
        }
        let segment = self.oldest;
        let index = self.scan(segment);
        let was_damaged = self.damaged.contains(&segment);
        let catalog = self.catalog.clone();
        self.answered(async || catalog.remove_oldest(segment).await)
            .await;
        for (queue, _) in index.queues() {
            let next = index.next_offset(queue).expect("it has batches");
            self.removed.insert(queue, next);
        }
        self.oldest += 1;
        self.damaged.remove(&segment);
        self.removed_known |= !was_damaged;
        self.model.drop_below(Position(self.oldest * SEGMENT_BYTES));
        // As the segment does, whose bundle it is; it may be lost already.
        let _ = self.disk.remove(&file_name(segment)).await;
    }

    async fn compare(&mut self) {
        let last = self.log.position().0;
        let first = self.oldest * SEGMENT_BYTES;
        for _ in 0..12 {
            let queue = QueueHandle(self.random.below(self.log.queues) as u32 * 3 + 1);
            let end = Position(first + self.random.below(last - first + 1));
            let end = if self.random.coin() {
                Position(last)
            } else {
                end
            };
            self.compare_batches(queue, end).await;
            self.compare_times_and_keys(queue, end).await;
            let position = Position(first + self.random.below(last - first));
            let catalog = self.catalog.clone();
            let found = self
                .answered(async || catalog.extent_at(position, end).await)
                .await;
            let same_segment = |at: &Position| at.0 / SEGMENT_BYTES == position.0 / SEGMENT_BYTES;
            let expected = self.model.extent_at(position);
            let expected = expected.filter(|e| same_segment(&e.position) && e.position < end);
            assert_eq!(found, expected);
        }
    }

    async fn compare_batches(&mut self, queue: QueueHandle, end: Position) {
        let all = self
            .model
            .batches(queue, QueueOffset(0), Position(u64::MAX));
        let top = all.last().map_or(2, |batch| batch.next_offset.0 + 2);
        let from = QueueOffset(self.random.below(top));
        let catalog = self.catalog.clone();
        let found = self
            .answered(async || catalog.batches(queue, from, end, ALL).await)
            .await;
        let expected = self.model.batches(queue, from, end);
        assert_eq!(found, expected);
        let few = BatchLimits {
            batches_max: 3,
            bytes_max: 500,
        };
        let found = self
            .answered(async || catalog.batches(queue, from, end, few).await)
            .await;
        assert_eq!(found.is_empty(), expected.is_empty());
        assert_eq!(found, expected[..found.len()]);
        assert!(found.len() <= 3);
        if let Some(in_memory) = self.catalog.batches_in_memory(queue, from, end, ALL) {
            assert_eq!(in_memory, expected);
        }
        let min = self.catalog.min_offset(queue);
        match (all.first(), self.removed.get(&queue)) {
            (Some(first), _) => assert_eq!(min, Some(first.base_offset)),
            // Nothing that is left names it if all bundles were lost.
            (None, Some(next)) => assert!(min.is_none_or(|min| min <= *next)),
            (None, None) => assert!(min.is_none_or(|min| min == QueueOffset(0))),
        }
    }

    async fn compare_times_and_keys(&mut self, queue: QueueHandle, end: Position) {
        let last_ms = self
            .model
            .puts
            .last()
            .map_or(1000, |put| put.at.store_time_ms) as u64;
        let time_ms = last_ms.saturating_sub(self.random.below(900)) as i64;
        let catalog = self.catalog.clone();
        let found = self
            .answered(async || catalog.offset_at_time(queue, time_ms, end).await)
            .await;
        let expected = self.model.at_time(queue, time_ms, end);
        assert_eq!(found, expected.map(|batch| batch.base_offset));
        let hash = key_hash(&format!("key-{}", self.random.below(60)));
        let times = time_ms..=time_ms + self.random.below(600) as i64;
        let mut expected = self.model.find_key(queue, hash, times.clone(), end);
        let max = 1 + self.random.index(6);
        expected.truncate(max);
        let found = self
            .answered(async || catalog.find_key(queue, hash, times.clone(), end, max).await)
            .await;
        assert_eq!(found, expected);
    }
}

#[test]
fn a_shard_answers_like_the_model() {
    let seed = seed();
    for (round, queues) in [(0, 2), (1, 12), (2, 200)] {
        let seed = seed + round;
        let rebuilds = on_disk(seed, move |disk, _| async move {
            let mut world = World::new(disk, seed, queues);
            for _ in 0..100 {
                for _ in 0..world.random.below(60) {
                    world.append();
                }
                match world.random.below(9) {
                    0..4 => world.seal().await,
                    4 => world.restart().await,
                    5 => world.damage().await,
                    6 if world.random.coin() => world.remove_oldest().await,
                    _ => {}
                }
                world.compare().await;
            }
            world.rebuilds
        });
        assert!(rebuilds > 3, "only {rebuilds} rebuilds: damage was not met");
    }
}

#[test]
fn a_cut_takes_back_rolled_segments() {
    let seed = seed();
    on_disk(seed, move |disk, _| async move {
        let mut world = World::new(disk, seed, 5);
        while world.active < 3 {
            world.append();
        }
        world.seal().await;
        for cut in [
            2 * SEGMENT_BYTES + 3000,
            2 * SEGMENT_BYTES,
            SEGMENT_BYTES + 5000,
        ] {
            let cut = Position(cut);
            world.catalog.truncate(cut);
            world.model.truncate(cut);
            let queue = QueueHandle(1);
            let all = world
                .catalog
                .batches(queue, QueueOffset(0), Position(u64::MAX), ALL);
            let expected = world
                .model
                .batches(queue, QueueOffset(0), Position(u64::MAX));
            assert_eq!(all.await.expect("readable"), expected);
        }
        assert_eq!(world.catalog.frozen(), Vec::<u64>::new());
        assert!(world.catalog.active_index_bytes() > 0);
    });
}
