//! What a shard tells of itself.

use super::Shard;
use crate::delay;
use crate::handler::automatic;
use crate::metrics::{DelayMetrics, SessionMetrics, ShardMetrics};
use crate::state::{ShardState, Topic};
use ringmq_storage_engine::disk::Disk;
use ringmq_storage_engine::runtime::Runtime;
use ringmq_wire::native::schema::ShardStatusResponseT;

impl<D: Disk, R: Runtime> Shard<D, R> {
    /// A copy of every number.
    pub fn metrics(&self) -> ShardMetrics {
        let counters = self.counters();
        let in_flight = self.received_budget().used() + self.unsent_budget().used();
        let sessions = SessionMetrics {
            requests: counters.requests(),
            remoting: counters.remoting_requests(),
            refusals: counters.refusals(),
            produced_messages: counters.produced_messages.get(),
            produced_bytes: counters.produced_bytes.get(),
            fetched_messages: counters.fetched_messages.get(),
            fetched_bytes: counters.fetched_bytes.get(),
            connections: counters.connections.get() as u64,
            connections_accepted: counters.connections_total.get(),
            connections_refused: counters.connections_refused.get(),
            in_flight_bytes: in_flight as u64,
        };
        let delayed = DelayMetrics {
            parked: counters.delayed_parked.get(),
            delivered: counters.delayed_delivered.get(),
            gone: counters.delayed_gone.get(),
            lost: counters.delayed_lost.get(),
            waiting: self.with_state(delay::waiting),
        };
        let (topics, queues) = self.topics_and_queues();
        ShardMetrics {
            store: self.store().metrics(),
            frontiers: self.store().frontiers(),
            health: self.store().health(),
            sessions,
            delayed,
            topics,
            queues,
        }
    }

    /// For people and tools.
    pub fn status(&self) -> ShardStatusResponseT {
        let store = self.store().metrics();
        let frontiers = self.store().frontiers();
        let (topics, queues) = self.topics_and_queues();
        ShardStatusResponseT {
            shard: Some(self.name().to_owned()),
            software: Some(crate::SOFTWARE.to_owned()),
            uptime_ms: self.node().uptime_ms(),
            health: Some(self.condition()),
            appended: frontiers.appended.0,
            durable: frontiers.durable.0,
            visible: frontiers.visible.0,
            log_start: frontiers.appended.0.saturating_sub(store.log_bytes),
            disk_used_bytes: store.log_bytes,
            disk_free_bytes: store.disk_free_bytes,
            connections: self.counters().connections.get() as u32,
            topics: topics as u32,
            queues: queues as u32,
        }
    }

    /// "ok", or what is wrong in plain words.
    pub fn condition(&self) -> String {
        let health = self.store().health();
        let mut wrong = Vec::new();
        if !health.is_writable() {
            wrong.push(
                health
                    .reason
                    .unwrap_or_else(|| format!("{:?}", health.mode)),
            );
        }
        wrong.extend(health.warnings);
        let panics = self.counters().panics.get();
        if panics > 0 {
            wrong.push(format!("{panics} requests panicked: see the log"));
        }
        if wrong.is_empty() {
            "ok".to_owned()
        } else {
            wrong.join("; ")
        }
    }

    /// Topics and queues, but for the broker's own.
    fn topics_and_queues(&self) -> (u64, u64) {
        self.with_state(|state| {
            let hidden = self.own_topics(state);
            let hidden_queues: usize = hidden.iter().map(|topic| topic.handles.len()).sum();
            let topics = state.topic_count() - hidden.len();
            (topics as u64, (state.queue_count() - hidden_queues) as u64)
        })
    }

    /// The broker's own topics here, which nobody made and nobody counts.
    fn own_topics<'a>(&self, state: &'a ShardState) -> Vec<&'a Topic> {
        let names = automatic::system_topics(self).into_iter();
        let found = names.filter_map(|topic| state.topic(&topic.name));
        found.filter(|topic| topic.settings.system).collect()
    }
}
