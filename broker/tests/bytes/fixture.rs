//! A directory written by format version 1, kept so that later versions are tested against it.
//!
//! `fixtures/v1-*.hex` hold it as text, as a clean stop, a crash and the crash of a start that mended left it: `file NAME BYTES`, then rows of an offset and
//! 64 bytes, rows of zeros left out; `expect` lines say what is in its queues. Made by
//! `RINGMQ_WRITE_FIXTURES=1 cargo test -p ringmq-broker --test bytes -- --ignored write_the_fixtures`; never made again once a release has
//! written version 1.

use crate::directory::{AUDIT, Left, Machine, ORDERS, files, options};
use crate::offline::identity;
use ringmq_broker::offline::check;
use ringmq_broker::state::ShardState;
use ringmq_storage_engine::data_dir::DataDir;
use ringmq_storage_engine::disk::Disk;
use ringmq_storage_engine::disk::plain::PlainDisk;
use ringmq_storage_engine::position::QueueHandle;
use ringmq_storage_engine::runtime::Runtime;
use ringmq_storage_engine::runtime::sim::SimExecutor;
use ringmq_storage_engine::state_machine::StateMachine;
use ringmq_storage_engine::store::{ReadLimits, Store};
use ringmq_wire::batch::BatchView;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

const ROW_BYTES: usize = 64;

fn path(left: Left) -> PathBuf {
    let name = match left {
        Left::Clean => "v1-clean.hex",
        Left::Crashed => "v1-crashed.hex",
        Left::Mending => "v1-mending.hex",
    };
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/bytes/fixtures")
        .join(name)
}

/// Names are relative to the data directory.
fn encode(files: &[(String, Vec<u8>)], expected: &[String]) -> String {
    let mut text = String::new();
    for line in expected {
        let _ = writeln!(text, "expect {line}");
    }
    for (name, bytes) in files {
        let _ = writeln!(text, "file {name} {}", bytes.len());
        for (row, bytes) in bytes.chunks(ROW_BYTES).enumerate() {
            if bytes.iter().any(|byte| *byte != 0) {
                let _ = write!(text, "{:x} ", row * ROW_BYTES);
                bytes.iter().for_each(|byte| {
                    let _ = write!(text, "{byte:02x}");
                });
                text.push('\n');
            }
        }
    }
    text
}

/// Writes the directory below `home`; gives the `expect` lines.
fn unpack(text: &str, home: &Path) -> Vec<String> {
    let mut expected = Vec::new();
    let mut files: Vec<(PathBuf, Vec<u8>)> = Vec::new();
    for line in text.lines() {
        let (first, rest) = line.split_once(' ').expect("two words");
        match first {
            "expect" => expected.push(rest.to_owned()),
            "file" => {
                let (name, bytes) = rest.split_once(' ').expect("a length");
                files.push((home.join(name), vec![0; bytes.parse().expect("a number")]));
            }
            offset => {
                let offset = usize::from_str_radix(offset, 16).expect("an offset");
                let (_, bytes) = files.last_mut().expect("rows belong to a file");
                for (at, pair) in rest.as_bytes().chunks(2).enumerate() {
                    let pair = std::str::from_utf8(pair).expect("hex");
                    bytes[offset + at] = u8::from_str_radix(pair, 16).expect("hex");
                }
            }
        }
    }
    for (path, bytes) in files {
        fs::create_dir_all(path.parent().expect("in the directory")).expect("writable");
        fs::write(path, bytes).expect("writable");
    }
    expected
}

/// One line a queue: handle, first and next offset, messages, CRC-32 over their bodies; and one for the state.
async fn describe<D: Disk, R: Runtime>(store: &Store<D, R, ShardState>) -> Vec<String> {
    let mut lines = Vec::new();
    for queue in [ORDERS[0], ORDERS[1], AUDIT] {
        lines.push(describe_queue(store, queue).await);
    }
    let state = store.with_state(|state| {
        let topics: Vec<&str> = state.topics().map(|(name, _)| name).collect();
        let groups: Vec<&str> = state.groups().map(|(name, _)| name).collect();
        let next = state.next_offsets().len();
        format!("state topics {topics:?} groups {groups:?} queues {next}")
    });
    lines.push(state);
    lines
}

async fn describe_queue<D: Disk, R: Runtime>(
    store: &Store<D, R, ShardState>,
    queue: QueueHandle,
) -> String {
    let min = store.min_offset(queue).expect("it exists");
    let visible = store.visible_offset(queue).expect("it exists");
    let (mut from, mut messages, mut bodies) = (min, 0, crc32fast::Hasher::new());
    while from < visible {
        let read = store.read(queue, from, ReadLimits::default()).await;
        let read = read.expect("undamaged");
        for batch in &read.batches {
            let view = BatchView::parse_placed(&batch.bytes).expect("whole");
            let section = view.section().expect("whole");
            for record in view.records(&section) {
                bodies.update(record.expect("whole").body);
                messages += 1;
            }
        }
        from = read.next_offset;
    }
    let sum = bodies.finalize();
    format!(
        "queue {} offsets {}..{} messages {messages} bodies {sum:08x}",
        queue.0, min.0, visible.0
    )
}

fn open_and_describe(shard: &Path) -> Vec<String> {
    let executor = SimExecutor::new(1);
    let runtime = executor.runtime();
    let disk = PlainDisk::read_write(shard);
    let lines = executor.run(async move {
        let opened = Store::open(disk, runtime, options(), ShardState::default()).await;
        let store = opened.expect("version 1 is read");
        assert_eq!(store.with_state(|state| state.defect().cloned()), None);
        let lines = describe(&store).await;
        store.stop().await.expect("no fault");
        lines
    });
    lines.expect("it ends")
}

#[test]
fn directories_of_version_1_are_read() {
    for left in [Left::Clean, Left::Crashed, Left::Mending] {
        let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("writable");
        let text = fs::read_to_string(path(left)).expect("it is kept beside this file");
        let expected = unpack(&text, home.path());
        assert!(expected.len() > 3, "it says what is in it");
        let view = check(home.path()).expect("stopped");
        assert!(view.is_whole(), "{view:?}");
        let shard = home.path().join("shard-00");
        assert_eq!(open_and_describe(&shard), expected);
        // Once more, after this version has written to it.
        assert_eq!(open_and_describe(&shard), expected);
        assert!(check(home.path()).expect("stopped").is_whole());
    }
}

/// Writes the fixtures anew, if RINGMQ_WRITE_FIXTURES=1 says so: `--ignored` alone must not change what is kept.
#[test]
#[ignore = "with RINGMQ_WRITE_FIXTURES=1: writes the fixtures; only while version 1 is not released"]
fn write_the_fixtures() {
    if std::env::var("RINGMQ_WRITE_FIXTURES").as_deref() != Ok("1") {
        return;
    }
    for left in [Left::Clean, Left::Crashed, Left::Mending] {
        let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("writable");
        let data = home.path().join("data");
        drop(DataDir::open_or_create(&data, &identity()).expect("made"));
        let mut all = Vec::new();
        for name in ["superblock", "superblock.copy"] {
            all.push((name.to_owned(), fs::read(data.join(name)).expect("made")));
        }
        for (name, bytes) in files(&Machine::live(left)) {
            fs::write(data.join("shard-00").join(&name), &bytes).expect("writable");
            all.push((format!("shard-00/{name}"), bytes));
        }
        let expected = open_and_describe(&data.join("shard-00"));
        fs::create_dir_all(path(left).parent().expect("a directory")).expect("writable");
        fs::write(path(left), encode(&all, &expected)).expect("writable");
        if let Some(keep) = std::env::var_os("RINGMQ_KEEP") {
            let _ = unpack(
                &encode(&all, &expected),
                &Path::new(&keep).join(format!("{left:?}")),
            );
        }
    }
}
