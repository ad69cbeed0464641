//! Hostile bytes in a data directory: flipped bits, old versions, what `check` finds and `repair` does.

#![allow(clippy::print_stdout, reason = "each run reports its seed and counts")]

mod content;
mod directory;
mod fixture;
mod flips;
mod offline;
#[allow(
    clippy::duplicate_mod,
    reason = "each check brings what it needs, as in its fuzz target"
)]
mod seeds;
