//! What a killed process leaves behind: the machine goes on, and so does its page cache.
//!
//! Everything that had finished is there and is as uncovered as before, so a power cut in the next life can still
//! undo it. What was in flight has happened, has not, or, for a write, has happened in part.

use super::inode::FileChangeKind;
use super::state::{InodeId, Seq, State};
use crate::disk::Durability;
use crate::runtime::sim::SeededRandom;

/// The disk as the next process finds it.
pub(super) fn survivor(state: &State, seed: u64) -> State {
    let mut random = SeededRandom::new(seed, "kill");
    let mut after = state.clone();
    after.crash_at = None;
    after.dead = false;
    after.faults.clear();
    after.random = SeededRandom::new(random.next_u64(), "disk");
    let is_write = |what: &FileChangeKind| matches!(what, FileChangeKind::Write(_));
    for (id, seq) in in_flight(&after, is_write) {
        match random.below(3) {
            0 => after.complete_write(id, seq, Durability::Volatile),
            1 => after.fail_write(id, seq),
            _ => {
                after.writes_in_flight -= 1;
                after.withdraw(id, seq);
            }
        }
    }
    // Lengths second: a write that happened has brought its own.
    for (id, seq) in in_flight(&after, |what| !is_write(what)) {
        if random.coin() {
            after.complete_length(id, seq);
        } else {
            after.withdraw(id, seq);
        }
    }
    let names: Vec<Seq> = after
        .name_changes
        .iter()
        .filter(|change| change.finished.is_none())
        .map(|change| change.seq)
        .collect();
    for seq in names {
        if random.coin() {
            after.complete_name(seq);
        } else {
            after.withdraw_name(seq);
        }
    }
    for inode in after.inodes.values_mut() {
        inode.handles = 0;
    }
    after.prune();
    after
}

fn in_flight(state: &State, wanted: impl Fn(&FileChangeKind) -> bool) -> Vec<(InodeId, Seq)> {
    let mut found = Vec::new();
    for (id, inode) in &state.inodes {
        let open = inode
            .changes
            .iter()
            .filter(|change| change.finished.is_none() && wanted(&change.what));
        found.extend(open.map(|change| (*id, change.seq)));
    }
    found
}
