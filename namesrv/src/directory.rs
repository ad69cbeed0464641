//! The route table and the watches behind one lock, and the signals that wake connections.
//!
//! The lock is held for one decision at a time, never across an await.

use crate::answers;
use crate::broker_table::{BrokerLimits, BrokerTable};
use crate::config::Config;
use crate::route_table::{Changed, Refusal, RouteLimits, RouteTable};
use crate::watch::{ConnectionId, WatchError, WatchLimits, Watches};
use ringmq_wire::native::schema::RouteWatchRequestT;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::Notify;

/// Topics in one push: with [`crate::route_table::PLACEMENT_MAX`] shards each they still fit a frame's header.
const PUSH_TOPICS_MAX: usize = 64;
/// Topics waiting to be told, over all watchers, as a multiple of the topics there may be.
const PENDING_TABLES_MAX: usize = 16;

/// Tells a connection that its watch has something to send, or that it was too slow.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    notify: Notify,
    closed: AtomicBool,
}

impl Signal {
    pub(crate) async fn raised(&self) {
        self.notify.notified().await;
    }
    pub(crate) fn raise(&self) {
        self.notify.notify_one();
    }
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

#[derive(Debug)]
struct State {
    table: RouteTable,
    brokers: BrokerTable,
    watches: Watches,
    signals: BTreeMap<ConnectionId, Arc<Signal>>,
    checked_ms: u64,
}

#[derive(Debug)]
pub(crate) struct Directory {
    state: Mutex<State>,
    started: Instant,
    settle_ms: u64,
    expected_shards: usize,
}

impl Directory {
    pub(crate) fn new(config: &Config) -> Self {
        let limits = RouteLimits {
            shards_max: config.shards_max,
            topics_max: config.topics_max,
            absent_retention_ms: config.absent_retention_ms,
        };
        let watch_limits = WatchLimits {
            topics_per_watch_max: config.topics_max,
            pending_max: config.topics_max.saturating_mul(PENDING_TABLES_MAX),
        };
        let state = State {
            table: RouteTable::new(limits),
            brokers: BrokerTable::new(BrokerLimits {
                brokers_max: config.shards_max,
                topics_max: config.topics_max,
            }),
            watches: Watches::new(watch_limits),
            signals: BTreeMap::new(),
            checked_ms: 0,
        };
        Self {
            state: Mutex::new(state),
            started: Instant::now(),
            settle_ms: config.settle_ms,
            expected_shards: config.expected_shards,
        }
    }

    /// Performs a change of the table and wakes whom it concerns.
    pub(crate) fn change(
        &self,
        decide: impl FnOnce(&mut RouteTable, u64) -> Result<Changed, Refusal>,
    ) -> Result<(), Refusal> {
        let mut state = self.lock();
        let changed = decide(&mut state.table, self.now_ms())?;
        state.announce(&changed);
        Ok(())
    }

    /// Looks for silent shards. `period_ms` is how often this is called: time far beyond it was lost by this process
    /// (stopped, suspended), not by the shards, whose heartbeats may still lie unread in the sockets.
    pub(crate) fn expire(&self, period_ms: u64) {
        let now_ms = self.now_ms();
        let mut state = self.lock();
        let lost_ms = (now_ms - state.checked_ms).saturating_sub(4 * period_ms);
        if lost_ms > 0 {
            tracing::warn!(
                lost_ms,
                "this process did not run: shards get that much longer to be heard"
            );
            state.table.forgive(lost_ms);
            state.brokers.forgive(lost_ms);
        }
        state.checked_ms = now_ms;
        state.brokers.expire(now_ms);
        let changed = state.table.expire(now_ms);
        state.announce(&changed);
    }

    /// Whether shards that should be known may not have come back yet.
    pub(crate) fn is_settling(&self) -> bool {
        let all_here = |shards: usize| self.expected_shards > 0 && shards >= self.expected_shards;
        self.now_ms() < self.settle_ms && !all_here(self.read(|table| table.live_shards().count()))
    }

    pub(crate) fn read<T>(&self, look: impl FnOnce(&RouteTable) -> T) -> T {
        look(&self.lock().table)
    }

    /// Looks at shards and RocketMQ brokers at one moment.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&RouteTable, &BrokerTable) -> T) -> T {
        let state = self.lock();
        look(&state.table, &state.brokers)
    }

    /// Performs a change of the RocketMQ brokers, at the time given.
    pub(crate) fn change_brokers<T>(
        &self,
        decide: impl FnOnce(&RouteTable, &mut BrokerTable, u64) -> T,
    ) -> T {
        let mut state = self.lock();
        let State { table, brokers, .. } = &mut *state;
        decide(table, brokers, self.now_ms())
    }

    /// Takes write permission from a shard, or a name of RocketMQ brokers, or gives it back; how many topics it has.
    pub(crate) fn set_wiped(&self, name: &str, wiped: bool) -> Option<usize> {
        let mut state = self.lock();
        if let Some(changed) = state.table.set_wiped(name, wiped) {
            state.announce(&changed);
            return Some(state.table.topics_of(name).count());
        }
        state.brokers.set_wiped(name, wiped)
    }

    /// Sets the watch of a connection; its signal is raised at once for the first push.
    pub(crate) fn watch(
        &self,
        connection: ConnectionId,
        signal: &Arc<Signal>,
        correlation_id: u64,
        request: &RouteWatchRequestT,
    ) -> Result<(), WatchError> {
        let mut state = self.lock();
        let State {
            table,
            watches,
            signals,
            ..
        } = &mut *state;
        let topics = request.topics.as_deref().unwrap_or_default();
        let patterns = request.patterns.as_deref().unwrap_or_default();
        watches.set(
            connection,
            correlation_id,
            topics,
            patterns,
            table.topic_names(),
        )?;
        signals.insert(connection, signal.clone());
        signal.raise();
        Ok(())
    }

    /// Forgets what came by a connection: its watch, and RocketMQ brokers.
    pub(crate) fn connection_closed(&self, connection: ConnectionId) {
        let mut state = self.lock();
        for (broker, id) in state.brokers.connection_closed(connection) {
            tracing::warn!(%broker, id, "the connection of the broker closed: taken out of the routes");
        }
        state.watches.remove(connection);
        state.signals.remove(&connection);
    }

    /// The next frame for a watcher, and whether more wait.
    pub(crate) fn next_push(&self, connection: ConnectionId) -> Option<(Vec<u8>, bool)> {
        let mut state = self.lock();
        let push = state.watches.take(connection, PUSH_TOPICS_MAX)?;
        let frame = answers::watch_push(&state.table, push.correlation_id, &push.topics);
        Some((frame, push.more))
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is complete before anything in it could panic half-way; going on beats stopping.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn announce(&mut self, changed: &Changed) {
        let noticed = self.watches.notice(changed);
        for connection in &noticed.wake {
            if let Some(signal) = self.signals.get(connection) {
                signal.raise();
            }
        }
        for connection in &noticed.close {
            if let Some(signal) = self.signals.remove(connection) {
                signal.closed.store(true, Ordering::Release);
                signal.raise();
            }
        }
    }
}
