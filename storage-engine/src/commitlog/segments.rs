//! The files of the log.
//!
//! | name | what |
//! |---|---|
//! | `NNNNNNNNNNNNNNNNNNNN.seg` | segment N, decimal with leading zeros; as long as a segment from the moment it has this name |
//! | `NNNNNNNNNNNNNNNNNNNN.idx` | its index, once it is sealed |
//! | `free-NNNNNNNNNNNNNNNNNNNN` | a retired segment waiting to be used again; its bytes are stale frames |
//! | `prepare-NNNNNNNNNNNNNNNNNNNN` | a segment being allocated; removed at open |
//!
//! Invariants:
//! - A frame is written only into a prepared segment: allocated in full, synced, its name durable. So the log never
//!   allocates on its way, and running out of space is an event of the background, not of a write.
//! - A file gets its name by a rename that a directory sync makes durable before the first write.
//! - At most a bounded number of files is open; the one written to and those being read are never closed.

use super::placement::Geometry;
use crate::disk::{Disk, DiskError, DiskErrorKind, DiskFile};
use crate::index::bundle;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Files that stay open although nobody reads them.
const OPEN_IDLE_MAX: usize = 64;

/// Positions of segments of up to 4 GiB stay far from overflow; a file with a higher number is not ours.
const SEGMENT_NUMBER_MAX: u64 = 1 << 30;

/// File name of a segment.
pub fn segment_name(number: u64) -> String {
    format!("{number:020}.seg")
}

fn spare_name(number: u64) -> String {
    format!("free-{number:020}")
}

fn preparing_name(number: u64) -> String {
    format!("prepare-{number:020}")
}

fn number_in(name: &str, prefix: &str, suffix: &str) -> Option<u64> {
    let digits = name.strip_prefix(prefix)?.strip_suffix(suffix)?;
    let plain = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
    let number: u64 = plain.then(|| digits.parse().ok())??;
    (number <= SEGMENT_NUMBER_MAX).then_some(number)
}

/// Left behind by a crash, or a spare too many.
fn is_waste(name: &str) -> bool {
    name.starts_with("free-") || name.starts_with("prepare-") || name.ends_with(".tmp")
}

/// An open segment. Whoever reads or writes it holds it, and it is not retired meanwhile.
pub struct SegmentFile<D: Disk> {
    pub number: u64,
    pub file: D::File,
    /// From here on the space was never written: writes into it cost more.
    pub fresh_from: Cell<u64>,
}

/// All segments of a shard.
pub struct Segments<D: Disk> {
    disk: D,
    geometry: Geometry,
    known: RefCell<BTreeSet<u64>>,
    open: RefCell<BTreeMap<u64, Rc<SegmentFile<D>>>>,
    spares: RefCell<Vec<u64>>,
    spares_max: usize,
}

impl<D: Disk> Segments<D> {
    /// Takes stock of the directory and removes what a crash left half done.
    pub async fn load(disk: &D, geometry: Geometry, spares_max: usize) -> Result<Self, DiskError> {
        let mut known = BTreeSet::new();
        let mut spares = Vec::new();
        let mut bundles = Vec::new();
        for entry in disk.list().await? {
            let name = &entry.name;
            let whole = entry.len == geometry.segment_bytes;
            if let Some(number) = number_in(name, "", ".seg") {
                known.insert(number);
            } else if let Some(number) = number_in(name, "free-", "")
                && whole
                && spares.len() < spares_max
            {
                mark!("recovery: a retired segment is kept for reuse");
                spares.push(number);
            } else if let Some(number) = bundle::number_of(name) {
                bundles.push(number);
            } else if is_waste(name) {
                mark!("recovery: what a crash left half done is removed");
                disk.remove(name).await?;
            }
        }
        // The removal of a bundle can be lost although its segment is gone.
        for orphan in bundles.into_iter().filter(|number| !known.contains(number)) {
            mark!("recovery: an index without its segment is removed");
            disk.remove(&bundle::file_name(orphan)).await?;
        }
        // Names that a process left behind that ended before its sync, too: frames will be acknowledged in these files.
        disk.sync_dir().await?;
        Ok(Self {
            disk: disk.clone(),
            geometry,
            known: RefCell::new(known),
            open: RefCell::default(),
            spares: RefCell::new(spares),
            spares_max,
        })
    }

    /// Takes stock without removing anything, to look at a directory that is not to be changed.
    pub async fn look(disk: &D, geometry: Geometry) -> Result<Self, DiskError> {
        let names = disk.list().await?.into_iter();
        let known = names.filter_map(|entry| number_in(&entry.name, "", ".seg"));
        Ok(Self {
            disk: disk.clone(),
            geometry,
            known: RefCell::new(known.collect()),
            open: RefCell::default(),
            spares: RefCell::default(),
            spares_max: 0,
        })
    }

    /// Numbers of all segments, rising.
    pub fn numbers(&self) -> Vec<u64> {
        self.known.borrow().iter().copied().collect()
    }

    /// Whether segment `number` is there to be written or read.
    pub fn contains(&self, number: u64) -> bool {
        self.known.borrow().contains(&number)
    }

    /// The first segment behind `number` that is there.
    pub fn next_behind(&self, number: u64) -> Option<u64> {
        self.known.borrow().range(number + 1..).next().copied()
    }

    /// Segments kept for reuse.
    pub fn spare_count(&self) -> usize {
        self.spares.borrow().len()
    }

    /// A segment that is open already.
    pub fn opened(&self, number: u64) -> Option<Rc<SegmentFile<D>>> {
        self.open.borrow().get(&number).cloned()
    }

    /// Opens a segment.
    pub async fn file(&self, number: u64) -> Result<Rc<SegmentFile<D>>, DiskError> {
        if let Some(file) = self.opened(number) {
            return Ok(file);
        }
        let file = self.disk.open(&segment_name(number)).await?;
        self.close_idle().await?;
        // Somebody else may have opened it meanwhile; two handles of one file do no harm, one is dropped.
        Ok(self.insert(number, file, 0))
    }

    fn insert(&self, number: u64, file: D::File, fresh_from: u64) -> Rc<SegmentFile<D>> {
        let fresh_from = Cell::new(fresh_from);
        let segment = Rc::new(SegmentFile {
            number,
            file,
            fresh_from,
        });
        let mut open = self.open.borrow_mut();
        open.entry(number).or_insert(segment).clone()
    }

    async fn close_idle(&self) -> Result<(), DiskError> {
        let idle = {
            let mut open = self.open.borrow_mut();
            let newest = open.keys().next_back().copied();
            let unused = |(number, file): &(&u64, &Rc<SegmentFile<D>>)| {
                Rc::strong_count(file) == 1 && newest.is_some_and(|n| **number + 2 < n)
            };
            let victim = open.iter().find(unused).map(|(number, _)| *number);
            match victim {
                Some(number) if open.len() > OPEN_IDLE_MAX => open.remove(&number),
                _ => None,
            }
        };
        close(idle).await
    }

    /// Makes segment `number` ready to be written: from a spare, or freshly allocated.
    pub async fn prepare(&self, number: u64) -> Result<Rc<SegmentFile<D>>, DiskError> {
        if self.contains(number) {
            return self.file(number).await;
        }
        let name = segment_name(number);
        let spare = self.spares.borrow_mut().pop();
        let fresh_from = match spare {
            Some(spare) => {
                mark!("segments: one is used again");
                self.disk.rename(&spare_name(spare), &name).await?;
                self.geometry.segment_bytes
            }
            None => {
                self.allocate(number).await?;
                0
            }
        };
        self.disk.sync_dir().await?;
        // Opened under its own name, so that errors carry that.
        let file = self.disk.open(&name).await?;
        self.known.borrow_mut().insert(number);
        Ok(self.insert(number, file, fresh_from))
    }

    async fn allocate(&self, number: u64) -> Result<(), DiskError> {
        let temporary = preparing_name(number);
        let file = match self.disk.create(&temporary).await {
            Err(error) if error.kind == DiskErrorKind::AlreadyExists => {
                self.disk.remove(&temporary).await?;
                self.disk.create(&temporary).await?
            }
            other => other?,
        };
        let allocated = async {
            file.allocate(self.geometry.segment_bytes).await?;
            file.sync_data().await
        };
        if let Err(error) = allocated.await {
            // Give back what was taken; the first error is the one that matters.
            let _ = file.close().await;
            let _ = self.disk.remove(&temporary).await;
            return Err(error);
        }
        file.close().await?;
        self.disk.rename(&temporary, &segment_name(number)).await
    }

    /// Whether somebody reads or writes segment `number`.
    pub fn is_pinned(&self, number: u64) -> bool {
        self.open
            .borrow()
            .get(&number)
            .is_some_and(|file| Rc::strong_count(file) > 1)
    }

    /// Takes segment `number`, which nobody holds, out of the log: its index first, so that no index is ever without
    /// its segment. Kept for reuse unless `unlink`. After an error it is still known, and can be retired again.
    pub async fn retire(&self, number: u64, unlink: bool) -> Result<(), DiskError> {
        self.known.borrow_mut().remove(&number);
        if let Err(error) = self.take_out(number, unlink).await {
            self.known.borrow_mut().insert(number);
            return Err(error);
        }
        self.disk.sync_dir().await
    }

    async fn take_out(&self, number: u64, unlink: bool) -> Result<(), DiskError> {
        let file = self.open.borrow_mut().remove(&number);
        close(file).await?;
        match self.disk.remove(&bundle::file_name(number)).await {
            Err(error) if error.kind != DiskErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let name = segment_name(number);
        if unlink || self.spare_count() >= self.spares_max {
            return self.disk.remove(&name).await;
        }
        self.disk.rename(&name, &spare_name(number)).await?;
        self.spares.borrow_mut().push(number);
        Ok(())
    }

    /// Unlinks the spares: the disk is too full to keep any.
    pub async fn drop_spares(&self) -> Result<(), DiskError> {
        let spares = std::mem::take(&mut *self.spares.borrow_mut());
        if spares.is_empty() {
            return Ok(());
        }
        for spare in spares {
            self.disk.remove(&spare_name(spare)).await?;
        }
        self.disk.sync_dir().await
    }

    /// Closes every file that nobody holds.
    pub async fn close_all(&self) -> Result<(), DiskError> {
        let open = std::mem::take(&mut *self.open.borrow_mut());
        for (_, file) in open {
            close(Some(file)).await?;
        }
        Ok(())
    }
}

async fn close<D: Disk>(file: Option<Rc<SegmentFile<D>>>) -> Result<(), DiskError> {
    match file.and_then(Rc::into_inner) {
        Some(segment) => segment.file.close().await,
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_the_number() {
        assert_eq!(segment_name(7), "00000000000000000007.seg");
        assert_eq!(number_in("00000000000000000007.seg", "", ".seg"), Some(7));
        assert_eq!(number_in(&segment_name(1 << 30), "", ".seg"), Some(1 << 30));
        assert_eq!(number_in(&segment_name(u64::MAX), "", ".seg"), None);
        for other in [
            "7.seg",
            "0000000000000000000x.seg",
            "00000000000000000007.idx",
            "+0000000000000000007.seg",
        ] {
            assert_eq!(number_in(other, "", ".seg"), None, "{other}");
        }
    }
}
