//! The code paths that the benches count and time, each run once: they assert what they compute.

#[path = "../benches/paths/mod.rs"]
mod paths;

use std::collections::BTreeSet;

#[test]
fn every_path_runs_and_has_a_name_of_its_own() {
    let mut names = BTreeSet::new();
    for mut path in paths::all() {
        assert!(names.insert(path.name), "{}: twice", path.name);
        (path.run)();
    }
}
