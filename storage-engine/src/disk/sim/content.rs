//! Bytes of a file as a sparse map of blocks that are shared until changed.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::{BLOCK_BYTES, Sector, Unwritten};
use crate::runtime::sim::SeededRandom;

pub(super) type Block = [u8; BLOCK_BYTES];
/// Blocks by number; an absent block was never written.
pub(super) type Blocks = BTreeMap<u64, Rc<Block>>;

pub(super) fn block_of(offset: u64) -> u64 {
    offset / BLOCK_BYTES as u64
}

/// Cuts whole blocks out of a buffer.
pub(super) fn blocks_from(bytes: &[u8], offset: u64) -> Blocks {
    bytes
        .as_chunks::<BLOCK_BYTES>()
        .0
        .iter()
        .zip(block_of(offset)..)
        .map(|(block, number)| (number, Rc::new(*block)))
        .collect()
}

/// Where these blocks end.
pub(super) fn end_of(blocks: &Blocks) -> u64 {
    blocks
        .keys()
        .next_back()
        .map_or(0, |last| (last + 1) * BLOCK_BYTES as u64)
}

/// What a file holds, in one view of it (as a reader sees it, or as a power cut would leave it).
#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    pub(super) blocks: Blocks,
    pub(super) len: u64,
}

/// What absent blocks below a length read as.
#[derive(Debug, Clone)]
pub(super) struct Background {
    mode: Unwritten,
    seed: u64,
    /// Blocks from here on were added after the last power cut and read as zeros.
    end_block: u64,
    graveyard: Rc<Graveyard>,
}

/// Blocks of files that are gone, by block number.
pub(super) type Graveyard = BTreeMap<u64, Vec<Rc<Block>>>;

/// At most this many stale blocks a block number are kept.
const STALE_PER_BLOCK: usize = 8;

/// Keeps the blocks of a file that is gone.
pub(super) fn bury(graveyard: &mut Graveyard, blocks: &Blocks) {
    for (number, block) in blocks {
        let stale = graveyard.entry(*number).or_default();
        if stale.len() < STALE_PER_BLOCK {
            stale.push(Rc::clone(block));
        }
    }
}

impl Background {
    pub(super) fn new(mode: Unwritten, seed: u64, len: u64, graveyard: &Rc<Graveyard>) -> Self {
        Self {
            mode,
            seed,
            end_block: len.div_ceil(BLOCK_BYTES as u64),
            graveyard: Rc::clone(graveyard),
        }
    }

    pub(super) fn block(&self, number: u64) -> Block {
        let mut random = SeededRandom::new(self.seed ^ number, "background");
        let mut block = [0; BLOCK_BYTES];
        if number >= self.end_block {
            return block;
        }
        match self.mode {
            Unwritten::Zero => {}
            Unwritten::Noise => {
                for bytes in block.as_chunks_mut::<8>().0 {
                    *bytes = random.next_u64().to_le_bytes();
                }
            }
            Unwritten::Stale => {
                if let Some(stale) = self.graveyard.get(&number).filter(|b| !b.is_empty()) {
                    block = *stale[random.index(stale.len())];
                }
            }
        }
        block
    }
}

/// A block in which every sector is old or new by a coin of its own.
pub(super) fn torn(old: &Block, new: &Block, sector: Sector, random: &mut SeededRandom) -> Block {
    let mut block = *old;
    let sectors = block
        .chunks_exact_mut(sector.bytes())
        .zip(new.chunks_exact(sector.bytes()));
    for (old, new) in sectors {
        if random.coin() {
            old.copy_from_slice(new);
        }
    }
    block
}
