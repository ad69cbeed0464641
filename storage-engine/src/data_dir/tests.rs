//! Every refusal of a data directory, and what it repairs.

use super::*;
use crate::marks::assert_reached;
use std::os::unix::fs::FileExt;

fn identity() -> Identity {
    Identity {
        node: "a".to_owned(),
        cluster: "test".to_owned(),
        shards: ShardCount::New(2),
        format: FormatConstants::default(),
    }
}

fn open(path: &Path) -> Result<DataDir, DataDirError> {
    DataDir::open_or_create(path, &identity())
}

fn exactly(shards: u32) -> Identity {
    Identity {
        shards: ShardCount::Exactly(shards),
        ..identity()
    }
}

/// A directory that was made and closed.
fn made() -> (tempfile::TempDir, PathBuf, Superblock) {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("some/where/data");
    let superblock = open(&path).unwrap().superblock().clone();
    (scratch, path, superblock)
}

#[test]
fn a_new_directory_is_found_again() {
    let (_scratch, path, superblock) = made();
    let again = open(&path).unwrap();
    assert_eq!(again.superblock(), &superblock);
    assert_eq!(again.shards(), 2);
    assert!(again.shard_path(1).ends_with("shard-01"));
    assert!(again.shard_path(0).is_dir() && again.shard_path(1).is_dir());
    let (_other_scratch, _, other) = made();
    assert_ne!(other.directory_id, superblock.directory_id);
}

#[test]
fn a_second_process_is_refused_by_number() {
    let (_scratch, path, _) = made();
    let first = open(&path).unwrap();
    // flock belongs to the open file, so a second open of this process is like another process.
    let refused = open(&path).unwrap_err();
    let DataDirError::InUse { process, .. } = &refused else {
        panic!("{refused}");
    };
    assert_eq!(*process, Some(std::process::id()));
    drop(first);
    open(&path).unwrap();
}

#[test]
fn a_foreign_directory_is_refused_and_left_alone() {
    let scratch = tempfile::tempdir().unwrap();
    fs::write(scratch.path().join("thesis.tex"), "x").unwrap();
    let refused = open(scratch.path()).unwrap_err();
    assert!(matches!(refused, DataDirError::Foreign { .. }), "{refused}");
    assert!(refused.to_string().contains("thesis.tex"));
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1);
    let file = scratch.path().join("thesis.tex");
    assert!(matches!(open(&file), Err(DataDirError::Io { .. })));
}

#[test]
fn a_fresh_file_system_and_an_unfinished_creation_are_empty() {
    let scratch = tempfile::tempdir().unwrap();
    for name in [LOST_AND_FOUND, "shard-00"] {
        fs::create_dir(scratch.path().join(name)).unwrap();
    }
    fs::write(scratch.path().join(LOCK), "1\n").unwrap();
    fs::write(scratch.path().join(SUPERBLOCK_TEMPORARY), "half").unwrap();
    open(scratch.path()).unwrap();
}

#[test]
fn another_node_or_cluster_is_refused() {
    let (_scratch, path, _) = made();
    let node = Identity {
        node: "b".to_owned(),
        ..identity()
    };
    let refused = DataDir::open_or_create(&path, &node).unwrap_err();
    assert!(
        matches!(refused, DataDirError::OtherNode { .. }),
        "{refused}"
    );
    let cluster = Identity {
        cluster: "other".to_owned(),
        ..identity()
    };
    let refused = DataDir::open_or_create(&path, &cluster).unwrap_err();
    assert!(
        matches!(refused, DataDirError::OtherCluster { .. }),
        "{refused}"
    );
}

#[test]
fn shards_rise_and_never_fall() {
    let (_scratch, path, made) = made();
    let raised = DataDir::open_or_create(&path, &exactly(5)).unwrap();
    assert_eq!(raised.shards(), 5);
    assert_eq!(raised.superblock().directory_id, made.directory_id);
    assert!(raised.shard_path(4).is_dir());
    drop(raised);
    let refused = DataDir::open_or_create(&path, &exactly(4)).unwrap_err();
    let lower = matches!(
        refused,
        DataDirError::FewerShards {
            found: 5,
            wanted: 4,
            ..
        }
    );
    assert!(lower, "{refused}");
    assert_eq!(
        open(&path).unwrap().shards(),
        5,
        "a smaller machine keeps them"
    );
}

#[test]
fn a_newer_version_is_refused() {
    let (_scratch, path, superblock) = made();
    let mut newer = superblock.encode();
    newer[8..12].copy_from_slice(&2_u32.to_le_bytes());
    for name in [SUPERBLOCK, SUPERBLOCK_COPY] {
        fs::write(path.join(name), &newer).unwrap();
    }
    let refused = open(&path).unwrap_err();
    assert!(
        matches!(refused, DataDirError::Newer { found: 2, .. }),
        "{refused}"
    );
    assert_reached(&["data_dir: it is of a newer version"]);
}

#[test]
fn one_damaged_copy_is_repaired_and_two_are_reported() {
    let (_scratch, path, superblock) = made();
    for name in [SUPERBLOCK, SUPERBLOCK_COPY] {
        for damage in [&b"damage"[..], &superblock.encode()[..100]] {
            fs::write(path.join(name), damage).unwrap();
            assert_eq!(open(&path).unwrap().superblock(), &superblock);
            let repaired = fs::read(path.join(name)).unwrap();
            assert_eq!(repaired, superblock.encode(), "{name}");
        }
        fs::remove_file(path.join(name)).unwrap();
        assert_eq!(open(&path).unwrap().superblock(), &superblock);
    }
    for name in [SUPERBLOCK, SUPERBLOCK_COPY] {
        fs::write(path.join(name), "damage").unwrap();
    }
    let refused = open(&path).unwrap_err();
    assert!(
        matches!(refused, DataDirError::Unreadable { .. }),
        "{refused}"
    );
    assert_reached(&[
        "data_dir: the copy of the superblock is used",
        "data_dir: the superblocks are written again",
        "data_dir: no superblock can be read",
    ]);
}

#[test]
fn any_bit_of_either_copy_may_be_wrong() {
    let (_scratch, path, superblock) = made();
    let whole = superblock.encode();
    for name in [SUPERBLOCK, SUPERBLOCK_COPY] {
        let file = File::options().write(true).open(path.join(name)).unwrap();
        for bit in 0..whole.len() * 8 {
            let at = bit / 8;
            file.write_all_at(&[whole[at] ^ 1 << (bit % 8)], at as u64)
                .unwrap();
            let read = read_superblock(&path);
            assert_eq!(read.unwrap().as_ref(), Some(&superblock), "{name} {bit}");
            file.write_all_at(&whole[at..=at], at as u64).unwrap();
        }
    }
}

#[test]
fn shard_data_without_a_superblock_is_never_empty() {
    let (_scratch, path, _) = made();
    fs::write(path.join("shard-01/00.seg"), "data").unwrap();
    for name in [SUPERBLOCK, SUPERBLOCK_COPY] {
        fs::remove_file(path.join(name)).unwrap();
    }
    let refused = open(&path).unwrap_err();
    assert!(
        matches!(refused, DataDirError::SuperblockMissing { .. }),
        "{refused}"
    );
    assert_reached(&["data_dir: shards without a superblock"]);
}

#[test]
fn a_counted_shard_that_is_gone_is_damage() {
    let (_scratch, path, _) = made();
    fs::remove_dir(path.join("shard-01")).unwrap();
    let refused = open(&path).unwrap_err();
    assert!(
        matches!(refused, DataDirError::ShardMissing { .. }),
        "{refused}"
    );
    assert_reached(&["data_dir: a shard is missing"]);
}

#[test]
fn names_and_counts_are_checked_before_anything_is_made() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("data");
    for node in ["", "a b", "a%", "ä", &"n".repeat(61)] {
        let bad = Identity {
            node: node.to_owned(),
            ..identity()
        };
        let refused = DataDir::open_or_create(&path, &bad);
        assert!(matches!(refused, Err(DataDirError::BadNode { .. })));
    }
    let bad = Identity {
        cluster: String::new(),
        ..identity()
    };
    let refused = DataDir::open_or_create(&path, &bad);
    assert!(matches!(refused, Err(DataDirError::BadCluster { .. })));
    for shards in [0, 65] {
        let refused = DataDir::open_or_create(&path, &exactly(shards));
        assert!(matches!(refused, Err(DataDirError::BadShards { .. })));
    }
    assert!(!path.exists());
}
