use super::*;
use crate::disk::sim::{CrashPolicy, Damage, Fault, FaultEffect, SimDisk, SimDiskOptions};
use crate::disk::{Disk, DiskErrorKind, DiskFile, DiskOperation, Durability};
use crate::fixture::{on_disk, seed};
use crate::marks::assert_reached;
use crate::runtime::sim::{SeededRandom, SimExecutor, SimRuntime};
use std::rc::Rc;

const LOG_ID: u128 = 42;
type Chunks = Vec<(Position, Vec<u8>)>;

fn chunks(seed: u64, from: u64, count: usize) -> Chunks {
    let mut random = SeededRandom::new(seed, "chunks");
    let mut stamp = from;
    (0..count)
        .map(|number| {
            stamp += if number == 0 { 0 } else { random.below(900) };
            let bytes = (0..random.below(700)).map(|_| random.next_u64() as u8);
            (Position(stamp), bytes.collect())
        })
        .collect()
}

async fn stage(disk: &SimDisk, chunks: &Chunks) -> Result<StagedSnapshot, SnapshotError> {
    let mut writer = SnapshotWriter::create(disk, LOG_ID, chunks[0].0).await?;
    for (stamp, bytes) in chunks {
        writer.push(*stamp, bytes).await?;
    }
    writer.finish().await
}

async fn load_all(disk: &SimDisk) -> (LoadedSnapshots<SimDisk>, Chunks) {
    let mut seen = Vec::new();
    let loaded = load(disk, LOG_ID, |stamp, bytes| {
        seen.push((stamp, bytes.to_vec()));
        Ok(())
    });
    let loaded = loaded.await.expect("the disk can be read");
    (loaded, seen)
}

async fn publish(disk: &SimDisk, chunks: &Chunks) -> SnapshotInfo {
    let (mut loaded, _) = load_all(disk).await;
    let staged = stage(disk, chunks).await.expect("disk is well");
    let durable = staged.info.last_stamp;
    let published = loaded.snapshots.publish(&staged, durable).await;
    published.expect("disk is well");
    staged.info
}

#[test]
fn what_was_pushed_comes_back_and_two_are_kept() {
    let seed = seed();
    on_disk(seed, move |disk, _| async move {
        let (loaded, seen) = load_all(&disk).await;
        assert_eq!((loaded.outcome, seen.len()), (SnapshotOutcome::Absent, 0));
        assert_eq!(loaded.snapshots.needed_from(), Position(0));
        let mut infos = Vec::new();
        for round in 0..5 {
            let chunks = chunks(seed + round, round * 1_000_000, 1 + round as usize * 400);
            infos.push(publish(&disk, &chunks).await);
            let (loaded, seen) = load_all(&disk).await;
            let info = infos[infos.len() - 1];
            assert_eq!(loaded.outcome, SnapshotOutcome::Present(info));
            assert!(seen == chunks && loaded.damaged.is_empty());
            let needed = if round == 0 {
                Position(0)
            } else {
                infos[infos.len() - 2].replay_from
            };
            assert_eq!(loaded.snapshots.needed_from(), needed);
        }
        let names = disk.list().await.expect("disk is well");
        assert_eq!(names.len(), 2, "{names:?}");
    });
}

#[test]
fn a_snapshot_ahead_of_the_log_is_not_published() {
    on_disk(1, |disk, _| async move {
        let staged = stage(&disk, &chunks(1, 10, 5)).await.expect("disk is well");
        let (mut loaded, _) = load_all(&disk).await;
        let early = Position(staged.info.last_stamp.0 - 1);
        let refused = loaded.snapshots.publish(&staged, early).await;
        assert!(matches!(refused, Err(SnapshotError::NotDurable { .. })));
        assert_eq!(load_all(&disk).await.0.outcome, SnapshotOutcome::Absent);
        let later = loaded
            .snapshots
            .publish(&staged, staged.info.last_stamp)
            .await;
        later.expect("now it may");
        assert_eq!(
            load_all(&disk).await.0.outcome,
            SnapshotOutcome::Present(staged.info)
        );
    });
}

#[test]
fn a_damaged_one_falls_back_to_the_older_and_two_are_not_nothing() {
    let seed = seed();
    on_disk(seed, move |disk, _| async move {
        let old = chunks(seed, 100, 300);
        let older = publish(&disk, &old).await;
        let newer = publish(&disk, &chunks(seed + 1, 1_000_000, 300)).await;
        assert!(disk.damage(&file_name(newer.last_stamp), 8192, Damage::BitFlip));
        let (loaded, seen) = load_all(&disk).await;
        assert_eq!(loaded.outcome, SnapshotOutcome::Present(older));
        assert_eq!((seen, loaded.damaged.len()), (old, 1));
        assert_eq!(loaded.snapshots.needed_from(), Position(0));
        assert!(disk.damage(&file_name(older.last_stamp), 0, Damage::Unreadable));
        let (loaded, seen) = load_all(&disk).await;
        assert_eq!(loaded.outcome, SnapshotOutcome::Unreadable);
        assert_eq!((seen.len(), loaded.damaged.len()), (0, 2));
        disk.lift_damage();
        let third = publish(&disk, &chunks(seed + 2, 2_000_000, 3)).await;
        assert_eq!(
            load_all(&disk).await.0.outcome,
            SnapshotOutcome::Present(third)
        );
    });
}

/// A state may know better than the checksums.
#[test]
fn what_the_state_refuses_is_named() {
    on_disk(seed(), |disk, _| async move {
        publish(&disk, &chunks(1, 100, 3)).await;
        let refused = load(&disk, LOG_ID, |_, _| Err("nonsense".to_owned())).await;
        let Err(SnapshotError::Refused { number, what, .. }) = refused else {
            panic!("it was taken");
        };
        assert_eq!((number, what.as_str()), (0, "nonsense"));
    });
    assert_reached(&["recovery: the state refuses a snapshot"]);
}

/// A disk with these bytes as its only snapshot.
async fn disk_with(runtime: &SimRuntime, name: &str, bytes: &[u8]) -> SimDisk {
    let disk = SimDisk::new(runtime, SimDiskOptions::default());
    let file = disk.create(name).await.expect("the disk is empty");
    let mut buffer = disk.alloc(bytes.len());
    buffer.copy_from_slice(bytes);
    let written = file
        .write_at(Rc::new(buffer), 0, Durability::Volatile)
        .await;
    written.expect("disk is well");
    disk
}

#[test]
fn every_flipped_bit_is_found_and_hostile_bytes_never_panic() {
    let seed = seed();
    on_disk(seed, move |disk, runtime| async move {
        let info = publish(&disk, &chunks(seed, 7, 12)).await;
        let name = file_name(info.last_stamp);
        let mut bytes = disk.bytes(&name).expect("it was published");
        for byte in 0..bytes.len() {
            let near = byte < 64 || (4096..5200).contains(&byte);
            for bit in if near { 0..8 } else { byte % 8..byte % 8 + 1 } {
                bytes[byte] ^= 1 << bit;
                let damaged = disk_with(&runtime, &name, &bytes).await;
                let (loaded, seen) = load_all(&damaged).await;
                assert_eq!(
                    loaded.outcome,
                    SnapshotOutcome::Unreadable,
                    "bit {bit} of byte {byte}"
                );
                assert!(seen.is_empty(), "the state saw damage");
                bytes[byte] ^= 1 << bit;
            }
        }
        let mut random = SeededRandom::new(seed, "hostile");
        for _ in 0..300 {
            let mut hostile = bytes.clone();
            let from = random.index(hostile.len());
            for byte in hostile.iter_mut().skip(from).take(1 + random.index(64)) {
                *byte = random.next_u64() as u8;
            }
            hostile.truncate(4096 * (1 + random.index(bytes.len() / 4096)));
            let damaged = disk_with(&runtime, &name, &hostile).await;
            let (loaded, _) = load_all(&damaged).await;
            assert!(loaded.outcome == SnapshotOutcome::Unreadable || hostile == bytes);
        }
        let other = disk_with(&runtime, &file_name(Position(5)), &bytes).await;
        assert_eq!(
            load_all(&other).await.0.outcome,
            SnapshotOutcome::Unreadable
        );
    });
}

#[test]
fn a_bad_write_is_found_before_the_name_is_given() {
    let seed = seed();
    on_disk(seed, move |disk, _| async move {
        let effects = [
            (DiskOperation::Write, FaultEffect::Lose),
            (DiskOperation::Write, FaultEffect::Misdirect(1 << 20)),
            (
                DiskOperation::Write,
                FaultEffect::Fail(DiskErrorKind::NoSpace),
            ),
            (
                DiskOperation::Sync,
                FaultEffect::Fail(DiskErrorKind::Failed),
            ),
        ];
        for (operation, effect) in effects {
            disk.inject(Fault {
                operation,
                file_prefix: TEMPORARY.to_owned(),
                skip: 0,
                times: 1,
                effect,
            });
            let staged = stage(&disk, &chunks(seed, 7, 900)).await;
            assert!(staged.is_err(), "{operation:?} {effect:?}");
            disk.clear_faults();
        }
        assert!(stage(&disk, &chunks(seed, 7, 900)).await.is_ok());
    });
}

/// Cuts the power at every effect point of a second publication: afterwards one of the two is there, whole.
#[test]
fn a_crash_leaves_the_old_or_the_new() {
    let seed = seed();
    let (old, new) = (chunks(seed, 5, 20), chunks(seed + 1, 50_000, 20));
    let mut point = 0;
    let mut outcomes = [0; 2];
    loop {
        let executor = SimExecutor::new(seed);
        let disk = SimDisk::new(&executor.runtime(), SimDiskOptions::default());
        let (at, first) = (disk.clone(), old.clone());
        executor
            .run(async move { publish(&at, &first).await })
            .expect("no crash yet");
        disk.crash_at(disk.effects() + point);
        let (at, second) = (disk.clone(), new.clone());
        let finished = executor
            .run(async move { publish(&at, &second).await })
            .is_ok();
        for policy in CrashPolicy::ALL {
            let machine = SimExecutor::new(seed + point);
            let image = disk.crash_onto(&machine.runtime(), policy, seed + point);
            let (loaded, seen) = machine
                .run(async move { load_all(&image).await })
                .expect("loading ends");
            assert!(
                matches!(loaded.outcome, SnapshotOutcome::Present(_)),
                "point {point} {policy:?}"
            );
            assert!(seen == old || seen == new);
            assert!(!finished || seen == new, "a published snapshot is durable");
            outcomes[usize::from(seen == new)] += 1;
        }
        point += 1;
        if finished {
            break;
        }
    }
    assert!(outcomes[0] > 5 && outcomes[1] > 5, "{outcomes:?}");
}

/// A lost write leaves an older, whole chunk: same place, same stamp, its own checksum right.
#[test]
fn a_chunk_of_another_snapshot_is_found() {
    let seed = seed();
    on_disk(seed, move |disk, runtime| async move {
        let mut new = chunks(seed, 7, 12);
        new[0].1.push(1);
        let mut old = new.clone();
        old[0].1 = vec![9; new[0].1.len()];
        let info = publish(&disk, &new).await;
        let name = file_name(info.last_stamp);
        let mut mixed = disk.bytes(&name).expect("it was published");
        publish(&disk, &old).await;
        let other = disk.bytes(&name).expect("it was published");
        let item = 4096..4096 + 24 + new[0].1.len().next_multiple_of(8);
        assert_ne!(mixed[item.clone()], other[item.clone()]);
        mixed[item.clone()].copy_from_slice(&other[item]);
        let damaged = disk_with(&runtime, &name, &mixed).await;
        assert_eq!(
            load_all(&damaged).await.0.outcome,
            SnapshotOutcome::Unreadable
        );
    });
}
