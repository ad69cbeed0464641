#!/usr/bin/env bash
# Every scenario once, then the report: about 17 minutes on a machine with nothing else to do, 25 with all peers.
#
#   bench/whole-run.sh [RESULTS_DIR] [flags of `ringmq-bench run`]
#
# `FEATURES=ringmq-bench/peers` builds the clients of other servers in. What is not built in or not installed is
# reported as not measured.
set -euo pipefail
cd "$(dirname "$0")/.."
results=${1:-target/bench-results}
shift || true
cargo build --release --workspace --features "${FEATURES-}"
rm -f "$results"/*.json
outcome=0
target/release/ringmq-bench run bench/scenarios/*.toml --results "$results" "$@" || outcome=$?
target/release/ringmq-bench report "$results"
echo "the report: $results/report.html and $results/report.md"
exit "$outcome"
