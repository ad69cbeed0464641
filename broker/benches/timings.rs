//! How long the code paths take: `cargo bench --workspace --bench timings`. The test `benchmarked_paths` runs each once.

mod paths;

use criterion::{Criterion, criterion_group, criterion_main};

fn timings(criterion: &mut Criterion) {
    for mut path in paths::all() {
        criterion.bench_function(path.name, |bencher| bencher.iter(&mut path.run));
    }
}

criterion_group!(benches, timings);
criterion_main!(benches);
