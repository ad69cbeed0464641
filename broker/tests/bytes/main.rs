//! Hostile bytes in a data directory: flipped bits, old versions, what `check` finds and `repair` does.

mod content;
mod directory;
mod flips;
mod offline;
