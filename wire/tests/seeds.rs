//! The seeds of every fuzz target, through the checks that the targets run. `fuzz/seeds/TARGET.hex` has one input a line.

use std::fs;
use std::path::Path;

#[path = "../fuzz/checks/batch.rs"]
mod batch;
#[path = "../fuzz/checks/frame.rs"]
mod frame;
#[path = "../fuzz/checks/headers.rs"]
mod headers;
#[path = "../fuzz/checks/remoting_body.rs"]
mod remoting_body;
#[path = "../fuzz/checks/remoting_header.rs"]
mod remoting_header;
#[path = "../fuzz/checks/remoting_message.rs"]
mod remoting_message;
mod seed_file;

/// What a fuzz target does with its input; it panics where the decoder is wrong.
type Check = fn(&[u8]);

const TARGETS: [(&str, Check); 6] = [
    ("batch", batch::check),
    ("frame", frame::check),
    ("headers", headers::check),
    ("remoting_body", remoting_body::check),
    ("remoting_header", remoting_header::check),
    ("remoting_message", remoting_message::check),
];

#[test]
fn every_seed_is_borne_by_its_target() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let targets = fs::read_dir(fuzz.join("fuzz_targets")).expect("the targets");
    assert_eq!(targets.count(), TARGETS.len(), "each target has seeds");
    for (target, check) in TARGETS {
        let seeds = seed_file::read(&fuzz.join("seeds").join(format!("{target}.hex")));
        for seed in &seeds {
            // A prefix of an input is an input, too.
            (0..=seed.len()).for_each(|len| check(&seed[..len]));
        }
        assert!(seeds.len() >= 8, "{target} has {} seeds", seeds.len());
    }
}
