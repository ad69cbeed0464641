//! What the simulated disk holds: live and durable content, and the operations in between.

use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::content::{Blocks, Graveyard, block_of, blocks_from, bury, end_of, torn};
use super::fault::{Fault, Overlay};
use super::inode::{FileChangeKind, Inode};
use super::{BLOCK_BYTES, SimDiskOptions, error, invalid};
use crate::disk::{DirEntry, DiskError, DiskErrorKind, DiskOperation, DiskSpace, Durability};
use crate::runtime::sim::{Fnv, SeededRandom};

pub(super) type InodeId = u64;
/// Order of submissions and completions.
pub(super) type Seq = u64;

#[derive(Debug, Clone)]
pub(super) struct PendingName {
    pub(super) seq: Seq,
    pub(super) finished: Option<Seq>,
    pub(super) what: NameChange,
}

#[derive(Debug, Clone)]
pub(super) enum NameChange {
    Create { name: String, inode: InodeId },
    Rename { to: String, inode: InodeId },
    Remove { name: String, inode: InodeId },
}

impl NameChange {
    pub(super) fn inode(&self) -> InodeId {
        match self {
            NameChange::Create { inode, .. }
            | NameChange::Rename { inode, .. }
            | NameChange::Remove { inode, .. } => *inode,
        }
    }

    /// Applies the change to a directory in which earlier changes may be missing.
    pub(super) fn apply(&self, names: &mut BTreeMap<String, InodeId>) {
        match self {
            NameChange::Create { name, inode } => {
                names.insert(name.clone(), *inode);
            }
            NameChange::Rename { to, inode, .. } => {
                // A file has one name, even if an earlier rename of it got lost.
                names.retain(|_, named| named != inode);
                names.insert(to.clone(), *inode);
            }
            NameChange::Remove { name, inode } => {
                if names.get(name) == Some(inode) {
                    names.remove(name);
                }
            }
        }
    }
}

#[derive(Clone)]
pub(super) struct State {
    pub(super) options: SimDiskOptions,
    pub(super) effects: u64,
    pub(super) crash_at: Option<u64>,
    pub(super) dead: bool,
    pub(super) random: SeededRandom,
    pub(super) seq: Seq,
    pub(super) next_inode: InodeId,
    pub(super) inodes: BTreeMap<InodeId, Inode>,
    pub(super) names: BTreeMap<String, InodeId>,
    pub(super) durable_names: BTreeMap<String, InodeId>,
    pub(super) name_changes: Vec<PendingName>,
    pub(super) faults: Vec<Fault>,
    pub(super) writes_in_flight: usize,
    pub(super) writes_in_flight_max: usize,
    pub(super) graveyard: Rc<Graveyard>,
}

/// A number for the trace: the operation on a file; the completion is one more.
pub(super) fn event(operation: DiskOperation, inode: InodeId) -> u64 {
    inode << 8 | (operation as u64) << 1
}

impl State {
    pub(super) fn new(options: SimDiskOptions, seed: u64) -> Self {
        Self {
            options,
            effects: 0,
            crash_at: None,
            dead: false,
            random: SeededRandom::new(seed, "disk"),
            seq: 0,
            next_inode: 1,
            inodes: BTreeMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            name_changes: Vec::new(),
            faults: Vec::new(),
            writes_in_flight: 0,
            writes_in_flight_max: 0,
            graveyard: Rc::default(),
        }
    }

    /// Counts an effect point; `false` once the power is gone.
    pub(super) fn reach_effect(&mut self) -> bool {
        if self.crash_at == Some(self.effects) {
            self.dead = true;
        }
        if !self.dead {
            self.effects += 1;
        }
        !self.dead
    }

    pub(super) fn next_seq(&mut self) -> Seq {
        self.seq += 1;
        self.seq
    }

    pub(super) fn draw_latency(&mut self) -> Duration {
        let max_ns = u64::try_from(self.options.latency_max.as_nanos()).unwrap_or(u64::MAX - 1);
        Duration::from_nanos(self.random.below(max_ns + 1))
    }

    pub(super) fn inode(&self, id: InodeId) -> &Inode {
        self.inodes
            .get(&id)
            .expect("an inode lives while it has a name or a handle")
    }

    pub(super) fn inode_mut(&mut self, id: InodeId) -> &mut Inode {
        self.inodes
            .get_mut(&id)
            .expect("an inode lives while it has a name or a handle")
    }

    pub(super) fn new_inode(&mut self) -> InodeId {
        let id = self.next_inode;
        self.next_inode += 1;
        self.inodes.insert(id, Inode::default());
        id
    }

    pub(super) fn uncovered(&self) -> usize {
        let files: usize = self.inodes.values().map(|inode| inode.changes.len()).sum();
        files + self.name_changes.len()
    }

    // Names.

    pub(super) fn lookup(
        &self,
        operation: DiskOperation,
        name: &str,
    ) -> Result<InodeId, DiskError> {
        self.names.get(name).copied().ok_or_else(|| {
            let source = io::ErrorKind::NotFound.into();
            error(DiskErrorKind::NotFound, operation, name, None, source)
        })
    }

    pub(super) fn exists_or_coming(&self, name: &str) -> bool {
        let coming = |change: &PendingName| match &change.what {
            NameChange::Create { name: coming, .. } | NameChange::Rename { to: coming, .. } => {
                change.finished.is_none() && coming == name
            }
            NameChange::Remove { .. } => false,
        };
        self.names.contains_key(name) || self.name_changes.iter().any(coming)
    }

    pub(super) fn submit_name(&mut self, what: NameChange) -> Seq {
        let seq = self.next_seq();
        self.name_changes.push(PendingName {
            seq,
            finished: None,
            what,
        });
        seq
    }

    pub(super) fn withdraw_name(&mut self, seq: Seq) {
        self.name_changes.retain(|change| change.seq != seq);
        self.prune();
    }

    pub(super) fn complete_name(&mut self, seq: Seq) {
        let now = self.next_seq();
        let change = self
            .name_changes
            .iter_mut()
            .find(|change| change.seq == seq)
            .expect("an operation in flight is on the list");
        change.finished = Some(now);
        change.what.apply(&mut self.names);
    }

    /// A sync of names that was issued at `issued` has returned success.
    pub(super) fn sync_names(&mut self, issued: Seq) {
        let is_covered = |change: &PendingName| change.finished.is_some_and(|at| at < issued);
        for change in self.name_changes.iter().filter(|change| is_covered(change)) {
            change.what.apply(&mut self.durable_names);
        }
        self.name_changes.retain(|change| !is_covered(change));
        self.prune();
    }

    pub(super) fn close(&mut self, id: InodeId) {
        if let Some(inode) = self.inodes.get_mut(&id) {
            inode.handles = inode.handles.saturating_sub(1);
        }
        self.prune();
    }

    /// Forgets files that nobody can reach any more, now or after a power cut.
    pub(super) fn prune(&mut self) {
        let Self {
            inodes,
            names,
            durable_names,
            name_changes,
            graveyard,
            ..
        } = self;
        let named = |id: &InodeId| {
            names.values().any(|named| named == id)
                || durable_names.values().any(|named| named == id)
                || name_changes.iter().any(|change| change.what.inode() == *id)
        };
        inodes.retain(|id, inode| {
            let reachable = inode.handles > 0 || named(id);
            if !reachable {
                bury(Rc::make_mut(graveyard), &inode.live.blocks);
            }
            reachable
        });
    }

    pub(super) fn list(&self) -> Vec<DirEntry> {
        self.names
            .iter()
            .map(|(name, id)| DirEntry {
                name: name.clone(),
                len: self.inode(*id).live.len,
            })
            .collect()
    }

    // Space.

    pub(super) fn space(&self) -> DiskSpace {
        let used: u64 = self.inodes.values().map(|inode| inode.live.len).sum();
        DiskSpace {
            total_bytes: self.options.capacity_bytes,
            free_bytes: self.options.capacity_bytes.saturating_sub(used),
        }
    }

    pub(super) fn has_room(&self, id: InodeId, len: u64) -> bool {
        let grows = len.saturating_sub(self.inode(id).live.len);
        grows <= self.space().free_bytes
    }

    // Data.

    pub(super) fn submit_write(&mut self, id: InodeId, bytes: &[u8], offset: u64) -> Seq {
        let blocks = blocks_from(bytes, offset);
        let end = offset + bytes.len() as u64;
        self.writes_in_flight += 1;
        self.writes_in_flight_max = self.writes_in_flight_max.max(self.writes_in_flight);
        let length_seq = (end > self.inode(id).live.len).then(|| self.next_seq());
        let seq = self.next_seq();
        let inode = self.inode_mut(id);
        inode.refuse_overlap(&blocks);
        if let Some(seq) = length_seq {
            inode.push(seq, FileChangeKind::Length(end));
        }
        inode.push(seq, FileChangeKind::Write(blocks));
        seq
    }

    pub(super) fn complete_write(&mut self, id: InodeId, seq: Seq, durability: Durability) {
        let now = self.next_seq();
        self.writes_in_flight -= 1;
        let inode = self.inode_mut(id);
        let (blocks, end) = inode.finish_write(seq, now);
        inode.live.len = inode.live.len.max(end);
        for (number, block) in &blocks {
            inode.live.blocks.insert(*number, Rc::clone(block));
            inode.overlays.remove(number);
        }
        if durability == Durability::Durable {
            inode.cover_range(seq, blocks, end);
        }
    }

    /// The write failed: each of its sectors is old or new.
    pub(super) fn fail_write(&mut self, id: InodeId, seq: Seq) {
        let now = self.next_seq();
        let sector = self.options.sector;
        let mut random = self.random.clone();
        self.writes_in_flight -= 1;
        let inode = self.inode_mut(id);
        let (blocks, end) = inode.finish_write(seq, now);
        let mut mixed = Blocks::new();
        for (number, block) in &blocks {
            let block = torn(&inode.pristine(*number), block, sector, &mut random);
            mixed.insert(*number, Rc::new(block));
        }
        inode.live.len = inode.live.len.max(end);
        inode.live.blocks.append(&mut mixed.clone());
        inode.replace_write(seq, mixed);
        self.random = random;
    }

    /// The write is reported as done, but never happened here; perhaps elsewhere.
    pub(super) fn lose_write(&mut self, id: InodeId, seq: Seq, landed_at: Option<u64>) {
        let inode = self.inode_mut(id);
        let blocks = inode.writes_of(seq);
        let end = end_of(&blocks);
        // What a reader of the intended place goes on seeing lies over the pristine new bytes.
        for number in blocks.keys() {
            let old = Overlay::Bytes(Rc::new(inode.pristine(*number)));
            inode.overlays.entry(*number).or_insert(old);
        }
        let first = blocks.keys().next().copied().unwrap_or(0);
        let hidden = inode.overlays.clone();
        self.complete_write(id, seq, Durability::Durable);
        let inode = self.inode_mut(id);
        inode.overlays = hidden;
        inode.live.len = inode.live.len.max(end);
        if let Some(landed_at) = landed_at {
            for (number, block) in blocks {
                let at = block_of(landed_at) + (number - first);
                inode.overlays.insert(at, Overlay::Bytes(block));
            }
        }
    }

    pub(super) fn submit_length(&mut self, id: InodeId, len: u64) -> Seq {
        let seq = self.next_seq();
        self.inode_mut(id).push(seq, FileChangeKind::Length(len));
        seq
    }

    pub(super) fn complete_length(&mut self, id: InodeId, seq: Seq) {
        let now = self.next_seq();
        let inode = self.inode_mut(id);
        for change in &mut inode.changes {
            if let (true, FileChangeKind::Length(to)) = (change.seq == seq, &change.what) {
                change.finished = Some(now);
                inode.live.len = inode.live.len.max(*to);
            }
        }
    }

    pub(super) fn withdraw(&mut self, id: InodeId, seq: Seq) {
        self.inode_mut(id)
            .changes
            .retain(|change| change.seq != seq);
    }

    pub(super) fn sync_file(&mut self, id: InodeId, issued: Seq, success: bool) {
        let inode = self.inode_mut(id);
        let mut uncovered = Vec::new();
        for mut change in std::mem::take(&mut inode.changes) {
            let finished = change.finished.is_some_and(|finished| finished < issued);
            if !finished || change.forgotten {
                uncovered.push(change);
            } else if success {
                inode.durable.apply(&change.what);
            } else {
                change.forgotten = true;
                uncovered.push(change);
            }
        }
        inode.changes = uncovered;
    }

    pub(super) fn read(
        &mut self,
        id: InodeId,
        name: &str,
        offset: u64,
        len: usize,
    ) -> Result<Rc<[u8]>, DiskError> {
        let operation = DiskOperation::Read;
        let sector = self.options.sector;
        let mut random = self.random.clone();
        let inode = self.inode(id);
        let end = offset.saturating_add(len as u64);
        if end > inode.live.len {
            let why = format!("read to {end} in a file of {} bytes", inode.live.len);
            return Err(invalid(operation, name, offset, why));
        }
        let mut bytes = Vec::with_capacity(len);
        for number in block_of(offset)..block_of(end) {
            let Some(mut block) = inode.visible(number) else {
                let at = number * BLOCK_BYTES as u64;
                let source = io::Error::other("simulated unreadable sector");
                let kind = DiskErrorKind::Failed;
                return Err(error(kind, operation, name, Some(at), source));
            };
            // A read beside a write in flight sees any mixture.
            for new in inode.in_flight(number) {
                block = torn(&block, new, sector, &mut random);
            }
            bytes.extend_from_slice(&block);
        }
        self.random = random;
        Ok(bytes.into())
    }

    // Checkers.

    pub(super) fn file_bytes(&self, name: &str) -> Option<Vec<u8>> {
        let inode = self.inode(*self.names.get(name)?);
        let mut bytes = Vec::with_capacity(inode.live.len as usize);
        for number in 0..inode.live.len.div_ceil(BLOCK_BYTES as u64) {
            bytes.extend_from_slice(&inode.visible(number).unwrap_or([0; BLOCK_BYTES]));
        }
        bytes.truncate(inode.live.len as usize);
        Some(bytes)
    }

    pub(super) fn image_hash(&self) -> u64 {
        let mut hash = Fnv::default();
        let zeros = crc32fast::hash(&[0; BLOCK_BYTES]);
        for (name, id) in &self.names {
            let inode = self.inode(*id);
            hash.write(name.as_bytes());
            hash.write_u64(inode.live.len);
            for number in 0..inode.live.len.div_ceil(BLOCK_BYTES as u64) {
                let sum = inode.visible(number).map_or(1, |b| crc32fast::hash(&b));
                if sum != zeros {
                    hash.write_u64(number);
                    hash.write_u64(u64::from(sum));
                }
            }
        }
        hash.finish()
    }
}
