//! Faults that a test orders: in flight and at rest.

use std::rc::Rc;
use std::time::Duration;

use super::content::{Block, block_of};
use super::state::State;
use super::{BLOCK_BYTES, DiskErrorKind, DiskOperation};
use crate::runtime::sim::SeededRandom;

/// A fault of the `skip + 1`th and following matching operations, `times` of them.
#[derive(Debug, Clone)]
pub struct Fault {
    /// The operation.
    pub operation: DiskOperation,
    /// Only files whose name starts with this; "" for all. Calls on the directory have the name ".".
    pub file_prefix: String,
    /// Matching operations that still go well.
    pub skip: u32,
    /// Operations that go wrong.
    pub times: u32,
    /// What happens.
    pub effect: FaultEffect,
}

/// What happens to an operation under a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultEffect {
    /// It returns an error. A failed write may have changed any of its sectors. After a failed sync the
    /// disk forgets that the data was ever waiting: later syncs succeed and cover none of it.
    Fail(DiskErrorKind),
    /// A write reports success and lands at this offset of the same file instead.
    Misdirect(u64),
    /// A write reports success and never happens.
    Lose,
    /// It takes this much longer.
    Delay(Duration),
}

/// A fault at rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Damage {
    /// One bit of the block is wrong; which one follows from its content, so it is always the same.
    BitFlip,
    /// Reading the block fails.
    Unreadable,
    /// The block holds noise.
    Noise,
    /// The block holds these bytes (a block's worth), for example older ones.
    Bytes(Vec<u8>),
}

/// What lies over a pristine block.
#[derive(Debug, Clone)]
pub(super) enum Overlay {
    Bytes(Rc<Block>),
    Unreadable,
}

pub(super) fn delay(fault: &Option<FaultEffect>) -> Duration {
    match fault {
        Some(FaultEffect::Delay(by)) => *by,
        _ => Duration::ZERO,
    }
}

pub(super) fn failure(fault: &Option<FaultEffect>) -> Option<DiskErrorKind> {
    match fault {
        Some(FaultEffect::Fail(kind)) => Some(*kind),
        _ => None,
    }
}

impl State {
    /// The effect of the first fault that matches, used up by one.
    pub(super) fn take_fault(
        &mut self,
        operation: DiskOperation,
        file: &str,
    ) -> Option<FaultEffect> {
        let at = self.faults.iter().position(|fault| {
            fault.operation == operation && file.starts_with(&fault.file_prefix)
        })?;
        let fault = &mut self.faults[at];
        if fault.skip > 0 {
            fault.skip -= 1;
            return None;
        }
        let effect = fault.effect;
        fault.times = fault.times.saturating_sub(1);
        if fault.times == 0 {
            self.faults.remove(at);
        }
        Some(effect)
    }

    pub(super) fn damage(&mut self, file: &str, offset: u64, damage: Damage) -> bool {
        let number = block_of(offset);
        let Some(id) = self.names.get(file).copied() else {
            return false;
        };
        let inode = self.inode_mut(id);
        if offset >= inode.live.len {
            return false;
        }
        let pristine = inode.pristine(number);
        let overlay = match damage {
            Damage::Unreadable => Overlay::Unreadable,
            Damage::BitFlip => Overlay::Bytes(Rc::new(flipped(&pristine))),
            Damage::Noise => Overlay::Bytes(Rc::new(noise(&pristine))),
            Damage::Bytes(bytes) => {
                let block = bytes
                    .try_into()
                    .expect("damage is a block's worth of bytes");
                Overlay::Bytes(Rc::new(block))
            }
        };
        inode.overlays.insert(number, overlay);
        true
    }

    pub(super) fn lift_damage(&mut self) {
        for inode in self.inodes.values_mut() {
            inode.overlays.clear();
        }
    }
}

fn content_random(block: &Block) -> SeededRandom {
    SeededRandom::new(u64::from(crc32fast::hash(block)), "damage")
}

fn flipped(pristine: &Block) -> Block {
    let bit = content_random(pristine).index(BLOCK_BYTES * 8);
    let mut block = *pristine;
    block[bit / 8] ^= 1 << (bit % 8);
    block
}

fn noise(pristine: &Block) -> Block {
    let mut random = content_random(pristine);
    let mut block = [0; BLOCK_BYTES];
    for bytes in block.as_chunks_mut::<8>().0 {
        *bytes = random.next_u64().to_le_bytes();
    }
    block
}
