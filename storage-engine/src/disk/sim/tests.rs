//! The simulated disk does what its model says, fault by fault.

use super::*;
use crate::disk::{DiskFile, Durability};
use crate::runtime::sim::{SimExecutor, SimStop};

const BLOCK: u64 = BLOCK_BYTES as u64;

struct Bench {
    executor: SimExecutor,
    disk: SimDisk,
}

impl Bench {
    fn new(options: SimDiskOptions) -> Self {
        let executor = SimExecutor::new(11);
        let disk = SimDisk::new(&executor.runtime(), options);
        Self { executor, disk }
    }

    fn run<T: 'static, F: Future<Output = T> + 'static>(&self, f: impl FnOnce(SimDisk) -> F) -> T {
        self.executor.run(f(self.disk.clone())).unwrap()
    }

    fn crashes(&self, policy: CrashPolicy) -> impl Iterator<Item = SimDisk> + '_ {
        (0..32).map(move |seed| self.disk.crash(policy, seed))
    }
}

fn block(disk: &SimDisk, fill: u8) -> Rc<SimBuf> {
    let mut buf = disk.alloc(BLOCK_BYTES);
    buf.fill(fill);
    Rc::new(buf)
}

async fn write(disk: &SimDisk, file: &SimFile, number: u64, fill: u8, durability: Durability) {
    let written = file.write_at(block(disk, fill), number * BLOCK, durability);
    written.await.unwrap();
}

/// One file of three blocks: 0 durable, 1 volatile then synced, 2 volatile.
async fn three_blocks(disk: SimDisk) -> SimFile {
    let file = disk.create("a").await.unwrap();
    disk.sync_dir().await.unwrap();
    write(&disk, &file, 0, 1, Durability::Durable).await;
    write(&disk, &file, 1, 2, Durability::Volatile).await;
    file.sync_data().await.unwrap();
    write(&disk, &file, 2, 3, Durability::Volatile).await;
    file
}

#[test]
fn a_power_cut_loses_what_no_sync_covered() {
    let bench = Bench::new(SimDiskOptions::default());
    let _file = bench.run(three_blocks);
    assert_eq!(bench.disk.uncovered(), 2, "one write and its length");
    let lost = bench.disk.crash(CrashPolicy::LoseAll, 0);
    let lost = lost.bytes("a").unwrap();
    assert_eq!(lost.len(), 8192);
    assert_eq!((lost[0], lost[4096]), (1, 2));
    let kept = bench.disk.crash(CrashPolicy::KeepAll, 0);
    let kept = kept.bytes("a").unwrap();
    assert_eq!((kept.len(), kept[8192]), (12288, 3));
}

#[test]
fn length_and_data_are_lost_separately() {
    let bench = Bench::new(SimDiskOptions::default());
    let _file = bench.run(three_blocks);
    let mut seen = std::collections::BTreeSet::new();
    for image in bench.crashes(CrashPolicy::RandomSubset) {
        let bytes = image.bytes("a").unwrap();
        assert_eq!((bytes[0], bytes[4096]), (1, 2), "what was covered stays");
        seen.insert((bytes.len(), bytes.get(8192).copied()));
    }
    let expected = [(8192, None), (12288, Some(0)), (12288, Some(3))];
    assert_eq!(seen, expected.into());
}

#[test]
fn a_sync_covers_only_what_finished_before_it_was_issued() {
    let bench = Bench::new(SimDiskOptions::default());
    bench.disk.inject(Fault {
        operation: DiskOperation::Sync,
        file_prefix: String::new(),
        skip: 0,
        times: 1,
        effect: FaultEffect::Delay(Duration::from_secs(1)),
    });
    bench.run(async |disk| {
        let file = disk.create("a").await.unwrap();
        disk.sync_dir().await.unwrap();
        write(&disk, &file, 0, 1, Durability::Volatile).await;
        let sync = file.sync_data();
        let late = write(&disk, &file, 1, 2, Durability::Volatile);
        let (synced, ()) = futures_lite::future::zip(sync, late).await;
        synced.unwrap();
    });
    let image = bench.disk.crash(CrashPolicy::LoseAll, 0);
    let image = image.bytes("a").unwrap();
    assert_eq!((image.len(), image[0]), (4096, 1));
}

#[test]
fn a_durable_write_covers_its_range_alone_and_is_never_undone_by_an_older_one() {
    let bench = Bench::new(SimDiskOptions::default());
    let _file = bench.run(async |disk| {
        let file = disk.create("a").await.unwrap();
        disk.sync_dir().await.unwrap();
        file.allocate(3 * BLOCK).await.unwrap();
        write(&disk, &file, 0, 1, Durability::Volatile).await;
        write(&disk, &file, 1, 2, Durability::Volatile).await;
        write(&disk, &file, 1, 9, Durability::Durable).await;
        file
    });
    let lost = bench.disk.crash(CrashPolicy::LoseAll, 0);
    let lost = lost.bytes("a").unwrap();
    assert_eq!((lost.len(), lost[0], lost[4096]), (8192, 0, 9));
    for image in bench.crashes(CrashPolicy::TearAll) {
        assert!(
            image.bytes("a").unwrap()[4096..8192]
                .iter()
                .all(|b| *b == 9)
        );
    }
}

#[test]
fn names_are_lost_separately_and_a_rename_is_atomic() {
    let bench = Bench::new(SimDiskOptions::default());
    bench.run(async |disk| {
        for name in ["old", "target"] {
            disk.create(name).await.unwrap();
        }
        disk.sync_dir().await.unwrap();
        disk.create("new").await.unwrap();
        disk.rename("old", "target").await.unwrap();
    });
    let mut seen = std::collections::BTreeSet::new();
    for image in bench.crashes(CrashPolicy::RandomSubset) {
        let names: Vec<_> = image.state.borrow().names.keys().cloned().collect();
        assert!(names.contains(&"target".to_owned()));
        seen.insert(names.join(" "));
    }
    let expected = ["new old target", "new target", "old target", "target"];
    assert_eq!(seen, expected.map(str::to_owned).into());
    bench.run(async |disk| disk.sync_dir().await.unwrap());
    let image = bench.disk.crash(CrashPolicy::LoseAll, 0);
    assert_eq!(image.state.borrow().names.len(), 2);
}

#[test]
fn torn_writes_mix_sectors_of_either_size() {
    for (sector, mixtures_min) in [(Sector::Bytes512, 4), (Sector::Bytes4096, 2)] {
        let bench = Bench::new(SimDiskOptions {
            sector,
            ..SimDiskOptions::default()
        });
        let _file = bench.run(three_blocks);
        let mut mixtures = std::collections::BTreeSet::new();
        for image in bench.crashes(CrashPolicy::TearLast) {
            let bytes = image.bytes("a").unwrap();
            let torn = &bytes[8192..];
            for sector in torn.chunks(sector.bytes()) {
                assert!(sector.iter().all(|b| *b == sector[0]), "a sector is torn");
            }
            mixtures.insert(torn.to_vec());
        }
        assert!(mixtures.len() >= mixtures_min, "{}", mixtures.len());
    }
}

#[test]
fn a_failed_sync_forgets_and_later_syncs_do_not_help() {
    let bench = Bench::new(SimDiskOptions::default());
    bench.disk.inject(Fault {
        operation: DiskOperation::Sync,
        file_prefix: "a".to_owned(),
        skip: 1,
        times: 1,
        effect: FaultEffect::Fail(DiskErrorKind::Failed),
    });
    bench.run(async |disk| {
        let file = three_blocks(disk).await;
        assert_eq!(
            file.sync_data().await.unwrap_err().operation,
            DiskOperation::Sync
        );
        file.sync_data().await.unwrap();
        assert_eq!(file.read_at(2 * BLOCK, BLOCK_BYTES).await.unwrap()[0], 3);
    });
    let image = bench.disk.crash(CrashPolicy::LoseAll, 0);
    assert_eq!(image.bytes("a").unwrap().len(), 8192);
}

#[test]
fn writes_can_fail_get_lost_or_land_elsewhere() {
    let bench = Bench::new(SimDiskOptions::default());
    let effects = [
        FaultEffect::Fail(DiskErrorKind::Failed),
        FaultEffect::Lose,
        FaultEffect::Misdirect(0),
    ];
    bench.run(async move |disk| {
        let file = three_blocks(disk.clone()).await;
        for effect in effects {
            disk.inject(Fault {
                operation: DiskOperation::Write,
                file_prefix: String::new(),
                skip: 0,
                times: 1,
                effect,
            });
        }
        let third = |fill| file.write_at(block(&disk, fill), 2 * BLOCK, Durability::Durable);
        assert!(third(4).await.is_err());
        let mixed = file.read_at(2 * BLOCK, BLOCK_BYTES).await.unwrap();
        assert!(mixed.iter().all(|b| *b == 3 || *b == 4));
        third(5).await.unwrap();
        assert!(file.read_at(2 * BLOCK, BLOCK_BYTES).await.unwrap() == mixed);
        third(6).await.unwrap();
        assert!(file.read_at(2 * BLOCK, BLOCK_BYTES).await.unwrap() == mixed);
        assert_eq!(file.read_at(0, BLOCK_BYTES).await.unwrap()[0], 6);
        disk.lift_damage();
        assert_eq!(file.read_at(2 * BLOCK, BLOCK_BYTES).await.unwrap()[0], 6);
        assert_eq!(file.read_at(0, BLOCK_BYTES).await.unwrap()[0], 1);
    });
}

#[test]
fn faults_at_rest_repeat_lift_and_vanish_under_a_rewrite() {
    let bench = Bench::new(SimDiskOptions::default());
    bench.run(async |disk| {
        let file = three_blocks(disk.clone()).await;
        assert!(disk.damage("a", 100, Damage::BitFlip));
        let once = file.read_at(0, BLOCK_BYTES).await.unwrap();
        assert!(disk.damage("a", 200, Damage::BitFlip));
        assert!(once == file.read_at(0, BLOCK_BYTES).await.unwrap());
        let changed_bits: u32 = once.iter().map(|b| (b ^ 1).count_ones()).sum();
        assert_eq!(changed_bits, 1);
        assert!(disk.damage("a", 0, Damage::Unreadable));
        let unreadable = file.read_at(0, 2 * BLOCK_BYTES).await.unwrap_err();
        assert_eq!(unreadable.offset, Some(0));
        assert!(disk.damage("a", 0, Damage::Noise));
        assert_ne!(file.read_at(0, BLOCK_BYTES).await.unwrap()[..64], [1; 64]);
        disk.lift_damage();
        assert_eq!(file.read_at(0, BLOCK_BYTES).await.unwrap()[0], 1);
        disk.damage("a", 0, Damage::Unreadable);
        write(&disk, &file, 0, 7, Durability::Durable).await;
        assert_eq!(file.read_at(0, BLOCK_BYTES).await.unwrap()[0], 7);
        assert!(!disk.damage("a", 3 * BLOCK, Damage::Noise), "past the end");
    });
}

#[test]
fn lost_content_reads_as_zeros_noise_or_stale_blocks() {
    for unwritten in [Unwritten::Zero, Unwritten::Noise, Unwritten::Stale] {
        let bench = Bench::new(SimDiskOptions {
            unwritten,
            ..SimDiskOptions::default()
        });
        bench.run(async |disk| {
            let gone = disk.create("gone").await.unwrap();
            write(&disk, &gone, 0, 8, Durability::Durable).await;
            disk.remove("gone").await.unwrap();
            let file = disk.create("a").await.unwrap();
            disk.sync_dir().await.unwrap();
            file.allocate(BLOCK).await.unwrap();
            file.sync_data().await.unwrap();
            assert!(
                file.read_at(0, BLOCK_BYTES)
                    .await
                    .unwrap()
                    .iter()
                    .all(|b| *b == 0)
            );
        });
        let image = bench.disk.crash(CrashPolicy::LoseAll, 3);
        let bytes = image.bytes("a").unwrap();
        match unwritten {
            Unwritten::Zero => assert!(bytes.iter().all(|b| *b == 0)),
            Unwritten::Noise => assert!(bytes.iter().filter(|b| **b != 0).count() > 4000),
            Unwritten::Stale => assert!(bytes.iter().all(|b| *b == 8)),
        }
        assert!(bytes == image.bytes("a").unwrap(), "the same at every look");
    }
}

#[test]
fn a_full_disk_refuses_and_recovers_when_space_returns() {
    let bench = Bench::new(SimDiskOptions {
        capacity_bytes: 2 * BLOCK,
        ..SimDiskOptions::default()
    });
    bench.run(async |disk| {
        let file = disk.create("a").await.unwrap();
        let full = file.allocate(3 * BLOCK).await.unwrap_err();
        assert_eq!(full.kind, DiskErrorKind::NoSpace);
        file.allocate(2 * BLOCK).await.unwrap();
        write(&disk, &file, 1, 1, Durability::Durable).await;
        let full = file.write_at(block(&disk, 1), 2 * BLOCK, Durability::Durable);
        assert_eq!(full.await.unwrap_err().kind, DiskErrorKind::NoSpace);
        assert_eq!(disk.space().await.unwrap().free_bytes, 0);
        disk.set_capacity_bytes(3 * BLOCK);
        write(&disk, &file, 2, 1, Durability::Durable).await;
        drop(file);
        disk.remove("a").await.unwrap();
        disk.sync_dir().await.unwrap();
        assert_eq!(disk.space().await.unwrap().free_bytes, 3 * BLOCK);
    });
}

#[test]
fn the_power_goes_at_every_effect_point_once() {
    let whole = Bench::new(SimDiskOptions::default());
    drop(whole.run(three_blocks));
    let points = whole.disk.effects();
    assert_eq!(points, 12, "six operations, submitted and completed");
    for point in 0..points {
        let bench = Bench::new(SimDiskOptions::default());
        bench.disk.crash_at(point);
        let outcome = bench.executor.run(three_blocks(bench.disk.clone()));
        assert_eq!(outcome.err(), Some(SimStop::Halted), "point {point}");
        assert!(bench.disk.has_crashed());
        assert_eq!(bench.disk.effects(), point);
        bench.executor.abort_all();
        let image = bench.disk.crash(CrashPolicy::LoseAll, 0);
        let bytes = image.bytes("a").unwrap_or_default();
        // The name is there after the fourth point, block 0 after the sixth, block 1 after the tenth.
        let expected = [0, 4096, 8192][usize::from(point >= 6) + usize::from(point >= 10)];
        assert_eq!(bytes.len(), expected, "point {point}");
    }
}

#[test]
#[should_panic(expected = "two writes to block 0 are in flight")]
fn overlapping_writes_are_refused() {
    let bench = Bench::new(SimDiskOptions::default());
    bench.run(async |disk| {
        let file = disk.create("a").await.unwrap();
        let first = write(&disk, &file, 0, 1, Durability::Volatile);
        let second = write(&disk, &file, 0, 2, Durability::Volatile);
        futures_lite::future::zip(first, second).await;
    });
}

#[test]
fn completions_change_order_by_seed() {
    let order = |seed| {
        let executor = SimExecutor::new(seed);
        let disk = SimDisk::new(&executor.runtime(), SimDiskOptions::default());
        let order = Rc::new(RefCell::new(Vec::new()));
        let log = Rc::clone(&order);
        let writes = async move {
            let file = disk.create("a").await.unwrap();
            let one = |number| {
                let (file, disk, log) = (&file, &disk, &log);
                async move {
                    write(disk, file, number, 1, Durability::Volatile).await;
                    log.borrow_mut().push(number);
                }
            };
            futures_lite::future::zip(one(0), futures_lite::future::zip(one(1), one(2))).await;
            drop(file);
            assert_eq!(disk.writes_in_flight_max(), 3);
        };
        executor.run(writes).unwrap();
        order.take()
    };
    let orders: std::collections::BTreeSet<_> = (0..64).map(order).collect();
    assert_eq!(orders.len(), 6, "every order of three completions");
}

#[test]
fn a_read_can_fail_and_the_next_one_work() {
    let bench = Bench::new(SimDiskOptions::default());
    bench.disk.inject(Fault {
        operation: DiskOperation::Read,
        file_prefix: "a".to_owned(),
        skip: 0,
        times: 1,
        effect: FaultEffect::Fail(DiskErrorKind::Failed),
    });
    bench.run(async |disk| {
        let file = three_blocks(disk).await;
        let error = file.read_at(BLOCK, BLOCK_BYTES).await.unwrap_err();
        assert_eq!(
            (error.operation, error.offset),
            (DiskOperation::Read, Some(BLOCK))
        );
        assert_eq!(file.read_at(BLOCK, BLOCK_BYTES).await.unwrap()[0], 2);
    });
}

#[test]
fn a_killed_process_leaves_what_finished_and_a_later_power_cut_can_still_take_it() {
    let bench = Bench::new(SimDiskOptions::default());
    let file = bench.run(three_blocks);
    bench.run(async |disk| {
        disk.create("unsynced").await.unwrap();
    });
    // One more write is in flight when the process dies.
    let disk = bench.disk.clone();
    bench.executor.runtime().spawn(async move {
        write(&disk, &file, 3, 4, Durability::Durable).await;
        unreachable!("the process is dead");
    });
    bench.disk.crash_at(bench.disk.effects() + 1);
    let ended = bench.executor.advance(Duration::from_secs(1));
    assert_eq!(ended, Err(SimStop::Halted));
    let runtime = bench.executor.runtime();
    let mut fourth = std::collections::BTreeSet::new();
    for seed in 0..32 {
        let killed = bench.disk.kill_onto(&runtime, seed);
        let bytes = killed.bytes("a").unwrap();
        assert_eq!((bytes[0], bytes[4096], bytes[8192]), (1, 2, 3));
        assert!(killed.bytes("unsynced").is_some());
        fourth.insert(bytes.get(3 * BLOCK_BYTES).copied());
        let cut = killed.crash(CrashPolicy::LoseAll, seed);
        assert_eq!(
            cut.bytes("a").unwrap().len(),
            8192,
            "as uncovered as before"
        );
        assert!(cut.bytes("unsynced").is_none());
    }
    assert!(
        fourth.contains(&None) && fourth.contains(&Some(4)),
        "{fourth:?}"
    );
}
