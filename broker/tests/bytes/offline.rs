//! `check` and `repair` on a real directory with injected damage.

use crate::directory::{Left, Machine, files, options};
use ringmq_broker::offline::{CutTail, check, repair};
use ringmq_broker::state::ShardState;
use ringmq_storage_engine::data_dir::{DataDir, FormatConstants, Identity, ShardCount};
use ringmq_storage_engine::disk::plain::PlainDisk;
use ringmq_storage_engine::position::Position;
use ringmq_storage_engine::runtime::sim::SimExecutor;
use ringmq_storage_engine::store::{LogMode, Store};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// The small directory as files, removed at the end.
struct OnDisk {
    home: TempDir,
}

impl OnDisk {
    fn new(left: Left) -> Self {
        let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("writable");
        let this = Self { home };
        let directory = DataDir::open_or_create(this.path(), &identity()).expect("made");
        drop(directory);
        for (name, bytes) in files(&Machine::live(left)) {
            fs::write(this.shard().join(name), bytes).expect("written");
        }
        this
    }

    fn path(&self) -> PathBuf {
        self.home.path().join("data")
    }

    fn shard(&self) -> PathBuf {
        self.path().join("shard-00")
    }

    fn flip(&self, file: &str, byte: usize) {
        let path = self.shard().join(file);
        let mut bytes = fs::read(&path).expect("it is there");
        bytes[byte] ^= 4;
        fs::write(path, bytes).expect("written");
    }

    fn names(&self, suffix: &str) -> Vec<String> {
        let names = self
            .content()
            .into_keys()
            .filter(|name| name.ends_with(suffix));
        names.collect()
    }

    /// Every file of the shard.
    fn content(&self) -> BTreeMap<String, Vec<u8>> {
        let entries = fs::read_dir(self.shard()).expect("it is there");
        let read = entries.map(|entry| {
            let entry = entry.expect("listed");
            let name = entry.file_name().into_string().expect("text");
            (name, fs::read(entry.path()).expect("it is there"))
        });
        read.collect()
    }

    /// How a start finds it.
    fn mode(&self) -> LogMode {
        let executor = SimExecutor::new(3);
        let runtime = executor.runtime();
        let disk = PlainDisk::read_write(&self.shard());
        let mode = executor.run(async move {
            let opened = Store::open(disk, runtime, options(), ShardState::default()).await;
            let store = opened.expect("it opens");
            let mode = store.health().mode;
            if mode == LogMode::Serving {
                store.stop().await.expect("no fault");
            }
            mode
        });
        mode.expect("it ends")
    }
}

pub fn identity() -> Identity {
    Identity {
        node: "a".to_owned(),
        cluster: "test".to_owned(),
        shards: ShardCount::Exactly(1),
        format: FormatConstants {
            segment_bytes: options().segment_bytes,
            frame_bytes_max: options().frame_bytes_max as u32,
        },
    }
}

fn program(arguments: &[&str], path: &Path) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_ringmq-broker"))
        .args(arguments)
        .arg(path)
        .output()
        .expect("it runs");
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

#[test]
fn where_nothing_is_that_is_said() {
    let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("writable");
    let missing = home.path().join("missing");
    let file = home.path().join("file");
    fs::write(&file, "not ours").expect("writable");
    let empty = home.path().join("empty");
    fs::create_dir(&empty).expect("writable");
    let cases = [
        (&missing, "it does not exist"),
        (&file, "it is not a directory"),
        (&empty, "it is empty"),
    ];
    for (path, why) in cases {
        for command in ["check", "repair"] {
            let (code, text) = program(&[command], path);
            assert_eq!(code, Some(2), "{text}");
            let said = format!("there is no data directory at {}: {why}", path.display());
            assert!(text.contains(&said), "{text}");
        }
    }
    assert!(!missing.exists());
    assert_eq!(fs::read_dir(&empty).expect("it is there").count(), 0);
}

#[test]
fn a_whole_directory_is_whole_and_stays_as_it_is() {
    for left in [Left::Clean, Left::Crashed] {
        let on_disk = OnDisk::new(left);
        let before = on_disk.content();
        let (code, text) = program(&["check"], &on_disk.path());
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains("whole: every message can be read"), "{text}");
        let lines = repair(&on_disk.path(), &[], true).expect("stopped");
        assert_eq!(lines, Vec::<String>::new());
        assert!(on_disk.content() == before, "something was written");
    }
}

#[test]
fn damage_in_a_sealed_segment_is_named_and_the_shard_stays_writable() {
    let on_disk = OnDisk::new(Left::Clean);
    // The second frame of segment 1.
    on_disk.flip(&on_disk.names(".seg")[1], 4096 + 200);
    let view = check(&on_disk.path()).expect("stopped");
    assert_eq!(view.verdict, "damaged");
    let shard = &view.shards[0];
    let lost = &shard.findings[0];
    assert_eq!((lost.severity, lost.offset), ("lost", 4096), "{lost:?}");
    assert_eq!(lost.position, Some(9 * 4096));
    assert_eq!(shard.read_only_below, None);
    let (code, text) = program(&["check"], &on_disk.path());
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("the shard stays writable"), "{text}");
    assert_eq!(on_disk.mode(), LogMode::Serving);
}

#[test]
fn a_tail_behind_damage_is_given_up_only_by_name() {
    let on_disk = OnDisk::new(Left::Clean);
    let end = check(&on_disk.path()).expect("stopped").shards[0].end;
    let segment_bytes = options().segment_bytes;
    let last = end - 4096;
    let file = format!("{:020}.seg", last / segment_bytes);
    on_disk.flip(&file, (last % segment_bytes) as usize + 150);
    let view = check(&on_disk.path()).expect("stopped");
    assert_eq!(view.shards[0].read_only_below, Some(last), "{view:?}");
    assert_eq!(on_disk.mode(), LogMode::ReadOnly);

    let cut = |position| CutTail {
        shard: "shard-00".to_owned(),
        position: Position(position),
    };
    let before = on_disk.content();
    let refused = repair(&on_disk.path(), &[cut(4096)], true).expect_err("not where damage begins");
    assert!(refused.to_string().contains(&last.to_string()), "{refused}");
    let planned = repair(&on_disk.path(), &[cut(last)], false).expect("a plan");
    assert!(planned.iter().any(|line| line.contains("drop everything")));
    assert!(on_disk.content() == before, "a dry run changes nothing");

    repair(&on_disk.path(), &[cut(last)], true).expect("cut");
    let view = check(&on_disk.path()).expect("stopped");
    assert!(view.is_whole(), "{view:?}");
    assert_eq!(view.shards[0].end, last);
    assert_eq!(on_disk.mode(), LogMode::Serving);
}

#[test]
fn derived_files_are_made_again() {
    let on_disk = OnDisk::new(Left::Clean);
    let bundles = on_disk.names(".idx");
    on_disk.flip(&bundles[0], 5000);
    fs::remove_file(on_disk.shard().join(&bundles[1])).expect("it was there");
    let snapshots = on_disk.names(".snap");
    on_disk.flip(&snapshots[1], 4200);
    fs::remove_file(on_disk.path().join("superblock.copy")).expect("it was there");
    let view = check(&on_disk.path()).expect("stopped");
    assert_eq!(view.verdict, "repairable", "{view:?}");
    let before = on_disk.content();
    let planned = repair(&on_disk.path(), &[], false).expect("a plan");
    assert_eq!(planned.len(), 3, "{planned:?}");
    assert!(on_disk.content() == before, "a dry run changes nothing");
    repair(&on_disk.path(), &[], true).expect("repaired");
    let view = check(&on_disk.path()).expect("stopped");
    assert!(view.is_whole(), "{view:?}");
    assert_eq!(on_disk.mode(), LogMode::Serving);
}

#[test]
fn a_directory_in_use_and_one_that_is_not_ours_are_refused() {
    let on_disk = OnDisk::new(Left::Clean);
    let (code, text) = program(&["check", "--json"], &on_disk.path());
    assert_eq!(code, Some(0), "{text}");
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(json["verdict"], "whole");
    let in_use = DataDir::open_or_create(on_disk.path(), &identity()).expect("free");
    let (code, text) = program(&["repair"], &on_disk.path());
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("in use"), "{text}");
    drop(in_use);
    let (code, _) = program(&["check"], on_disk.home.path());
    assert_eq!(code, Some(2));
}
