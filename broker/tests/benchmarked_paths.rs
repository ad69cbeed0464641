//! The code paths that the benches count and time, each run once: they assert what they compute.

#[path = "../benches/paths/mod.rs"]
mod paths;

#[test]
fn every_path_runs() {
    for mut path in paths::all() {
        println!("{}", path.name);
        (path.run)();
    }
}
