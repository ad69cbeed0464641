//! A fixed number of seeds with every change; long runs are the `sim` program's.

use super::run;

/// The first seeds, always the same ones.
const SEEDS: u64 = 20;

fn first_seed() -> u64 {
    let seed = std::env::var("RINGMQ_SEED").ok();
    seed.map_or(1, |text| text.parse().expect("RINGMQ_SEED is a number"))
}

#[test]
fn a_cluster_keeps_its_promises() {
    let first = first_seed();
    for seed in first..first + SEEDS {
        if let Err(failure) = run(seed, false) {
            panic!(
                "seed {seed}: {}\nreplay with RINGMQ_SEED={seed}",
                failure.message
            );
        }
    }
}

#[test]
fn equal_seeds_give_equal_runs() {
    let hash = |seed| run(seed, false).expect("keeps its promises").hash;
    assert_eq!(hash(3), hash(3));
    assert_ne!(hash(3), hash(4));
}
