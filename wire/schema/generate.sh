#!/usr/bin/env bash
# Regenerates wire/src/native/generated.rs from native.fbs. Needs flatc of the version of the flatbuffers crate;
# FLATC names it (default: flatc on the PATH). With --check, compares instead of writing.
set -euo pipefail
cd "$(dirname "$0")"
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
"${FLATC:-flatc}" --rust --gen-object-api -o "$out" native.fbs
# Other packages of the workspace build these structs with struct expressions.
sed -i '/^#\[non_exhaustive\]$/d' "$out/native_generated.rs"
if [ "${1:-}" = --check ]; then
  diff -q "$out/native_generated.rs" ../src/native/generated.rs
else
  cp "$out/native_generated.rs" ../src/native/generated.rs
fi
