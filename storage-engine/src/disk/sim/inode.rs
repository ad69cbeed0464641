//! One file of the simulated disk: what a reader sees, what is durable, and the changes in between.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::BLOCK_BYTES;
use super::content::{Background, Block, Blocks, Content, end_of};
use super::fault::Overlay;
use super::state::Seq;

/// A file, whatever it is called.
#[derive(Debug, Clone, Default)]
pub(super) struct Inode {
    /// As a reader sees it, without overlays.
    pub(super) live: Content,
    /// What survives any power cut.
    pub(super) durable: Content,
    /// Not covered by a sync, in order of submission.
    pub(super) changes: Vec<FileChange>,
    pub(super) overlays: BTreeMap<u64, Overlay>,
    pub(super) background: Option<Background>,
    pub(super) handles: usize,
}

#[derive(Debug, Clone)]
pub(super) struct FileChange {
    pub(super) seq: Seq,
    /// When it finished; `None` while in flight.
    pub(super) finished: Option<Seq>,
    /// A failed sync lost track of it: no later sync covers it.
    pub(super) forgotten: bool,
    pub(super) what: FileChangeKind,
}

#[derive(Debug, Clone)]
pub(super) enum FileChangeKind {
    Write(Blocks),
    Length(u64),
}

impl Content {
    pub(super) fn apply(&mut self, change: &FileChangeKind) {
        match change {
            FileChangeKind::Length(to) => self.len = self.len.max(*to),
            FileChangeKind::Write(blocks) => {
                for (number, block) in blocks {
                    self.blocks.insert(*number, Rc::clone(block));
                }
            }
        }
    }
}

impl Inode {
    pub(super) fn push(&mut self, seq: Seq, what: FileChangeKind) {
        self.changes.push(FileChange {
            seq,
            finished: None,
            forgotten: false,
            what,
        });
    }

    /// The block as the medium would give it without faults at rest.
    pub(super) fn pristine(&self, number: u64) -> Block {
        match self.live.blocks.get(&number) {
            Some(block) => **block,
            None => self
                .background
                .as_ref()
                .map_or([0; BLOCK_BYTES], |background| background.block(number)),
        }
    }

    /// The block as a reader gets it; `None` if it is unreadable.
    pub(super) fn visible(&self, number: u64) -> Option<Block> {
        match self.overlays.get(&number) {
            Some(Overlay::Unreadable) => None,
            Some(Overlay::Bytes(bytes)) => Some(**bytes),
            None => Some(self.pristine(number)),
        }
    }

    pub(super) fn in_flight(&self, number: u64) -> impl Iterator<Item = &Block> {
        self.changes
            .iter()
            .filter_map(move |change| match (&change.what, change.finished) {
                (FileChangeKind::Write(blocks), None) => blocks.get(&number).map(|block| &**block),
                _ => None,
            })
    }

    pub(super) fn refuse_overlap(&self, blocks: &Blocks) {
        for number in blocks.keys() {
            assert!(
                self.in_flight(*number).next().is_none(),
                "two writes to block {number} are in flight at once"
            );
        }
    }

    pub(super) fn writes_of(&self, seq: Seq) -> Blocks {
        self.changes
            .iter()
            .find_map(|change| match &change.what {
                FileChangeKind::Write(blocks) if change.seq == seq => Some(blocks.clone()),
                _ => None,
            })
            .expect("an operation in flight is on the list")
    }

    /// Marks a write and its change of length as finished; returns its blocks and its end.
    pub(super) fn finish_write(&mut self, seq: Seq, now: Seq) -> (Blocks, u64) {
        let blocks = self.writes_of(seq);
        let end = end_of(&blocks);
        for change in &mut self.changes {
            let length = matches!(change.what, FileChangeKind::Length(to) if to == end);
            if change.seq == seq || (length && change.seq + 1 == seq) {
                change.finished = Some(now);
            }
        }
        (blocks, end)
    }

    pub(super) fn replace_write(&mut self, seq: Seq, blocks: Blocks) {
        for change in &mut self.changes {
            if change.seq == seq {
                change.what = FileChangeKind::Write(blocks.clone());
            }
        }
    }

    /// Makes exactly these blocks, and the length to read them, durable.
    pub(super) fn cover_range(&mut self, seq: Seq, blocks: Blocks, end: u64) {
        self.durable.len = self.durable.len.max(end);
        // Older uncovered writes to the same blocks are superseded and must never come back.
        for change in &mut self.changes {
            if let FileChangeKind::Write(older) = &mut change.what
                && change.seq <= seq
            {
                older.retain(|number, _| !blocks.contains_key(number));
            }
        }
        self.changes.retain(|change| match &change.what {
            FileChangeKind::Write(blocks) => !blocks.is_empty(),
            FileChangeKind::Length(to) => *to > end || change.finished.is_none(),
        });
        let mut blocks = blocks;
        self.durable.blocks.append(&mut blocks);
    }
}
