//! Hostile bytes in a data directory: flipped bits, old versions, what `check` finds and `repair` does.

#![allow(clippy::print_stdout, reason = "each run reports its seed and counts")]

mod content;
mod directory;
mod fixture;
mod flips;
mod offline;
