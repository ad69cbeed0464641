//! Brokers of Apache RocketMQ that registered here, and their topics. Pure: the time is an argument.
//!
//! Brokers of one name share its topics; number 0 of them says what the topics are. A broker is known until it
//! unregisters, is silent for too long, or its connection closes; with the last broker of a name its topics go.
//! A registration adds to the topics of its name: a broker also registers single topics when they change.

mod broker;

pub use broker::{Broker, BrokerName, Registration};

use crate::liveness::Liveness;
use crate::watch::ConnectionId;
use ringmq_wire::remoting::body::topics::{DataVersion, TopicConfig, perm};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// How long a broker may be silent that does not say.
pub const HEARTBEAT_TIMEOUT_MS_DEFAULT: u64 = 120_000;
/// What a broker may say.
const HEARTBEAT_TIMEOUT_MS: RangeInclusive<u64> = 1_000..=3_600_000;
/// The broker that takes messages.
pub const MASTER_ID: i64 = 0;

/// How much may be registered.
#[derive(Debug, Clone, Copy)]
pub struct BrokerLimits {
    pub brokers_max: usize,
    /// Topics, counted once for each name of a broker.
    pub topics_max: usize,
}

/// What a registered broker is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registered {
    /// For a copy: where its master is, and where the master sends its log from.
    pub master: Option<(String, String)>,
}

/// Why a registration was refused. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokerRefusal {
    #[error("{0} brokers are registered, the limit")]
    TooManyBrokers(usize),
    #[error("topics would be over this name server's limit of {0}")]
    TooManyTopics(usize),
    #[error("a newer broker has that name and number")]
    Older,
    #[error("register broker failed: a single topic of a broker that is not registered")]
    SingleTopic,
}

/// See the module.
#[derive(Debug)]
pub struct BrokerTable {
    limits: BrokerLimits,
    names: BTreeMap<Arc<str>, BrokerName>,
    liveness: Liveness,
    topics: usize,
    brokers: usize,
}

impl BrokerTable {
    pub fn new(limits: BrokerLimits) -> Self {
        Self {
            limits,
            names: BTreeMap::new(),
            liveness: Liveness::default(),
            topics: 0,
            brokers: 0,
        }
    }

    /// Takes a registration, new or repeated.
    pub fn register(
        &mut self,
        registration: Registration,
        now_ms: u64,
    ) -> Result<Registered, BrokerRefusal> {
        let known = self.find(&registration.name, registration.id);
        if known.is_none() {
            if self.brokers >= self.limits.brokers_max {
                return Err(BrokerRefusal::TooManyBrokers(self.brokers));
            }
            if registration.topics.len() == 1 {
                return Err(BrokerRefusal::SingleTopic);
            }
        }
        if let Some(known) = known
            && known.address != registration.address
            && known.version.state_version > registration.version.state_version
        {
            return Err(BrokerRefusal::Older);
        }
        self.check_room(&registration)?;
        let name: Arc<str> = registration.name.as_str().into();
        self.liveness.set(
            &key(&name, registration.id),
            now_ms + timeout_ms(&registration),
        );
        let entry = self.names.entry(name).or_default();
        let before = (entry.brokers.len(), entry.topics.len());
        let answer = entry.register(registration);
        self.brokers = self.brokers - before.0 + entry.brokers.len();
        self.topics = self.topics - before.1 + entry.topics.len();
        Ok(answer)
    }

    fn check_room(&self, registration: &Registration) -> Result<(), BrokerRefusal> {
        let known = self.names.get(registration.name.as_str());
        let is_new = |topic: &&String| known.is_none_or(|name| !name.topics.contains_key(*topic));
        let new = registration.topics.keys().filter(is_new).count();
        if self.topics + new > self.limits.topics_max {
            return Err(BrokerRefusal::TooManyTopics(self.limits.topics_max));
        }
        Ok(())
    }

    /// Takes a sign of life: from the broker of that name and number, if it has that address.
    pub fn heartbeat(&mut self, name: &str, id: i64, address: &str, now_ms: u64) -> bool {
        let Some(entry) = self.names.get_mut(name) else {
            return false;
        };
        let Some(broker) = entry.brokers.get_mut(&id) else {
            return false;
        };
        if broker.address != address {
            return false;
        }
        let deadline_ms = now_ms + broker.timeout_ms;
        self.liveness.set(&key(name, id), deadline_ms);
        true
    }

    /// The number of the broker of that name and address, for heartbeats that do not say it.
    pub fn id_of(&self, name: &str, address: &str) -> Option<i64> {
        let brokers = &self.names.get(name)?.brokers;
        let mut brokers = brokers.iter();
        brokers.find_map(|(id, broker)| (broker.address == address).then_some(*id))
    }

    /// The table version that a broker registered last.
    pub fn version(&self, name: &str, id: i64, address: &str) -> Option<DataVersion> {
        let broker = self.find(name, id)?;
        (broker.address == address).then_some(broker.version)
    }

    /// Forgets a broker. Late requests, and those of another address, change nothing.
    pub fn unregister(&mut self, name: &str, id: i64, address: &str) -> bool {
        let here = self.find(name, id);
        let found = here.is_some_and(|broker| broker.address == address);
        if found {
            self.remove(name, id);
        }
        found
    }

    /// Forgets the brokers that registered over a connection that closed.
    pub fn connection_closed(&mut self, connection: ConnectionId) -> Vec<(Arc<str>, i64)> {
        let brokers = self.names.iter().flat_map(|(name, entry)| {
            let brokers = entry.brokers.iter();
            brokers.map(move |(id, broker)| (name.clone(), *id, broker.connection))
        });
        let gone = brokers.filter(|(_, _, at)| *at == connection);
        let gone: Vec<_> = gone.map(|(name, id, _)| (name, id)).collect();
        for (name, id) in &gone {
            self.remove(name, *id);
        }
        gone
    }

    /// Forgets brokers that were silent for too long.
    pub fn expire(&mut self, now_ms: u64) {
        while let Some(expired) = self.liveness.pop_expired(now_ms) {
            if let Some((id, name)) = expired.split_once('@')
                && let Ok(id) = id.parse()
            {
                tracing::warn!(
                    broker = name,
                    id,
                    "no heartbeat of the broker within its timeout"
                );
                self.remove(name, id);
            }
        }
    }

    /// Gives every broker more time: for a stretch in which this process itself did not run.
    pub fn forgive(&mut self, by_ms: u64) {
        self.liveness.extend_all(by_ms);
    }

    /// Brokers by name.
    pub fn names(&self) -> impl Iterator<Item = (&Arc<str>, &BrokerName)> {
        self.names.iter()
    }

    /// The brokers of a name.
    pub fn name(&self, name: &str) -> Option<&BrokerName> {
        self.names.get(name)
    }

    /// Takes write permission from the brokers of a name, or gives it back; how many topics they have.
    pub fn set_wiped(&mut self, name: &str, wiped: bool) -> Option<usize> {
        let entry = self.names.get_mut(name)?;
        entry.wiped = wiped;
        Some(entry.topics.len())
    }

    /// Forgets a topic, in one cluster or all.
    pub fn delete_topic(&mut self, topic: &str, cluster: Option<&str>) {
        for entry in self.names.values_mut() {
            if cluster.is_none_or(|cluster| entry.cluster == cluster) {
                self.topics -= usize::from(entry.topics.remove(topic).is_some());
            }
        }
    }

    /// Adds a topic to the brokers of a name; nothing, if there are none.
    pub fn put_topic(&mut self, name: &str, topic: TopicConfig) -> Result<(), BrokerRefusal> {
        let Some(entry) = self.names.get_mut(name) else {
            return Ok(());
        };
        let is_new = !entry.topics.contains_key(&topic.name);
        if is_new && self.topics >= self.limits.topics_max {
            return Err(BrokerRefusal::TooManyTopics(self.limits.topics_max));
        }
        entry.topics.insert(topic.name.clone(), topic);
        self.topics += usize::from(is_new);
        Ok(())
    }

    fn find(&self, name: &str, id: i64) -> Option<&Broker> {
        self.names.get(name)?.brokers.get(&id)
    }

    fn remove(&mut self, name: &str, id: i64) {
        self.liveness.forget(&key(name, id));
        let Some(entry) = self.names.get_mut(name) else {
            return;
        };
        self.brokers -= usize::from(entry.brokers.remove(&id).is_some());
        if entry.brokers.is_empty() {
            self.topics -= entry.topics.len();
            self.names.remove(name);
        }
    }
}

/// The permission that producers and consumers are told.
pub fn shown_perm(name: &BrokerName, topic: &TopicConfig) -> i32 {
    if name.wiped {
        topic.perm & !perm::WRITE
    } else {
        topic.perm
    }
}

fn key(name: &str, id: i64) -> Arc<str> {
    format!("{id}@{name}").into()
}

fn timeout_ms(registration: &Registration) -> u64 {
    registration
        .timeout_ms
        .clamp(*HEARTBEAT_TIMEOUT_MS.start(), *HEARTBEAT_TIMEOUT_MS.end())
}

#[cfg(test)]
mod tests;
