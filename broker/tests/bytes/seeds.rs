//! The seeds of the fuzz targets, through the checks that the targets run. `fuzz/seeds/TARGET.hex` has one input a line.

use std::path::Path;

#[path = "../../fuzz/checks/config.rs"]
mod config;
#[path = "../../fuzz/checks/control_record.rs"]
mod control_record;
#[path = "../../fuzz/checks/data_dir.rs"]
mod data_dir;
#[path = "../../fuzz/checks/index_bundle.rs"]
mod index_bundle;
#[path = "../../fuzz/checks/segment.rs"]
mod segment;
#[path = "../../fuzz/checks/session.rs"]
mod session;
#[path = "../../fuzz/checks/shard_meta.rs"]
mod shard_meta;
#[path = "../../fuzz/checks/snapshot.rs"]
mod snapshot;
#[path = "../../fuzz/checks/state_chunk.rs"]
mod state_chunk;
#[path = "../../fuzz/checks/superblock.rs"]
mod superblock;

#[path = "../../../wire/tests/seed_file/mod.rs"]
mod seed_file;

/// What a fuzz target does with its input; it panics where the code that reads it is wrong.
type Check = fn(&[u8]);

const TARGETS: [(&str, Check); 10] = [
    ("config", config::check),
    ("control_record", control_record::check),
    ("data_dir", data_dir::check),
    ("index_bundle", index_bundle::check),
    ("segment", segment::check),
    ("session", session::check),
    ("shard_meta", shard_meta::check),
    ("snapshot", snapshot::check),
    ("state_chunk", state_chunk::check),
    ("superblock", superblock::check),
];

/// Of each seed, evenly.
const PREFIXES: usize = 32;

#[test]
fn every_seed_is_borne_by_its_target() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    for (target, check) in TARGETS {
        let seeds = seed_file::read(&seeds.join(format!("{target}.hex")));
        for seed in &seeds {
            check(seed);
            // A prefix of an input is an input, too.
            let step = seed.len().div_ceil(PREFIXES).max(1);
            (0..seed.len())
                .step_by(step)
                .for_each(|len| check(&seed[..len]));
        }
        assert!(seeds.len() >= 2, "{target} has {} seeds", seeds.len());
    }
}
