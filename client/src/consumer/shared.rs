//! What the handles and tasks of one consumer share.

use super::{
    Queue,
    inbox::Inbox,
    queue::QueueState,
    settings::{Mode, Settings},
};
use crate::core::Core;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};
use tokio::sync::{Notify, watch};

/// One consumer.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) core: Arc<Core>,
    pub(super) settings: Settings,
    pub(super) inbox: Arc<Inbox>,
    assigned: Mutex<BTreeMap<Queue, Arc<QueueState>>>,
    /// Raised whenever fetchers should look at the assigned queues again.
    changes: watch::Sender<u64>,
    shards: AtomicUsize,
    closing: AtomicBool,
    /// Topics whose routes a shard called wrong.
    doubtful_routes: Mutex<BTreeSet<Arc<str>>>,
    /// The coordinator should look at once.
    pub(super) look_now: Notify,
}

impl Shared {
    pub(super) fn new(core: Arc<Core>, settings: Settings) -> Arc<Self> {
        Arc::new(Self {
            inbox: Arc::new(Inbox::new(settings.prefetch_bytes)),
            core,
            settings,
            assigned: Mutex::default(),
            changes: watch::Sender::new(0),
            shards: AtomicUsize::new(1),
            closing: AtomicBool::new(false),
            doubtful_routes: Mutex::default(),
            look_now: Notify::new(),
        })
    }

    /// The group's name, if there is one.
    pub(super) fn group(&self) -> Option<&str> {
        match &self.settings.mode {
            Mode::Alone => None,
            Mode::Group(group) | Mode::Broadcast { group, .. } => Some(group),
        }
    }

    pub(super) fn assigned(&self) -> MutexGuard<'_, BTreeMap<Queue, Arc<QueueState>>> {
        self.assigned.lock().expect("no holder panics")
    }

    pub(super) fn assigned_count(&self) -> usize {
        self.assigned().len()
    }

    pub(super) fn assigned_to(&self, shard: &str) -> Vec<Arc<QueueState>> {
        self.assigned()
            .values()
            .filter(|state| &*state.shard == shard)
            .cloned()
            .collect()
    }

    pub(super) fn assigned_changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub(super) fn announce(&self) {
        self.changes.send_modify(|version| *version += 1);
    }

    pub(super) fn shard_count(&self) -> usize {
        self.shards.load(Ordering::Relaxed)
    }

    pub(super) fn set_shard_count(&self, shards: usize) {
        self.shards.store(shards.max(1), Ordering::Relaxed);
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    pub(super) fn start_closing(&self) {
        self.closing.store(true, Ordering::Relaxed);
        self.look_now.notify_one();
        self.announce();
    }

    pub(super) fn ask_for_route(&self, topic: &Arc<str>) {
        self.doubtful_routes
            .lock()
            .expect("no holder panics")
            .insert(Arc::clone(topic));
        self.look_now.notify_one();
    }

    pub(super) fn take_doubtful_routes(&self) -> BTreeSet<Arc<str>> {
        std::mem::take(&mut *self.doubtful_routes.lock().expect("no holder panics"))
    }
}
