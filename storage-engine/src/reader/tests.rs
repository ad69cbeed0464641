use super::*;
use crate::cache::TailCache;
use crate::disk::sim::{Damage, Fault, FaultEffect, SimDisk, SimFile};
use crate::disk::{BLOCK_BYTES, DiskErrorKind, DiskFile, DiskOperation, Durability};
use crate::fixture::{Put, RandomLog, on_disk, record, seed};
use crate::position::QueueHandle;
use crate::runtime::sim::{SeededRandom, SimRuntime};
use futures_lite::future::{poll_once, zip};
use std::collections::BTreeMap;

const SEGMENT_BYTES: u64 = 64 * 4096;

/// Segments that were written and closed for good.
struct Files {
    files: RefCell<BTreeMap<u64, Rc<SimFile>>>,
}

impl SegmentSource<SimDisk> for Rc<Files> {
    type Segment = Rc<SimFile>;
    fn file(segment: &Rc<SimFile>) -> &SimFile {
        segment
    }
    async fn segment(&self, number: u64) -> Result<Option<Rc<SimFile>>, DiskError> {
        Ok(self.files.borrow().get(&number).cloned())
    }
}

type SimReader = Reader<SimDisk, SimRuntime, Rc<Files>>;

struct World {
    disk: SimDisk,
    files: Rc<Files>,
    reader: SimReader,
    puts: Vec<Put>,
    end: Position,
}

fn file_name(segment: u64) -> String {
    format!("{segment}.seg")
}

impl World {
    /// Random batches in a few segments.
    async fn new(
        disk: SimDisk,
        runtime: SimRuntime,
        seed: u64,
        queues: u64,
        body_bytes_max: usize,
    ) -> Self {
        let mut log = RandomLog::new(seed, queues);
        log.body_bytes_max = body_bytes_max;
        let mut puts = Vec::new();
        let files = Rc::new(Files {
            files: RefCell::default(),
        });
        for segment in 0..3 {
            log.skip_to(Position(segment * SEGMENT_BYTES));
            let mut buffer = disk.alloc(SEGMENT_BYTES as usize);
            buffer.fill(0);
            loop {
                let at = (log.position().0 % SEGMENT_BYTES) as usize;
                let put = log.put();
                let record = record(&put.bytes);
                if at + record.len() + body_bytes_max * 5 > buffer.len() {
                    break;
                }
                buffer[at..at + record.len()].copy_from_slice(&record);
                puts.push(put);
            }
            let file = disk
                .create(&file_name(segment))
                .await
                .expect("disk is well");
            let written = file.write_at(Rc::new(buffer), 0, Durability::Durable).await;
            written.expect("disk is well");
            files.files.borrow_mut().insert(segment, Rc::new(file));
        }
        let options = ReaderOptions {
            segment_bytes: SEGMENT_BYTES,
            chunk_bytes: 8 * BLOCK_BYTES,
            cache_bytes: 6 * 8 * BLOCK_BYTES,
            read_ahead_chunks: 2,
        };
        Self {
            disk,
            reader: Reader::new(runtime, Rc::clone(&files), options),
            files,
            puts,
            end: Position(3 * SEGMENT_BYTES),
        }
    }

    fn of_queue(&self, queue: u32) -> Vec<Put> {
        let of_queue = self
            .puts
            .iter()
            .filter(|put| put.at.queue == QueueHandle(queue));
        of_queue.cloned().collect()
    }

    async fn read(&self, puts: &[Put]) -> Result<Vec<StoredBatch<SimDisk>>, BatchReadError> {
        let batches: Vec<BatchRef> = puts.iter().map(|put| put.at).collect();
        let served = self.reader.read(&batches, self.end, |_, _| None).await?;
        Ok(served.batches)
    }
}

fn assert_same(stored: &[StoredBatch<SimDisk>], puts: &[Put]) {
    assert_eq!(stored.len(), puts.len());
    for (stored, put) in stored.iter().zip(puts) {
        assert_eq!(stored.position, put.at.position);
        assert_eq!(stored.bytes[..], put.bytes[..]);
        assert_eq!(stored.header.base_offset, put.at.base_offset.0);
    }
}

#[test]
fn interleaved_readers_get_their_bytes_with_few_reads() {
    let seed = seed();
    on_disk(seed, move |disk, runtime| async move {
        let world = World::new(disk, runtime, seed, 4, 300).await;
        let queues: Vec<Vec<Put>> = (0..4).map(|queue| world.of_queue(queue * 3 + 1)).collect();
        let steps = queues
            .iter()
            .map(|puts| puts.len().div_ceil(20))
            .max()
            .unwrap_or(0);
        for step in 0..steps {
            for puts in &queues {
                let wanted = puts
                    .iter()
                    .skip(step * 20)
                    .take(20)
                    .cloned()
                    .collect::<Vec<_>>();
                if !wanted.is_empty() {
                    let stored = world.read(&wanted).await.expect("disk is well");
                    assert_same(&stored, &wanted);
                }
            }
            assert!(world.reader.cached_bytes() <= 6 * 8 * BLOCK_BYTES);
        }
        let metrics = world.reader.metrics();
        // 24 chunks in all, shared by four readers; each reading on its own would take about a hundred.
        assert!(metrics.disk_reads <= 50, "{metrics:?}");
        assert!(metrics.chunk_hits > 10 * metrics.misses, "{metrics:?}");
        assert_eq!(metrics.corrupt, 0);
    });
}

#[test]
fn a_sparse_reader_reads_little() {
    let seed = seed();
    on_disk(seed, move |disk, runtime| async move {
        let world = World::new(disk, runtime, seed, 400, 100).await;
        let puts = world.of_queue(4);
        assert!(puts.len() > 3);
        for put in &puts {
            let one = std::slice::from_ref(put);
            assert_same(&world.read(one).await.expect("disk is well"), one);
        }
        let read = world.reader.metrics().disk_read_bytes;
        let most = puts.len() as u64 * 8 * BLOCK_BYTES as u64;
        assert!(
            read < most / 2,
            "{read} bytes for {} small batches",
            puts.len()
        );
    });
}

#[test]
fn batches_larger_than_a_chunk_and_across_chunks_come_whole() {
    let seed = seed();
    on_disk(seed, move |disk, runtime| async move {
        let world = World::new(disk, runtime, seed, 2, 14 * 1024).await;
        let chunk = 8 * BLOCK_BYTES as u64;
        assert!(
            world
                .puts
                .iter()
                .any(|put| u64::from(put.at.batch_bytes) > chunk)
        );
        for queue in [1, 4] {
            let puts = world.of_queue(queue);
            assert_same(&world.read(&puts).await.expect("disk is well"), &puts);
        }
        for put in &world.puts {
            let extent = extent_of(&put.at);
            let found = world
                .reader
                .read_extent(extent, world.end, |_, _| None)
                .await;
            assert_same(&[found.expect("disk is well")], std::slice::from_ref(put));
        }
    });
}

#[test]
fn large_batches_of_a_reader_that_goes_on_are_there_before_it_asks() {
    let seed = seed();
    on_disk(seed, move |disk, runtime| async move {
        let world = World::new(disk, runtime, seed, 1, 14 * 1024).await;
        let mut foreseen = 0;
        for pair in world.puts.windows(2) {
            let (now, next) = (&[pair[0].at], &pair[1..]);
            let served = world.reader.read(now, world.end, |_, _| None).await;
            let ahead_bytes = served.expect("disk is well").ahead_bytes;
            if ahead_bytes == 0 || next[0].at.batch_bytes < 16 << 10 {
                continue;
            }
            world.reader.read_large_ahead(&[next[0].at]).await;
            // Again: it is here already.
            world.reader.read_large_ahead(&[next[0].at]).await;
            let reads = world.reader.metrics().disk_reads;
            assert_same(&world.read(next).await.expect("disk is well"), next);
            assert_eq!(world.reader.metrics().disk_reads, reads);
            foreseen += 1;
        }
        assert!(foreseen > 2, "{foreseen}");
        assert!(world.reader.cached_bytes() <= 6 * 8 * BLOCK_BYTES);
    });
}

/// Bytes that were wrong for a moment are read again; readers that went away do not keep others from reading ahead.
#[test]
fn what_was_read_ahead_is_checked_and_makes_room() {
    let seed = seed();
    on_disk(seed, move |disk, runtime| async move {
        let world = World::new(disk, runtime, seed, 1, 14 * 1024).await;
        let large: Vec<Put> = world
            .puts
            .iter()
            .filter(|put| put.at.batch_bytes > 16 << 10)
            .cloned()
            .collect();
        let victim = &large[0];
        let inside = victim.at.position.0 % SEGMENT_BYTES + 4 * BLOCK_BYTES as u64;
        assert!(world.disk.damage(&file_name(0), inside, Damage::Noise));
        world.reader.read_large_ahead(&[victim.at]).await;
        assert!(world.reader.cached_bytes() > 0);
        world.disk.lift_damage();
        let victim = std::slice::from_ref(victim);
        assert_same(
            &world.read(victim).await.expect("it is whole again"),
            victim,
        );
        assert_eq!(world.reader.cached_bytes(), 0, "a large batch is not kept");
        for put in &large[1..] {
            world.reader.read_large_ahead(&[put.at]).await;
            assert!(
                world.reader.cached_bytes() <= 3 * 8 * BLOCK_BYTES,
                "half of the memory"
            );
        }
        let last = large.last().expect("there are some");
        world.reader.read_large_ahead(&[last.at]).await;
        let reads = world.reader.metrics().disk_reads;
        world
            .read(std::slice::from_ref(last))
            .await
            .expect("disk is well");
        assert_eq!(
            world.reader.metrics().disk_reads,
            reads,
            "the newest has room"
        );
    });
}

#[test]
fn damage_is_named_and_hides_nothing_else() {
    let seed = seed();
    on_disk(seed, move |disk, runtime| async move {
        let mut random = SeededRandom::new(seed, "damage");
        for kind in [Damage::BitFlip, Damage::Unreadable, Damage::Noise] {
            let disk = SimDisk::new(&runtime, Default::default());
            let world = World::new(disk, runtime.clone(), seed, 3, 300).await;
            let victim = world.puts[random.index(world.puts.len())].at.position;
            let (segment, offset) = (victim.0 / SEGMENT_BYTES, victim.0 % SEGMENT_BYTES);
            assert!(world.disk.damage(&file_name(segment), offset, kind.clone()));
            let block = victim.0 / BLOCK_BYTES as u64;
            let mut corrupt = 0;
            for put in &world.puts {
                let last = put.at.position.0 + 8 + u64::from(put.at.batch_bytes) - 1;
                let touched = (put.at.position.0 / 4096..=last / 4096).contains(&block);
                match world.read(std::slice::from_ref(put)).await {
                    Ok(stored) => {
                        assert_same(&stored, std::slice::from_ref(put));
                        assert!(!touched || kind == Damage::BitFlip);
                    }
                    Err(BatchReadError::Corrupt {
                        position,
                        next_readable,
                        ..
                    }) => {
                        assert!(touched);
                        assert_eq!(position, put.at.position);
                        assert_eq!(next_readable, Some(put.at.next_offset));
                        corrupt += 1;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            // The flipped bit may lie in padding.
            assert!(corrupt > 0 || kind == Damage::BitFlip);
            assert_eq!(world.reader.metrics().corrupt, corrupt);
        }
        drop(disk);
    });
}

#[test]
fn a_read_ends_before_damage_and_the_next_one_reports_it() {
    let seed = seed();
    on_disk(seed, move |disk, runtime| async move {
        let world = World::new(disk, runtime, seed, 1, 300).await;
        let puts = &world.puts[..60];
        let victim = puts[40].at.position.0;
        assert!(world.disk.damage(&file_name(0), victim, Damage::Unreadable));
        let stored = world.read(puts).await.expect("the first ones are whole");
        assert!((20..=40).contains(&stored.len()), "{}", stored.len());
        assert_same(&stored, &puts[..stored.len()]);
        let error = world.read(&puts[stored.len()..]).await;
        assert!(matches!(error, Err(BatchReadError::Corrupt { .. })));
    });
}

#[test]
fn an_index_that_lies_is_not_believed() {
    let seed = seed();
    on_disk(seed, move |disk, runtime| async move {
        let world = World::new(disk, runtime, seed, 3, 100).await;
        let put = &world.puts[5];
        let mut lies = vec![put.at; 4];
        lies[0].queue = QueueHandle(99);
        lies[1].base_offset = QueueOffset(put.at.base_offset.0 + 1);
        lies[2].position = Position(put.at.position.0 + 8);
        lies[3].batch_bytes += 8;
        for lie in lies {
            let found = world.reader.read(&[lie], world.end, |_, _| None).await;
            assert!(
                matches!(found, Err(BatchReadError::Corrupt { .. })),
                "{lie:?}"
            );
        }
        let gone = BatchRef {
            position: Position(9 * SEGMENT_BYTES + 128),
            ..put.at
        };
        let found = world
            .reader
            .read(&[gone], Position(u64::MAX), |_, _| None)
            .await;
        assert!(matches!(found, Err(BatchReadError::Gone(_))));
        world.files.files.borrow_mut().remove(&0);
    });
}

#[test]
fn a_passing_error_is_survived_and_equal_reads_are_one() {
    let seed = seed();
    on_disk(seed, move |disk, runtime| async move {
        let world = World::new(disk, runtime, seed, 1, 100).await;
        let puts = world.puts[..30].to_vec();
        world.disk.inject(Fault {
            operation: DiskOperation::Read,
            file_prefix: file_name(0),
            skip: 0,
            times: 1,
            effect: FaultEffect::Fail(DiskErrorKind::Failed),
        });
        assert_same(
            &world.read(&puts).await.expect("the second read is good"),
            &puts,
        );
        let before = world.reader.metrics().disk_reads;
        let far = world.puts[world.puts.len() - 30..].to_vec();
        // One that is given up on the way, and two that stay.
        {
            let mut given_up = Box::pin(world.read(&far));
            assert!(poll_once(&mut given_up).await.is_none());
        }
        let (one, two) = zip(world.read(&far), world.read(&far)).await;
        assert_same(&one.expect("disk is well"), &far);
        assert_same(&two.expect("disk is well"), &far);
        let reads = world.reader.metrics().disk_reads - before;
        assert!(
            reads <= 3,
            "{reads} reads: the abandoned one, then one a chunk"
        );
    });
}

#[test]
fn nothing_beyond_the_end_is_kept() {
    let seed = seed();
    on_disk(seed, move |disk, runtime| async move {
        let world = World::new(disk, runtime, seed, 1, 100).await;
        // The log ends after some blocks of a chunk; what lies behind changes later.
        let end = Position(3 * BLOCK_BYTES as u64);
        let below: Vec<BatchRef> = world.puts.iter().map(|put| put.at).collect();
        let reaches = |at: &BatchRef| at.position.0 + 8 + u64::from(at.batch_bytes) <= end.0;
        let below: Vec<BatchRef> = below.into_iter().filter(reaches).collect();
        let stored = world.reader.read(&below, end, |_, _| None).await;
        assert_eq!(stored.expect("disk is well").batches.len(), below.len());
        assert!(world.reader.cached_bytes() <= 3 * BLOCK_BYTES);
        let puts = &world.puts[..below.len() + 20];
        assert_same(&world.read(puts).await.expect("disk is well"), puts);
    });
}

#[test]
fn the_tail_comes_first() {
    let seed = seed();
    on_disk(seed, move |disk, runtime| async move {
        let world = World::new(disk, runtime, seed, 1, 100).await;
        let mut tail = TailCache::<SimDisk>::new(1 << 20);
        let start = BLOCK_BYTES as u64 * 40;
        let bytes = world.disk.bytes(&file_name(0)).expect("it is there");
        let mut frame = world.disk.alloc(24 * BLOCK_BYTES);
        frame.copy_from_slice(&bytes[start as usize..]);
        tail.push(Position(start), Rc::new(frame));
        let hot: Vec<Put> = world
            .puts
            .iter()
            .filter(|put| put.at.position.0 >= start && put.at.position.0 < SEGMENT_BYTES)
            .cloned()
            .collect();
        let batches: Vec<BatchRef> = hot.iter().map(|put| put.at).collect();
        let stored = world
            .reader
            .read(&batches, world.end, |at, len| tail.find(at, len))
            .await;
        assert_same(&stored.expect("no disk is needed").batches, &hot);
        let metrics = world.reader.metrics();
        assert_eq!(
            (metrics.tail_hits, metrics.disk_reads),
            (hot.len() as u64, 0)
        );
    });
}
