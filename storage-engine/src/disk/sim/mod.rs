//! A disk in memory that can be broken on purpose, and a power cut at any moment.
//!
//! The model:
//! - A finished volatile write, a new length, a created, renamed or removed name are all *uncovered*: each
//!   may be lost on its own until a sync that was issued after it finished has returned (`sync_data` for
//!   data and length, `sync_dir` for names). A finished durable write has covered exactly its own range and
//!   the length needed to read it.
//! - A failed `sync_data` forgets what it was about: a later one that succeeds does not cover it. A failed `sync_dir`
//!   leaves names as uncovered as they were: a journal that cannot be written takes no later change either.
//! - A power cut ([`SimDisk::crash`]) makes an image: what is covered, and for every uncovered or unfinished
//!   operation a choice by policy and seed: dropped, kept, or torn sector by sector.
//! - A killed process ([`SimDisk::kill_onto`]) leaves everything that had finished, as uncovered as it was.
//! - Every submission and every completion that changes the disk is an *effect point*, counted from 0;
//!   [`SimDisk::crash_at`] cuts the power just before that point takes effect and halts the executor.
//! - Faults at rest are overlays over pristine bytes; they can be lifted, and a write to a block replaces
//!   its overlay, as a rewrite of a bad sector does.
//! - All choices come from seeds; nothing depends on time, addresses or hash order.
//!
//! A write that overlaps another one in flight is a defect of the caller and panics.

mod content;
mod crash;
mod fault;
mod file;
mod inode;
mod kill;
mod state;

use std::cell::RefCell;
use std::future::pending;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::{
    BLOCK_BYTES, DirEntry, Disk, DiskError, DiskErrorKind, DiskOperation, DiskSpace, check_name,
};
use crate::runtime::Runtime;
use crate::runtime::sim::SimRuntime;
pub use crash::CrashPolicy;
pub use fault::{Damage, Fault, FaultEffect};
pub use file::{SimBuf, SimFile};
use state::{NameChange, State};

/// The unit in which a torn write is old or new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sector {
    /// A classic sector.
    Bytes512,
    /// A modern one.
    Bytes4096,
}

impl Sector {
    pub(crate) fn bytes(self) -> usize {
        match self {
            Sector::Bytes512 => 512,
            Sector::Bytes4096 => 4096,
        }
    }
}

/// What space reads as whose length survived a power cut but whose content never did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unwritten {
    /// Zeros, as file systems with unwritten extents give.
    Zero,
    /// Seeded noise.
    Noise,
    /// Blocks of files that are gone, at the same offset where there are any.
    Stale,
}

/// How a simulated disk behaves.
#[derive(Debug, Clone)]
pub struct SimDiskOptions {
    /// Size of the file system; allocations and writes beyond it fail with "no space".
    pub capacity_bytes: u64,
    /// Each operation takes between nothing and this, by seed; so completions change order.
    pub latency_max: Duration,
    /// Unit of tearing.
    pub sector: Sector,
    /// What lost content reads as.
    pub unwritten: Unwritten,
    /// Whether a sector whose rewrite was cut may be unreadable afterwards.
    pub unreadable_rewrites: bool,
}

impl Default for SimDiskOptions {
    fn default() -> Self {
        Self {
            capacity_bytes: 1 << 40,
            latency_max: Duration::from_micros(100),
            sector: Sector::Bytes512,
            unwritten: Unwritten::Zero,
            unreadable_rewrites: false,
        }
    }
}

/// A simulated directory; a cheap handle. Lives on one [`SimRuntime`].
#[derive(Clone)]
pub struct SimDisk {
    state: Rc<RefCell<State>>,
    runtime: SimRuntime,
}

impl SimDisk {
    /// An empty disk; its choices follow the runtime's seed.
    #[must_use]
    pub fn new(runtime: &SimRuntime, options: SimDiskOptions) -> Self {
        Self::with_seed(runtime, options, runtime.seed())
    }

    /// As [`SimDisk::new`], for one of several disks on a runtime: each takes a seed of its own.
    #[must_use]
    pub fn with_seed(runtime: &SimRuntime, options: SimDiskOptions, seed: u64) -> Self {
        Self {
            state: Rc::new(RefCell::new(State::new(options, seed))),
            runtime: runtime.clone(),
        }
    }

    /// Effect points so far.
    #[must_use]
    pub fn effects(&self) -> u64 {
        self.state.borrow().effects
    }

    /// Cuts the power just before effect point `point` (counted from 0 since this disk was made).
    pub fn crash_at(&self, point: u64) {
        self.state.borrow_mut().crash_at = Some(point);
    }

    /// Whether the power is gone; then no operation ever finishes.
    #[must_use]
    pub fn has_crashed(&self) -> bool {
        self.state.borrow().dead
    }

    /// What a machine finds after a power cut now. This disk does not change, so several images can be
    /// made of one moment; tasks that still use it should be aborted.
    #[must_use]
    pub fn crash(&self, policy: CrashPolicy, seed: u64) -> Self {
        self.crash_onto(&self.runtime, policy, seed)
    }

    /// As [`SimDisk::crash`], for use on another executor.
    #[must_use]
    pub fn crash_onto(&self, runtime: &SimRuntime, policy: CrashPolicy, seed: u64) -> Self {
        Self {
            state: Rc::new(RefCell::new(crash::image(
                &self.state.borrow(),
                policy,
                seed,
            ))),
            runtime: runtime.clone(),
        }
    }

    /// What the next process finds after this one was killed, on a machine that goes on: a later power cut can still
    /// undo what no sync has covered. Faults that were ordered are forgotten, those at rest stay.
    #[must_use]
    pub fn kill_onto(&self, runtime: &SimRuntime, seed: u64) -> Self {
        Self {
            state: Rc::new(RefCell::new(kill::survivor(&self.state.borrow(), seed))),
            runtime: runtime.clone(),
        }
    }

    /// Operations that a power cut now could undo.
    #[must_use]
    pub fn uncovered(&self) -> usize {
        self.state.borrow().uncovered()
    }

    /// Most writes that were in flight at once.
    #[must_use]
    pub fn writes_in_flight_max(&self) -> usize {
        self.state.borrow().writes_in_flight_max
    }

    /// Lets a later operation go wrong.
    pub fn inject(&self, fault: Fault) {
        self.state.borrow_mut().faults.push(fault);
    }

    /// Forgets faults that have not happened yet.
    pub fn clear_faults(&self) {
        self.state.borrow_mut().faults.clear();
    }

    /// Damages the block of `file` that holds `offset`. Returns whether there is such a block.
    pub fn damage(&self, file: &str, offset: u64, damage: Damage) -> bool {
        self.state.borrow_mut().damage(file, offset, damage)
    }

    /// Takes all faults at rest away: the pristine bytes are back.
    pub fn lift_damage(&self) {
        self.state.borrow_mut().lift_damage();
    }

    /// Changes the size of the file system.
    pub fn set_capacity_bytes(&self, capacity_bytes: u64) {
        self.state.borrow_mut().options.capacity_bytes = capacity_bytes;
    }

    /// Bytes of all files.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        let space = self.state.borrow().space();
        space.total_bytes - space.free_bytes
    }

    /// Makes all later operations slower or faster.
    pub fn set_latency_max(&self, latency_max: Duration) {
        self.state.borrow_mut().options.latency_max = latency_max;
    }

    /// Hash over names, lengths and bytes as a reader sees them.
    #[must_use]
    pub fn image_hash(&self) -> u64 {
        self.state.borrow().image_hash()
    }

    /// All files, sorted by name; for checkers.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.state.borrow().names.keys().cloned().collect()
    }

    /// The bytes of a file as a reader sees them (unreadable blocks as zeros); for checkers.
    #[must_use]
    pub fn bytes(&self, file: &str) -> Option<Vec<u8>> {
        self.state.borrow().file_bytes(file)
    }

    /// Counts an effect point and performs it; never returns once the power is gone.
    async fn effect<T>(&self, event: u64, perform: impl FnOnce(&mut State) -> T) -> T {
        let outcome = {
            let mut state = self.state.borrow_mut();
            if state.reach_effect() {
                Some(perform(&mut state))
            } else {
                self.runtime.halt();
                None
            }
        };
        match outcome {
            Some(outcome) => {
                self.runtime.trace(event);
                outcome
            }
            None => pending().await,
        }
    }

    async fn latency(&self, extra: Duration) {
        let latency = self.state.borrow_mut().draw_latency() + extra;
        if latency.is_zero() {
            self.runtime.yield_now().await;
        } else {
            self.runtime.sleep(latency).await;
        }
        if self.has_crashed() {
            pending::<()>().await;
        }
    }

    /// Submit, wait, complete: the shape of every change of names.
    async fn change_name(
        &self,
        operation: DiskOperation,
        file: &str,
        plan: impl FnOnce(&mut State) -> Result<NameChange, DiskError>,
    ) -> Result<NameChange, DiskError> {
        check_name(operation, file)?;
        let event = state::event(operation, 0);
        let submitted = self
            .effect(event, |state| {
                let fault = state.take_fault(operation, file);
                plan(state).map(|change| (state.submit_name(change.clone()), change, fault))
            })
            .await;
        let (seq, change, fault) = submitted?;
        self.latency(fault::delay(&fault)).await;
        self.effect(event + 1, |state| match fault::failure(&fault) {
            Some(kind) => {
                state.withdraw_name(seq);
                Err(injected(kind, operation, file, None))
            }
            None => {
                state.complete_name(seq);
                Ok(change)
            }
        })
        .await
    }
}

impl Disk for SimDisk {
    type Buf = SimBuf;
    type File = SimFile;

    fn alloc(&self, len: usize) -> SimBuf {
        SimBuf::new(len)
    }

    async fn create(&self, name: &str) -> Result<SimFile, DiskError> {
        let change = self
            .change_name(DiskOperation::Create, name, |state| {
                if state.exists_or_coming(name) {
                    return Err(exists(DiskOperation::Create, name));
                }
                let inode = state.new_inode();
                Ok(NameChange::Create {
                    name: name.to_owned(),
                    inode,
                })
            })
            .await?;
        Ok(SimFile::new(self.clone(), name, change.inode()))
    }

    async fn open(&self, name: &str) -> Result<SimFile, DiskError> {
        check_name(DiskOperation::Open, name)?;
        self.latency(Duration::ZERO).await;
        let mut state = self.state.borrow_mut();
        let fault = state.take_fault(DiskOperation::Open, name);
        if let Some(kind) = fault::failure(&fault) {
            return Err(injected(kind, DiskOperation::Open, name, None));
        }
        let inode = state.lookup(DiskOperation::Open, name)?;
        drop(state);
        Ok(SimFile::new(self.clone(), name, inode))
    }

    async fn list(&self) -> Result<Vec<DirEntry>, DiskError> {
        self.latency(Duration::ZERO).await;
        let mut state = self.state.borrow_mut();
        let fault = state.take_fault(DiskOperation::List, ".");
        match fault::failure(&fault) {
            Some(kind) => Err(injected(kind, DiskOperation::List, ".", None)),
            None => Ok(state.list()),
        }
    }

    async fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        check_name(DiskOperation::Rename, to)?;
        self.change_name(DiskOperation::Rename, from, |state| {
            Ok(NameChange::Rename {
                to: to.to_owned(),
                inode: state.lookup(DiskOperation::Rename, from)?,
            })
        })
        .await
        .map(|_| ())
    }

    async fn remove(&self, name: &str) -> Result<(), DiskError> {
        self.change_name(DiskOperation::Remove, name, |state| {
            Ok(NameChange::Remove {
                name: name.to_owned(),
                inode: state.lookup(DiskOperation::Remove, name)?,
            })
        })
        .await
        .map(|_| ())
    }

    async fn sync_dir(&self) -> Result<(), DiskError> {
        let operation = DiskOperation::SyncDir;
        let event = state::event(operation, 0);
        let (issued, fault) = self
            .effect(event, |state| {
                (state.next_seq(), state.take_fault(operation, "."))
            })
            .await;
        self.latency(fault::delay(&fault)).await;
        self.effect(event + 1, |state| match fault::failure(&fault) {
            Some(kind) => Err(injected(kind, operation, ".", None)),
            None => {
                state.sync_names(issued);
                Ok(())
            }
        })
        .await
    }

    async fn space(&self) -> Result<DiskSpace, DiskError> {
        self.latency(Duration::ZERO).await;
        Ok(self.state.borrow().space())
    }
}

fn error(
    kind: DiskErrorKind,
    operation: DiskOperation,
    file: &str,
    offset: Option<u64>,
    source: io::Error,
) -> DiskError {
    DiskError {
        kind,
        operation,
        file: file.to_owned(),
        offset,
        source,
    }
}

fn injected(
    kind: DiskErrorKind,
    operation: DiskOperation,
    file: &str,
    offset: Option<u64>,
) -> DiskError {
    let source = match kind {
        DiskErrorKind::NoSpace => io::ErrorKind::StorageFull.into(),
        _ => io::Error::other("simulated fault"),
    };
    error(kind, operation, file, offset, source)
}

fn exists(operation: DiskOperation, file: &str) -> DiskError {
    let source = io::ErrorKind::AlreadyExists.into();
    error(DiskErrorKind::AlreadyExists, operation, file, None, source)
}

fn invalid(operation: DiskOperation, file: &str, offset: u64, why: String) -> DiskError {
    let source = io::Error::new(io::ErrorKind::InvalidInput, why);
    error(DiskErrorKind::Failed, operation, file, Some(offset), source)
}

fn no_space(operation: DiskOperation, file: &str, offset: Option<u64>) -> DiskError {
    injected(DiskErrorKind::NoSpace, operation, file, offset)
}

#[cfg(test)]
mod tests;
