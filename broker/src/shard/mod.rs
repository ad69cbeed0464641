//! One shard as its sessions and handlers see it.
//!
//! Lives on one executor and never leaves it; a clone is a pointer.

pub mod fetch;

use crate::limits::Limits;
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use std::marker::PhantomData;
use std::rc::Rc;

/// What a shard is called, fixed for its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardIdentity {
    pub cluster: String,
    /// Node name.
    pub node: String,
    /// Number within the node.
    pub index: u32,
    /// `sNN-node`.
    pub name: String,
}

/// A cheap handle.
pub struct Shard<D: Disk, R: Runtime> {
    inner: Rc<Inner<D, R>>,
}

struct Inner<D: Disk, R: Runtime> {
    identity: ShardIdentity,
    runtime: R,
    limits: Limits,
    disk: PhantomData<D>,
}

impl<D: Disk, R: Runtime> Clone for Shard<D, R> {
    fn clone(&self) -> Self {
        Self {
            inner: Rc::clone(&self.inner),
        }
    }
}

impl ShardIdentity {
    pub fn new(cluster: &str, node: &str, index: u32) -> Self {
        Self {
            cluster: cluster.to_owned(),
            node: node.to_owned(),
            index,
            name: format!("s{index:02}-{node}"),
        }
    }
}

impl<D: Disk, R: Runtime> Shard<D, R> {
    pub fn new(identity: ShardIdentity, runtime: R, limits: Limits) -> Self {
        Self {
            inner: Rc::new(Inner {
                identity,
                runtime,
                limits,
                disk: PhantomData,
            }),
        }
    }

    pub fn identity(&self) -> &ShardIdentity {
        &self.inner.identity
    }

    /// `sNN-node`.
    pub fn name(&self) -> &str {
        &self.inner.identity.name
    }

    pub fn runtime(&self) -> &R {
        &self.inner.runtime
    }

    pub fn limits(&self) -> &Limits {
        &self.inner.limits
    }
}
