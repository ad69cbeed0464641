//! An open file of the simulated disk, and its buffers.

use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use super::fault::{self, FaultEffect};
use super::state::{self, InodeId};
use super::{BLOCK_BYTES, SimDisk, injected, no_space};
use crate::disk::{DiskBuffer, DiskError, DiskFile, DiskOperation, Durability, check_aligned};

/// What a fresh buffer is filled with, so that padding which nobody zeroed shows.
const FRESH: u8 = 0xdb;

/// A buffer of whole blocks.
#[derive(Debug)]
pub struct SimBuf(Vec<u8>);

impl SimBuf {
    pub(super) fn new(len: usize) -> Self {
        assert!(
            len > 0 && len.is_multiple_of(BLOCK_BYTES),
            "a disk buffer of {len} bytes is not a positive multiple of {BLOCK_BYTES}"
        );
        Self(vec![FRESH; len])
    }
}

impl Deref for SimBuf {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for SimBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl DiskBuffer for SimBuf {
    fn truncate(&mut self, len: usize) {
        assert!(len <= self.0.len(), "a buffer can only be shortened");
        self.0.truncate(len);
    }

    fn allocated_bytes(&self) -> usize {
        self.0.capacity()
    }
}

/// An open file.
pub struct SimFile {
    disk: SimDisk,
    name: String,
    inode: InodeId,
}

impl SimFile {
    pub(super) fn new(disk: SimDisk, name: &str, inode: InodeId) -> Self {
        disk.state.borrow_mut().inode_mut(inode).handles += 1;
        Self {
            disk,
            name: name.to_owned(),
            inode,
        }
    }

    fn event(&self, operation: DiskOperation) -> u64 {
        state::event(operation, self.inode)
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        // A task that is dropped inside a call of the disk cannot be; still, never panic in drop.
        if let Ok(mut state) = self.disk.state.try_borrow_mut() {
            state.close(self.inode);
        }
    }
}

impl DiskFile for SimFile {
    type Buf = SimBuf;
    type Read = Rc<[u8]>;

    fn len(&self) -> u64 {
        self.disk.state.borrow().inode(self.inode).live.len
    }

    async fn read_at(&self, offset: u64, len: usize) -> Result<Rc<[u8]>, DiskError> {
        let operation = DiskOperation::Read;
        check_aligned(operation, &self.name, offset, len)?;
        let fault = self
            .disk
            .state
            .borrow_mut()
            .take_fault(operation, &self.name);
        self.disk.latency(fault::delay(&fault)).await;
        if let Some(kind) = fault::failure(&fault) {
            return Err(injected(kind, operation, &self.name, Some(offset)));
        }
        let mut state = self.disk.state.borrow_mut();
        state.read(self.inode, &self.name, offset, len)
    }

    async fn write_at(
        &self,
        buf: Rc<SimBuf>,
        offset: u64,
        durability: Durability,
    ) -> Result<(), DiskError> {
        let operation = DiskOperation::Write;
        check_aligned(operation, &self.name, offset, buf.len())?;
        let event = self.event(operation);
        let submitted = self
            .disk
            .effect(event, |state| {
                let end = offset + buf.len() as u64;
                if !state.has_room(self.inode, end) {
                    return Err(no_space(operation, &self.name, Some(offset)));
                }
                let fault = state.take_fault(operation, &self.name);
                Ok((state.submit_write(self.inode, &buf, offset), fault))
            })
            .await;
        let (seq, fault) = submitted?;
        self.disk.latency(fault::delay(&fault)).await;
        self.disk
            .effect(event + 1, |state| match fault {
                Some(FaultEffect::Fail(kind)) => {
                    state.fail_write(self.inode, seq);
                    Err(injected(kind, operation, &self.name, Some(offset)))
                }
                Some(FaultEffect::Lose) => {
                    state.lose_write(self.inode, seq, None);
                    Ok(())
                }
                Some(FaultEffect::Misdirect(to)) => {
                    state.lose_write(self.inode, seq, Some(to));
                    Ok(())
                }
                Some(FaultEffect::Delay(_)) | None => {
                    state.complete_write(self.inode, seq, durability);
                    Ok(())
                }
            })
            .await
    }

    async fn sync_data(&self) -> Result<(), DiskError> {
        let operation = DiskOperation::Sync;
        let event = self.event(operation);
        let (issued, fault) = self
            .disk
            .effect(event, |state| {
                (state.next_seq(), state.take_fault(operation, &self.name))
            })
            .await;
        self.disk.latency(fault::delay(&fault)).await;
        self.disk
            .effect(event + 1, |state| {
                let failure = fault::failure(&fault);
                state.sync_file(self.inode, issued, failure.is_none());
                match failure {
                    Some(kind) => Err(injected(kind, operation, &self.name, None)),
                    None => Ok(()),
                }
            })
            .await
    }

    async fn allocate(&self, len: u64) -> Result<(), DiskError> {
        let operation = DiskOperation::Allocate;
        let event = self.event(operation);
        let submitted = self
            .disk
            .effect(event, |state| {
                if !state.has_room(self.inode, len) {
                    return Err(no_space(operation, &self.name, None));
                }
                let fault = state.take_fault(operation, &self.name);
                Ok((state.submit_length(self.inode, len), fault))
            })
            .await;
        let (seq, fault) = submitted?;
        self.disk.latency(fault::delay(&fault)).await;
        self.disk
            .effect(event + 1, |state| match fault::failure(&fault) {
                Some(kind) => {
                    state.withdraw(self.inode, seq);
                    Err(injected(kind, operation, &self.name, None))
                }
                None => {
                    state.complete_length(self.inode, seq);
                    Ok(())
                }
            })
            .await
    }

    async fn close(self) -> Result<(), DiskError> {
        let fault = self
            .disk
            .state
            .borrow_mut()
            .take_fault(DiskOperation::Close, &self.name);
        match fault::failure(&fault) {
            Some(kind) => Err(injected(kind, DiskOperation::Close, &self.name, None)),
            None => Ok(()),
        }
    }
}
