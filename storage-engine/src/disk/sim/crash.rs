//! The image that a power cut leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::content::{Background, Blocks, Graveyard, bury, torn};
use super::fault::Overlay;
use super::inode::{FileChange, FileChangeKind, Inode};
use super::state::{InodeId, Seq, State};
use crate::runtime::sim::SeededRandom;

/// What a power cut does to operations that no sync has covered, finished or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashPolicy {
    /// All are lost.
    LoseAll,
    /// All survive: the process died, the machine did not.
    KeepAll,
    /// The oldest ones survive, up to a point drawn from the seed.
    KeepPrefix,
    /// Each survives or not, by a coin.
    RandomSubset,
    /// All survive, except that the newest write is torn by sectors.
    TearLast,
    /// Every write is torn by sectors; lengths and names survive or not, by a coin.
    TearAll,
}

impl CrashPolicy {
    /// Every policy.
    pub const ALL: [CrashPolicy; 6] = [
        CrashPolicy::LoseAll,
        CrashPolicy::KeepAll,
        CrashPolicy::KeepPrefix,
        CrashPolicy::RandomSubset,
        CrashPolicy::TearLast,
        CrashPolicy::TearAll,
    ];
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Drop,
    Keep,
    Tear,
}

/// The disk after a power cut.
pub(super) fn image(state: &State, policy: CrashPolicy, seed: u64) -> State {
    let mut random = SeededRandom::new(seed, "crash");
    let verdicts = verdicts(state, policy, &mut random);
    let names = surviving_names(state, &verdicts);
    let mut after = State::new(state.options.clone(), random.next_u64());
    after.graveyard = Rc::new(graveyard(state, &names));
    let mut moved = BTreeMap::new();
    for (name, id) in names {
        // One name a file, so each inode is met once.
        let inode = surviving_inode(state, state.inode(id), &verdicts, &mut random, &after);
        let new_id = *moved.entry(id).or_insert_with(|| after.new_inode());
        after.inodes.insert(new_id, inode);
        after.names.insert(name, new_id);
    }
    after.durable_names = after.names.clone();
    after
}

fn verdicts(
    state: &State,
    policy: CrashPolicy,
    random: &mut SeededRandom,
) -> BTreeMap<Seq, Verdict> {
    let mut uncovered: BTreeMap<Seq, bool> = BTreeMap::new();
    for change in state.inodes.values().flat_map(|inode| &inode.changes) {
        uncovered.insert(change.seq, is_write(change));
    }
    for change in &state.name_changes {
        uncovered.insert(change.seq, false);
    }
    let prefix = random.index(uncovered.len() + 1);
    let last_write = uncovered
        .iter()
        .rfind(|(_, write)| **write)
        .map(|(seq, _)| *seq);
    let mut verdict = |index: usize, seq: Seq, write: bool| match policy {
        CrashPolicy::LoseAll => Verdict::Drop,
        CrashPolicy::KeepAll => Verdict::Keep,
        CrashPolicy::KeepPrefix if index < prefix => Verdict::Keep,
        CrashPolicy::KeepPrefix => Verdict::Drop,
        CrashPolicy::TearLast if last_write == Some(seq) => Verdict::Tear,
        CrashPolicy::TearLast => Verdict::Keep,
        CrashPolicy::TearAll if write => Verdict::Tear,
        CrashPolicy::TearAll | CrashPolicy::RandomSubset if random.coin() => Verdict::Keep,
        CrashPolicy::TearAll | CrashPolicy::RandomSubset => Verdict::Drop,
    };
    uncovered
        .iter()
        .enumerate()
        .map(|(index, (seq, write))| (*seq, verdict(index, *seq, *write)))
        .collect()
}

fn is_write(change: &FileChange) -> bool {
    matches!(change.what, FileChangeKind::Write(_))
}

fn surviving_names(state: &State, verdicts: &BTreeMap<Seq, Verdict>) -> BTreeMap<String, InodeId> {
    let mut names = state.durable_names.clone();
    for change in &state.name_changes {
        if verdicts.get(&change.seq) == Some(&Verdict::Keep) {
            change.what.apply(&mut names);
        }
    }
    names
}

fn surviving_inode(
    state: &State,
    inode: &Inode,
    verdicts: &BTreeMap<Seq, Verdict>,
    random: &mut SeededRandom,
    after: &State,
) -> Inode {
    let mut image = Inode {
        live: inode.durable.clone(),
        overlays: inode.overlays.clone(),
        background: inode.background.clone(),
        ..Inode::default()
    };
    for change in &inode.changes {
        match (verdicts.get(&change.seq), &change.what) {
            (Some(Verdict::Keep), what) => image.live.apply(what),
            (Some(Verdict::Tear), FileChangeKind::Write(blocks)) => {
                tear(state, &mut image, blocks, random);
            }
            _ => {}
        }
    }
    // What lies beyond the surviving length is gone.
    let blocks = image.live.len.div_ceil(super::BLOCK_BYTES as u64);
    image.live.blocks.split_off(&blocks);
    image.overlays.split_off(&blocks);
    image.durable = image.live.clone();
    image.background = Some(Background::new(
        state.options.unwritten,
        random.next_u64(),
        image.live.len,
        &after.graveyard,
    ));
    image
}

fn tear(state: &State, image: &mut Inode, blocks: &Blocks, random: &mut SeededRandom) {
    for (number, new) in blocks {
        let old = image.pristine(*number);
        let block = torn(&old, new, state.options.sector, random);
        image.live.blocks.insert(*number, Rc::new(block));
        if state.options.unreadable_rewrites && random.one_in(4) {
            image.overlays.insert(*number, Overlay::Unreadable);
        }
    }
}

/// Blocks of files that lost their name, for space that is handed out again.
fn graveyard(state: &State, names: &BTreeMap<String, InodeId>) -> Graveyard {
    let mut graveyard = (*state.graveyard).clone();
    let kept: BTreeSet<InodeId> = names.values().copied().collect();
    for (id, inode) in &state.inodes {
        if kept.contains(id) {
            continue;
        }
        bury(&mut graveyard, &inode.live.blocks);
    }
    graveyard
}
