//! One segment: in memory and as a bundle, against the model.

use super::model::{Model, insert};
use crate::disk::sim::SimDisk;
use crate::fixture::{RandomLog, Wanted, on_disk, put_at, seed};
use crate::index::bundle::{self, Bundle, BundleIdentity, BundleSource, PageCache, SealedAt};
use crate::index::{ActiveIndex, InsertError};
use crate::position::{Position, QueueHandle, QueueOffset};
use crate::runtime::sim::SeededRandom;
use ringmq_wire::batch::{BatchView, key_hash};
use std::rc::Rc;

pub(super) const LOG_ID: u128 = 0x1234_5678_9abc_def0_1234_5678_9abc_def0;
const ALL: Position = Position(u64::MAX);

/// An index and its model of `batches` random batches.
pub(super) fn random_segment(
    seed: u64,
    queues: u64,
    batches: usize,
) -> (ActiveIndex, Model, Position) {
    let mut log = RandomLog::new(seed, queues);
    let (mut index, mut model) = (ActiveIndex::new(Position(0)), Model::default());
    for _ in 0..batches {
        let put = log.put();
        insert(&mut index, &put);
        model.add(put);
    }
    (index, model, log.position())
}

pub(super) fn source(segment: u64, end: Position) -> BundleSource<'static> {
    BundleSource {
        segment,
        log_id: LOG_ID,
        sealed_at: SealedAt {
            segment_end: end,
            last_header_checksum: 77,
        },
        directory_before: &[],
        keep: &|_| true,
    }
}

pub(super) async fn open(disk: &SimDisk, segment: u64, base: Position) -> Bundle<SimDisk> {
    let identity = BundleIdentity {
        log_id: LOG_ID,
        segment_base: base,
    };
    let cache = Rc::new(PageCache::new(8 * 4096));
    let opened = Bundle::open(disk, segment, identity, Some(77), cache).await;
    opened.expect("the bundle was just written")
}

#[test]
fn memory_answers_like_the_model() {
    let seed = seed();
    for (round, queues) in [(0, 1), (1, 5), (2, 300)] {
        let (mut index, mut model, end) = random_segment(seed + round, queues, 2000);
        compare(&index, &model, seed + round);
        let mut random = SeededRandom::new(seed + round, "cut");
        for _ in 0..4 {
            let cut = Position(random.below(end.0));
            index.truncate(cut);
            model.truncate(cut);
            compare(&index, &model, seed + round);
        }
        index.truncate(Position(0));
        assert_eq!(
            (index.batch_count(), index.queue_count(), index.key_count()),
            (0, 0, 0)
        );
    }
}

fn compare(index: &ActiveIndex, model: &Model, seed: u64) {
    assert_eq!(index.batch_count() as usize, model.puts.len());
    assert_eq!(index.queue_count(), model.queues().len());
    let mut random = SeededRandom::new(seed, "compare");
    let last_ms = model.puts.last().map_or(0, |put| put.at.store_time_ms);
    for queue in model.queues().into_iter().chain([QueueHandle(0)]).take(60) {
        let all = model.batches(queue, QueueOffset(0), ALL);
        assert_eq!(
            index.first_offset(queue),
            all.first().map(|batch| batch.base_offset)
        );
        assert_eq!(
            index.next_offset(queue),
            all.last().map(|batch| batch.next_offset)
        );
        for _ in 0..20 {
            let from = QueueOffset(random.below(all.last().map_or(3, |b| b.next_offset.0 + 3)));
            let found: Vec<_> = index.batches_from(queue, from).collect();
            assert_eq!(found, model.batches(queue, from, ALL));
            let time_ms = random.below(last_ms as u64 + 2) as i64;
            assert_eq!(
                index.batch_at_time(queue, time_ms),
                model.at_time(queue, time_ms, ALL)
            );
            let hash = key_hash(&format!("key-{}", random.below(60)));
            let times = time_ms..=time_ms + 500;
            let found = index.find_key(queue, hash, times.clone(), ALL, usize::MAX);
            assert_eq!(found, model.find_key(queue, hash, times, ALL));
        }
    }
    for _ in 0..200 {
        let position =
            Position(random.below(model.puts.last().map_or(9, |p| p.at.position.0 + 99)));
        assert_eq!(index.extent_at(position), model.extent_at(position));
    }
}

#[test]
fn a_bundle_answers_like_the_model() {
    let seed = seed();
    on_disk(seed, move |disk, _| async move {
        for (segment, queues) in [(0, 1), (1, 7), (2, 900)] {
            let (index, model, end) = random_segment(seed + segment, queues, 3000);
            bundle::write(&disk, &index, source(segment, end))
                .await
                .expect("disk is well");
            let bundle = open(&disk, segment, Position(0)).await;
            let mut random = SeededRandom::new(seed, "ask");
            for queue in model.queues().into_iter().chain([QueueHandle(0)]).take(40) {
                let all = model.batches(queue, QueueOffset(0), ALL);
                let next = bundle.next_offset(queue).await.expect("readable");
                assert_eq!(next, all.last().map(|batch| batch.next_offset));
                for _ in 0..5 {
                    let from =
                        QueueOffset(random.below(all.last().map_or(3, |b| b.next_offset.0 + 3)));
                    let found = bundle
                        .batches_from(queue, from, |_| true)
                        .await
                        .expect("readable");
                    assert_eq!(found, model.batches(queue, from, ALL));
                    let time_ms = 1000 + random.below(3000) as i64;
                    let found = bundle
                        .batch_at_time(queue, time_ms)
                        .await
                        .expect("readable");
                    assert_eq!(found, model.at_time(queue, time_ms, ALL));
                    let hash = key_hash(&format!("key-{}", random.below(60)));
                    let times = time_ms..=time_ms + 700;
                    let found = bundle.find_key(queue, hash, times.clone(), ALL, 1000).await;
                    assert_eq!(
                        found.expect("readable"),
                        model.find_key(queue, hash, times, ALL)
                    );
                }
            }
            for _ in 0..200 {
                let position = Position(random.below(end.0));
                let found = bundle.extent_at(position).await.expect("readable");
                assert_eq!(found, model.extent_at(position));
            }
        }
    });
}

#[test]
fn what_does_not_follow_is_refused_and_changes_nothing() {
    let mut index = ActiveIndex::new(Position(4096));
    let put = |position, base_offset, store_time_ms| {
        put_at(
            Position(position),
            &Wanted {
                queue: 1,
                base_offset,
                store_time_ms,
                records: &[(0, "k", "")],
                body_bytes: 1,
            },
        )
    };
    insert(&mut index, &put(5000, 0, 10));
    let before = index.index_bytes();
    let mut refused = |put: crate::fixture::Put| {
        let view = BatchView::parse_placed(&put.bytes).expect("the batch is whole");
        let error = index
            .insert(put.at.position, &view)
            .expect_err("it does not follow");
        assert_eq!(index.index_bytes(), before);
        error
    };
    assert!(matches!(
        refused(put(4000, 1, 10)),
        InsertError::OutsideSegment { .. }
    ));
    assert!(matches!(
        refused(put(5000, 1, 10)),
        InsertError::PositionOrder { .. }
    ));
    assert!(matches!(
        refused(put(6000, 0, 10)),
        InsertError::OffsetOrder { .. }
    ));
    assert!(matches!(
        refused(put(6000, 1, 9)),
        InsertError::TimeOrder { .. }
    ));
    let far = 4096 + crate::index::limits::SEGMENT_BYTES_MAX;
    assert!(matches!(
        refused(put(far, 1, 10)),
        InsertError::OutsideSegment { .. }
    ));
}
