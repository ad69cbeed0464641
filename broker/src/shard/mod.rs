//! One shard as its sessions and handlers see it.
//!
//! Lives on one executor and never leaves it; a clone is a pointer. Interior borrows last for one call and never
//! over an await, so whatever runs on the executor may call in at any time.

pub mod callers;
pub mod commits;
pub mod counters;
pub mod fetch;
pub mod held;
pub mod resets;
pub mod routes;
pub mod sections;
mod status;
pub mod traffic;
pub mod trim;

pub use counters::Counters;

use crate::delay::{self, Bell, DelayLevels};
use crate::directory::DirectorySnapshot;
use crate::limits::Limits;
use crate::node::NodeHandle;
use crate::session::acknowledgements::Acknowledgements;
use crate::session::budget::Budget;
use crate::state::leases::Deadlines;
use crate::state::record::GroupOffsets;
use crate::state::{ControlRecord, ShardState};
use callers::Callers;
use commits::PendingCommits;
use fetch::FetchRegistry;
use held::HeldPulls;
use resets::PendingResets;
use ringmq_storage_engine::disk::Disk;
use ringmq_storage_engine::position::{Position, QueueHandle, QueueOffset};
use ringmq_storage_engine::runtime::Runtime;
use ringmq_storage_engine::store::{AppendError, Store};
use ringmq_wire::batch::{BatchError, BatchView};
use sections::{Section, Sections};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use traffic::{Clock, Traffic};

/// What a shard is and what it was told, fixed for its life.
#[derive(Debug, Clone, PartialEq)]
pub struct ShardSettings {
    pub cluster: String,
    /// Node name.
    pub node: String,
    /// Number within the node.
    pub index: usize,
    /// `sNN-node`.
    pub name: String,
    /// The broker's own retention; a topic's may only be shorter. `None`: by space alone.
    pub retention_ms: Option<i64>,
    /// How long messages may be told to wait.
    pub delay_levels: DelayLevels,
    /// Whether a group that RocketMQ clients name, and nobody made, comes into being.
    pub auto_create_groups: bool,
    pub limits: Limits,
}

/// Offsets in one control record of commits.
const COMMITS_OF_RECORD: usize = 4_096;

/// A cheap handle.
pub struct Shard<D: Disk, R: Runtime> {
    inner: Rc<Inner<D, R>>,
}

struct Inner<D: Disk, R: Runtime> {
    settings: ShardSettings,
    store: Store<D, R, ShardState>,
    runtime: R,
    node: NodeHandle,
    fetch: Rc<RefCell<FetchRegistry>>,
    held: Rc<RefCell<HeldPulls>>,
    /// Rung when messages are parked.
    delay_bell: Rc<Bell>,
    leases: RefCell<Deadlines>,
    commits: RefCell<PendingCommits>,
    resets: RefCell<PendingResets>,
    sections: RefCell<Sections>,
    callers: Callers,
    acknowledgements: Acknowledgements<D>,
    /// The node's directory as last looked at, and its generation then.
    directory: RefCell<(u64, Arc<DirectorySnapshot>)>,
    /// Bytes of requests that are read and not answered.
    received: Budget,
    /// Bytes of answers that are not sent, and what they pin.
    unsent: Budget,
    counters: Counters,
    traffic: RefCell<Traffic>,
    writable: Cell<bool>,
    stopping: Cell<bool>,
}

impl<D: Disk, R: Runtime> Clone for Shard<D, R> {
    fn clone(&self) -> Self {
        Self {
            inner: Rc::clone(&self.inner),
        }
    }
}

impl ShardSettings {
    /// Shard `index` of `node`.
    pub fn new(cluster: &str, node: &str, index: usize, limits: Limits) -> Self {
        Self {
            cluster: cluster.to_owned(),
            node: node.to_owned(),
            index,
            name: crate::node::shard_name(index, node),
            retention_ms: None,
            delay_levels: DelayLevels::default(),
            auto_create_groups: true,
            limits,
        }
    }
}

impl<D: Disk, R: Runtime> Shard<D, R> {
    /// `store` is open; from here on its visible messages feed the fetch sessions.
    pub fn new(
        settings: ShardSettings,
        store: Store<D, R, ShardState>,
        runtime: R,
        node: NodeHandle,
    ) -> Self {
        let limits = settings.limits;
        let fetch = Rc::new(RefCell::new(FetchRegistry::new(limits.fetch_slots_max)));
        let delay_bell = Rc::new(Bell::default());
        let held = Rc::new(RefCell::new(HeldPulls::default()));
        let pulls = Rc::clone(&held);
        let (registry, bell) = (Rc::clone(&fetch), Rc::clone(&delay_bell));
        store.on_visible(Rc::new(move |queues: &[QueueHandle]| {
            registry.borrow_mut().wake(queues);
            pulls.borrow_mut().wake(queues);
            bell.gained(queues);
        }));
        if store.with_state(delay::waiting) > 0 {
            // Until the delivery task knows what it needs, all of it.
            store.keep_from(Some(Position(0)));
        }
        let now = runtime.now();
        Self {
            inner: Rc::new(Inner {
                settings,
                store,
                runtime,
                node,
                fetch,
                held,
                delay_bell,
                leases: RefCell::new(Deadlines::new(now)),
                commits: RefCell::default(),
                resets: RefCell::default(),
                sections: RefCell::default(),
                callers: Callers::default(),
                acknowledgements: Acknowledgements::default(),
                directory: RefCell::default(),
                received: Budget::new(limits.shard_bytes_max / 2),
                unsent: Budget::new(limits.shard_bytes_max / 2),
                counters: Counters::default(),
                traffic: RefCell::default(),
                writable: Cell::new(true),
                stopping: Cell::new(false),
            }),
        }
    }

    pub fn settings(&self) -> &ShardSettings {
        &self.inner.settings
    }

    /// `sNN-node`.
    pub fn name(&self) -> &str {
        &self.inner.settings.name
    }

    /// `host:port` that clients are told.
    pub fn address(&self) -> &str {
        &self.node().shards()[self.inner.settings.index].address
    }

    pub fn limits(&self) -> &Limits {
        &self.inner.settings.limits
    }

    pub fn store(&self) -> &Store<D, R, ShardState> {
        &self.inner.store
    }

    pub fn runtime(&self) -> &R {
        &self.inner.runtime
    }

    /// Monotonic time.
    pub fn now(&self) -> Duration {
        self.inner.runtime.now()
    }

    /// The node and, through it, the other shards.
    pub fn node(&self) -> &NodeHandle {
        &self.inner.node
    }

    /// Looks at the state. An answer that exposes it waits until durable passes what was appended by then.
    pub fn with_state<T>(&self, look: impl FnOnce(&ShardState) -> T) -> T {
        self.inner.store.with_state(look)
    }

    /// When leases run out: in memory only, beside the grants in the state.
    pub fn with_leases<T>(&self, use_it: impl FnOnce(&mut Deadlines) -> T) -> T {
        use_it(&mut self.inner.leases.borrow_mut())
    }

    /// Offset commits of RocketMQ clients that wait to be written.
    pub fn with_commits<T>(&self, use_it: impl FnOnce(&mut PendingCommits) -> T) -> T {
        use_it(&mut self.inner.commits.borrow_mut())
    }

    /// Resets that RocketMQ's consumers have yet to hear of.
    pub fn with_resets<T>(&self, use_it: impl FnOnce(&mut PendingResets) -> T) -> T {
        use_it(&mut self.inner.resets.borrow_mut())
    }

    /// The group was moved to these offsets: what its RocketMQ consumers commit counts for nothing until their next
    /// pull of the queue, which is told where to go on. Pulls that wait are told at once.
    pub fn hold_to(&self, group: &str, offsets: impl Iterator<Item = (QueueHandle, QueueOffset)>) {
        let offsets: Vec<_> = offsets.collect();
        for (queue, offset) in &offsets {
            self.with_commits(|commits| commits.forget(group, *queue));
            self.with_resets(|resets| resets.put(group, *queue, *offset));
        }
        let queues: Vec<_> = offsets.into_iter().map(|(queue, _)| queue).collect();
        self.inner.held.borrow_mut().wake(&queues);
    }

    /// The group is gone, and what its consumers were about to commit or to hear with it.
    pub fn forget_group(&self, group: &str) {
        self.with_commits(|commits| commits.forget_group(group));
        self.with_resets(|resets| resets.forget_group(group));
    }

    /// Writes the commits that wait. To be called before somebody else changes or shows committed offsets. What the log
    /// has no room for goes on waiting.
    pub fn flush_commits(&self) {
        let waiting = self.with_commits(PendingCommits::take);
        for (group, mut offsets) in waiting {
            // A queue may have gone since.
            self.with_state(|state| offsets.retain(|(queue, _)| state.queue(*queue).is_some()));
            for offsets in offsets.chunks(COMMITS_OF_RECORD) {
                self.write_commits(&group, offsets);
            }
        }
    }

    fn write_commits(&self, group: &str, offsets: &[(QueueHandle, QueueOffset)]) {
        let record = ControlRecord::OffsetsPut(vec![GroupOffsets {
            group: group.into(),
            offsets: offsets.to_vec(),
        }]);
        match self.inner.store.append_control(&record.encode()) {
            Ok(_) => {}
            Err(AppendError::Busy | AppendError::NoSpace) => self.with_commits(|commits| {
                for (queue, offset) in offsets {
                    // As many as were taken out a moment ago.
                    commits.put(group, *queue, *offset);
                }
            }),
            // A log that is over says so in its health; the consumers go on from what was written.
            Err(error) => {
                tracing::debug!(shard = self.name(), %group, "commits are lost: {error}");
            }
        }
    }

    /// The records of a stored batch, decompressed once if they are compressed.
    pub fn section<'a>(
        &self,
        position: Position,
        batch: &BatchView<'a>,
    ) -> Result<Section<'a>, BatchError> {
        self.inner.sections.borrow_mut().of(position, batch)
    }

    /// The fetch sessions of this shard's connections.
    pub fn with_fetch<T>(&self, use_it: impl FnOnce(&mut FetchRegistry) -> T) -> T {
        use_it(&mut self.inner.fetch.borrow_mut())
    }

    /// Tells the delivery task that there is something to look at.
    pub fn delay_bell(&self) -> &Bell {
        &self.inner.delay_bell
    }

    /// Who is in which group at this node. Touches nothing that other cores write, unless it changed.
    pub fn directory(&self) -> Arc<DirectorySnapshot> {
        // Read first: a change in between is seen the next time.
        let generation = self.inner.node.directory_generation();
        let mut seen = self.inner.directory.borrow_mut();
        if seen.0 != generation {
            *seen = (generation, self.inner.node.directory());
        }
        seen.1.clone()
    }

    /// Connections of RocketMQ clients that registered.
    pub fn callers(&self) -> &Callers {
        &self.inner.callers
    }

    /// Batches that wait for the disk.
    pub fn acknowledgements(&self) -> &Acknowledgements<D> {
        &self.inner.acknowledgements
    }

    /// Pulls of RocketMQ clients that wait for messages.
    pub fn held_pulls(&self) -> &Rc<RefCell<HeldPulls>> {
        &self.inner.held
    }

    /// These queues are gone: their readers are told so. To be called when a topic was removed.
    pub fn queues_removed(&self, queues: &[QueueHandle]) {
        self.with_fetch(|fetch| fetch.wake(queues));
        self.inner.held.borrow_mut().wake(queues);
    }

    /// End of what consumers may read of a queue; 0 for one that is gone, which reading it will tell.
    pub fn visible_offset(&self, queue: QueueHandle) -> QueueOffset {
        let visible = self.inner.store.visible_offset(queue);
        visible.unwrap_or(QueueOffset(0))
    }

    /// Bytes of requests that are read and not answered.
    pub fn received_budget(&self) -> &Budget {
        &self.inner.received
    }

    /// Bytes of answers that are not sent.
    pub fn unsent_budget(&self) -> &Budget {
        &self.inner.unsent
    }

    pub fn counters(&self) -> &Counters {
        &self.inner.counters
    }

    /// What goes through the shard, counted over times; with the time to count by.
    pub fn with_traffic<T>(&self, use_it: impl FnOnce(&mut Traffic, Clock) -> T) -> T {
        let clock = Clock {
            monotonic: self.now(),
            wall_ms: self.inner.store.store_time_ms(),
        };
        use_it(&mut self.inner.traffic.borrow_mut(), clock)
    }

    /// Messages were appended to a queue.
    pub fn count_stored(&self, queue: QueueHandle, messages: u64, bytes: u64) {
        self.counters().produced(messages, bytes);
        let topic = self.with_state(|state| Some(Rc::clone(&state.queue(queue)?.topic)));
        let topic = topic.as_deref().unwrap_or_default();
        self.with_traffic(|traffic, clock| traffic.stored(clock, topic, messages, bytes));
    }

    /// Messages of one read are on their way to a consumer; none: there were none.
    pub fn count_read(&self, messages: u64, bytes: u64) {
        self.counters().fetched(messages, bytes);
        self.with_traffic(|traffic, clock| traffic.read(clock, messages));
    }

    /// Whether a group that RocketMQ clients name, and nobody made, comes into being.
    pub fn makes_groups(&self) -> bool {
        let setting = self.inner.settings.auto_create_groups;
        self.node().automatic().groups.or(setting)
    }

    /// Whether new messages are taken; reads go on without.
    pub fn is_writable(&self) -> bool {
        self.inner.writable.get()
    }

    pub fn set_writable(&self, writable: bool) {
        self.inner.writable.set(writable);
    }

    /// Whether new requests are refused because the shard ends.
    pub fn is_stopping(&self) -> bool {
        self.inner.stopping.get()
    }

    pub fn set_stopping(&self) {
        self.inner.stopping.set(true);
        self.inner.delay_bell.ring();
    }
}
