//! A fixed number of seeds with every change; long runs are the `sim` program's.

use super::run;
use ringmq_storage_engine::marks::assert_reached;
use std::path::{Path, PathBuf};

/// The first seeds, always the same ones.
const SEEDS: u64 = 20;

/// Branches that the first seeds reach; tests of the engine and of the broker's parts reach the others.
const MARKS: [&str; 5] = [
    "recovery: after a clean stop",
    "recovery: from a snapshot",
    "recovery: the tail is cut",
    "verdict: a repeated batch gets its first answer",
    "verdict: a shard is off the writers' routes",
];

fn first_seed() -> u64 {
    let seed = std::env::var("RINGMQ_SEED").ok();
    seed.map_or(1, |text| text.parse().expect("RINGMQ_SEED is a number"))
}

#[test]
fn a_cluster_keeps_its_promises() {
    let first = first_seed();
    let mut made_by_messages = 0;
    for seed in first..first + SEEDS {
        match run(seed, false) {
            Ok(report) => made_by_messages += report.counts.topics_made_by_messages,
            Err(failure) => {
                let message = failure.message;
                panic!("seed {seed}: {message}\nreplay with RINGMQ_SEED={seed}");
            }
        }
    }
    if first == 1 {
        assert_reached(&MARKS);
        assert!(made_by_messages > 2, "{made_by_messages} topics");
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

/// Every mark in the code of engine and broker is expected by a test of theirs, or by the one above.
#[test]
fn every_mark_is_expected_somewhere() {
    let broker = Path::new(env!("CARGO_MANIFEST_DIR"));
    let engine = broker.join("../storage-engine");
    let mut files = Vec::new();
    for folder in [engine.join("src"), engine.join("tests"), broker.join("src")] {
        sources(&folder, &mut files);
    }
    let (tests, code): (Vec<_>, Vec<_>) = files
        .iter()
        .filter(|file| !file.ends_with("marks.rs") && !file.ends_with("sim/tests.rs"))
        .map(|file| (file, std::fs::read_to_string(file).expect("a source file")))
        .partition(|(file, _)| {
            let inner = file.strip_prefix(broker).or(file.strip_prefix(&engine));
            let mut parts = inner.expect("it was found there").iter();
            parts.any(|part| part == "tests" || part == "tests.rs")
        });
    let mut found = 0;
    for (_, text) in code {
        for rest in text.split("mark!(\"").skip(1) {
            let (mark, _) = rest.split_once('"').expect("a literal");
            let literal = format!("\"{mark}\"");
            let is_asserted = |(_, text): &(&PathBuf, String)| {
                text.contains("assert_reached(") && text.contains(&literal)
            };
            let expected = MARKS.contains(&mark) || tests.iter().any(is_asserted);
            assert!(expected, "no test expects {mark:?}");
            found += 1;
        }
    }
    assert!(found > 60, "{found} marks were found");
}
