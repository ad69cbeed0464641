//! Models of the state and of its decisions.
//!
//! Random tests take their seeds from `RINGMQ_SEED` (one run with that seed) or from a fresh base, and print the
//! seed of a failing run.

mod codec;
mod golden;
mod lease_model;
mod locks;
mod offsets;
mod produce;
mod produce_model;
mod snapshot_model;
mod topics;
mod world;

use std::time::{SystemTime, UNIX_EPOCH};

/// A small seeded generator (splitmix64).
pub struct Random(u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in 0..end.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    pub fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.below(from.len()))
    }
}

struct SeedOnPanic(u64);

impl Drop for SeedOnPanic {
    #[allow(clippy::print_stderr, reason = "tells how to repeat a failing run")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("repeat with RINGMQ_SEED={}", self.0);
        }
    }
}

/// Runs `test` with `runs` seeds, or with the one of `RINGMQ_SEED`.
pub fn with_seeds(runs: u64, test: impl Fn(&mut Random)) {
    let given = std::env::var("RINGMQ_SEED").ok();
    let given = given.and_then(|seed| seed.parse::<u64>().ok());
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    let base = since_epoch.map_or(1, |time| time.as_nanos() as u64);
    let seeds = match given {
        Some(seed) => vec![seed],
        None => (0..runs).map(|run| base.wrapping_add(run)).collect(),
    };
    for seed in seeds {
        let _on_panic = SeedOnPanic(seed);
        test(&mut Random(seed));
    }
}
