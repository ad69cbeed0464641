//! A fixed number of seeds with every change; long runs are the `sim` program's.

use super::run;
use ringmq_storage_engine::marks;
use std::path::{Path, PathBuf};

/// The first seeds, always the same ones.
const SEEDS: u64 = 20;

/// Branches of the engine that the first seeds reach; `lying_disk.rs` and `failed_sync.rs` of the engine reach others.
const MARKS: [&str; 3] = [
    "recovery: after a clean stop",
    "recovery: from a snapshot",
    "recovery: the tail is cut",
];

fn first_seed() -> u64 {
    let seed = std::env::var("RINGMQ_SEED").ok();
    seed.map_or(1, |text| text.parse().expect("RINGMQ_SEED is a number"))
}

#[test]
fn a_cluster_keeps_its_promises() {
    let first = first_seed();
    for seed in first..first + SEEDS {
        if let Err(failure) = run(seed, false) {
            let message = failure.message;
            panic!("seed {seed}: {message}\nreplay with RINGMQ_SEED={seed}");
        }
    }
    let reached = marks::reached();
    for mark in MARKS.iter().filter(|_| first == 1) {
        assert!(
            reached.contains_key(mark),
            "{mark:?} was never reached: {reached:#?}"
        );
    }
}

#[test]
fn equal_seeds_give_equal_runs() {
    let hash = |seed| run(seed, false).expect("keeps its promises").hash;
    assert_eq!(hash(3), hash(3));
    assert_ne!(hash(3), hash(4));
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// Every mark in the engine's code is expected by a test.
#[test]
fn every_mark_is_expected_somewhere() {
    let engine = Path::new(env!("CARGO_MANIFEST_DIR")).join("../storage-engine");
    let tests = ["tests/lying_disk.rs", "tests/failed_sync.rs"];
    let expected = tests.map(|test| std::fs::read_to_string(engine.join(test)).expect("the file"));
    let mut files = Vec::new();
    sources(&engine.join("src"), &mut files);
    let mut found = 0;
    for file in files.iter().filter(|file| !file.ends_with("marks.rs")) {
        let text = std::fs::read_to_string(file).expect("a source file");
        for rest in text.split("mark!(\"").skip(1) {
            let (mark, _) = rest.split_once('"').expect("a literal");
            let here = MARKS.contains(&mark)
                || expected
                    .iter()
                    .any(|test| test.contains(&format!("\"{mark}\"")));
            assert!(here, "no test expects {mark:?}");
            found += 1;
        }
    }
    assert!(found > 10, "{found} marks were found");
}
