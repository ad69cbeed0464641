#!/usr/bin/env bash
# Every scenario once, then the report: about 17 minutes on a machine with nothing else to do.
#
#   bench/whole-run.sh [RESULTS_DIR] [flags of `ringmq-bench run`]
#
# Peers that are not installed are reported as not measured. `FEATURES=` builds without their clients.
set -euo pipefail
cd "$(dirname "$0")/.."
results=${1:-target/bench-results}
shift || true
cargo build --release -p ringmq-broker
cargo build --release -p ringmq-bench --features "${FEATURES-peers}"
rm -rf "$results"
outcome=0
target/release/ringmq-bench run bench/scenarios/*.toml --results "$results" "$@" || outcome=$?
target/release/ringmq-bench report "$results"
echo "the report: $results/report.html and $results/report.md"
exit "$outcome"
