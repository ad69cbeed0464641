//! What is registered: shards, and the topics that they share. Pure: the time is an argument.
//!
//! Invariants
//! - A shard is *live* from a registration until it unregisters or its heartbeat timeout passes; then it is *absent*
//!   and its topics are known for a while longer, without it among those that serve them.
//! - While a shard is live, only the data directory that registered it may change it.
//! - A share is known exactly as the shard registered it; which of several contradicting shares is the topic is
//!   decided when asked ([`RouteTable::route`]), the same on every name server that holds the same shares.
//! - [`RouteTable::version`] rises with every change that a client could see.

mod checks;
mod shard;
mod shares;

pub use checks::PLACEMENT_MAX;
pub use shard::{HEARTBEAT_TIMEOUT_MS_DEFAULT, Shard, ShardIdentity};
pub use shares::{ShareRights, share_rights};

use crate::liveness::Liveness;
use checks::{check_base, check_not_older, check_owner, check_registration};
use ringmq_wire::codes::ErrorCode;
use ringmq_wire::native::schema::{ShardRegisterRequestT, TopicRecordT};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How much may be registered.
#[derive(Debug, Clone, Copy)]
pub struct RouteLimits {
    pub shards_max: usize,
    pub topics_max: usize,
    /// See [`crate::Config::absent_retention_ms`].
    pub absent_retention_ms: u64,
}

/// A topic as clients should see it.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    pub record: Arc<TopicRecordT>,
    /// Live shards that registered a share of this incarnation, by name.
    pub shards: Vec<Arc<str>>,
}

/// Topics whose route, or one of whose shards, changed.
pub type Changed = BTreeSet<Arc<str>>;

/// Why a request was refused. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    pub code: ErrorCode,
    pub message: String,
}

impl Refusal {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

#[derive(Debug)]
struct Entry {
    shard: Shard,
    shares: BTreeMap<Arc<str>, Arc<TopicRecordT>>,
}

/// See the module.
#[derive(Debug)]
pub struct RouteTable {
    limits: RouteLimits,
    shards: BTreeMap<Arc<str>, Entry>,
    /// Topic → shards, live and absent, that have a share. Kept in step with the shares of `shards`.
    topics: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    /// Deadlines of live shards to be heard, and of absent ones to be forgotten.
    liveness: Liveness,
    version: u64,
}

impl RouteTable {
    pub fn new(limits: RouteLimits) -> Self {
        Self {
            limits,
            shards: BTreeMap::new(),
            topics: BTreeMap::new(),
            liveness: Liveness::default(),
            version: 0,
        }
    }

    /// Raised by every change that a client could see.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Registers a shard: with its whole table (base version 0), or with what changed since `base_version`.
    pub fn register(
        &mut self,
        request: ShardRegisterRequestT,
        now_ms: u64,
    ) -> Result<Changed, Refusal> {
        check_registration(&request)?;
        let identity = ShardIdentity {
            shard: &request.shard,
            directory: directory(request.directory_high, request.directory_low),
            epoch: request.epoch,
        };
        let known = self.shards.get(identity.shard).map(|entry| &entry.shard);
        if let Some(shard) = known {
            check_owner(shard, &identity)?;
            if request.base_version == 0 && shard.is_same_start(&identity) && shard.live {
                check_not_older(shard, request.version)?;
            }
        } else if self.shards.len() >= self.limits.shards_max {
            return Err(Refusal::new(
                ErrorCode::Busy,
                format!("{} shards are registered, the limit", self.shards.len()),
            ));
        }
        if request.base_version != 0 {
            check_base(known, &identity, request.base_version)?;
        }
        let (put, removed) = self.share_changes(&request);
        self.check_room(&put)?;
        Ok(self.apply_registration(&request, put, removed, now_ms))
    }

    /// Keeps a shard live. [`ErrorCode::StaleRegistration`] asks for a whole registration.
    pub fn heartbeat(
        &mut self,
        identity: &ShardIdentity<'_>,
        version: u64,
        now_ms: u64,
    ) -> Result<(), Refusal> {
        let entry = self.shards.get_mut(identity.shard);
        let shard = entry.map(|entry| &mut entry.shard);
        check_base(shard.as_deref(), identity, version)?;
        if let Some(shard) = shard {
            shard.last_heartbeat_ms = now_ms;
            self.liveness
                .set(&shard.name, now_ms + u64::from(shard.heartbeat_timeout_ms));
        }
        Ok(())
    }

    /// Makes a shard absent at once. Repeated and late requests change nothing.
    pub fn unregister(
        &mut self,
        identity: &ShardIdentity<'_>,
        now_ms: u64,
    ) -> Result<Changed, Refusal> {
        let Some(Entry { shard, .. }) = self.shards.get(identity.shard) else {
            return Ok(Changed::new());
        };
        check_owner(shard, identity)?;
        let name = shard.name.clone();
        if !shard.live {
            return Ok(Changed::new());
        }
        Ok(self.make_absent(&name, now_ms))
    }

    /// Makes shards absent that were silent for too long, and forgets those that are absent for too long.
    pub fn expire(&mut self, now_ms: u64) -> Changed {
        let mut changed = Changed::new();
        while let Some(name) = self.liveness.pop_expired(now_ms) {
            let live = self.shards.get(&name).is_some_and(|entry| entry.shard.live);
            changed.append(&mut if live {
                tracing::warn!(shard = %name, "no heartbeat within the shard's timeout: taken out of the routes");
                self.make_absent(&name, now_ms)
            } else {
                self.forget(&name)
            });
        }
        changed
    }

    /// When [`Self::expire`] has something to do.
    pub fn next_deadline_ms(&self) -> Option<u64> {
        self.liveness.next_deadline_ms()
    }

    /// Gives every shard more time: for a stretch in which this process itself did not run.
    pub fn forgive(&mut self, by_ms: u64) {
        self.liveness.extend_all(by_ms);
    }

    /// Live shards, by name.
    pub fn live_shards(&self) -> impl Iterator<Item = &Shard> {
        self.shards
            .values()
            .map(|entry| &entry.shard)
            .filter(|shard| shard.live)
    }

    /// A live shard.
    pub fn live_shard(&self, name: &str) -> Option<&Shard> {
        let shard = &self.shards.get(name)?.shard;
        shard.live.then_some(shard)
    }

    /// Names of all topics, sorted.
    pub fn topic_names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.topics.keys()
    }

    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// The topic as clients should see it. Where shares contradict each other: those of live shards win, then the
    /// incarnation that queue 0's home registered, then the higher version, then the higher incarnation.
    pub fn route(&self, topic: &str) -> Option<Route> {
        let holders = self.topics.get(topic)?;
        let shares = || {
            holders.iter().filter_map(|name| {
                let entry = self.shards.get(name)?;
                Some((&entry.shard, entry.shares.get(topic)?))
            })
        };
        let (_, record) = shares().max_by_key(|(shard, record)| {
            let at_home = self.home_agrees(record, shard.live);
            (shard.live, at_home, record.version, incarnation(record))
        })?;
        let chosen = incarnation(record);
        let shards = shares()
            .filter(|(shard, share)| shard.live && incarnation(share) == chosen)
            .map(|(shard, _)| shard.name.clone())
            .collect();
        // The newest record of the chosen incarnation, whoever has it: after an update some shards lag behind.
        let record = shares()
            .filter(|(_, share)| incarnation(share) == chosen)
            .max_by_key(|(shard, share)| (share.version, shard.live))
            .map_or_else(|| record.clone(), |(_, share)| share.clone());
        Some(Route { record, shards })
    }

    /// Whether queue 0's home registered the same incarnation, and is as live as asked for.
    fn home_agrees(&self, record: &TopicRecordT, live: bool) -> bool {
        let home = record.placement.iter().flatten().next();
        let entry = home.and_then(|home| self.shards.get(home.as_str()));
        entry.is_some_and(|entry| {
            let share = entry.shares.get(record.name.as_str());
            entry.shard.live == live
                && share.is_some_and(|share| incarnation(share) == incarnation(record))
        })
    }

    fn share_changes(&self, request: &ShardRegisterRequestT) -> (Vec<TopicRecordT>, Vec<Arc<str>>) {
        let put: Vec<TopicRecordT> = request
            .shares
            .iter()
            .flatten()
            .map(|share| (*share.topic).clone())
            .collect();
        let known = self.shards.get(request.shard.as_str());
        let removed = if request.base_version == 0 {
            let kept: BTreeSet<&str> = put.iter().map(|record| record.name.as_str()).collect();
            known
                .into_iter()
                .flat_map(|entry| entry.shares.keys())
                .filter(|topic| !kept.contains(topic.as_ref()))
                .cloned()
                .collect()
        } else {
            request
                .removed
                .iter()
                .flatten()
                .filter_map(|topic| Some(self.topics.get_key_value(topic.as_str())?.0.clone()))
                .collect()
        };
        (put, removed)
    }

    fn check_room(&self, put: &[TopicRecordT]) -> Result<(), Refusal> {
        let new: BTreeSet<&str> = put
            .iter()
            .map(|record| record.name.as_str())
            .filter(|topic| !self.topics.contains_key(*topic))
            .collect();
        if self.topics.len() + new.len() > self.limits.topics_max {
            return Err(Refusal::new(
                ErrorCode::Busy,
                format!(
                    "{} topics are registered and {} more would be over this name server's limit of {}",
                    self.topics.len(),
                    new.len(),
                    self.limits.topics_max
                ),
            ));
        }
        Ok(())
    }

    fn apply_registration(
        &mut self,
        request: &ShardRegisterRequestT,
        put: Vec<TopicRecordT>,
        removed: Vec<Arc<str>>,
        now_ms: u64,
    ) -> Changed {
        let mut changed = Changed::new();
        let name: Arc<str> = match self.shards.get_key_value(request.shard.as_str()) {
            Some((name, _)) => name.clone(),
            None => request.shard.as_str().into(),
        };
        let mut shard = Shard::registered(&name, request, now_ms);
        shard.wiped = self
            .shards
            .get(&name)
            .is_some_and(|entry| entry.shard.wiped);
        self.liveness
            .set(&name, now_ms + u64::from(shard.heartbeat_timeout_ms));
        let shard_is_new = match self.shards.get_mut(&name) {
            Some(entry) => {
                let differs = !entry.shard.looks_like(&shard);
                entry.shard = shard;
                differs
            }
            None => {
                let shares = BTreeMap::new();
                self.shards.insert(name.clone(), Entry { shard, shares });
                true
            }
        };
        for topic in removed {
            if self.remove_share(&name, &topic) {
                changed.insert(topic);
            }
        }
        for record in put {
            changed.extend(self.put_share(&name, record));
        }
        if shard_is_new && let Some(entry) = self.shards.get(&name) {
            changed.extend(entry.shares.keys().cloned());
        }
        if shard_is_new || !changed.is_empty() {
            self.version += 1;
        }
        changed
    }

    /// The topic's name if the share is new or differs from the one before.
    fn put_share(&mut self, shard: &Arc<str>, record: TopicRecordT) -> Option<Arc<str>> {
        let topic: Arc<str> = match self.topics.get_key_value(record.name.as_str()) {
            Some((topic, _)) => topic.clone(),
            None => record.name.as_str().into(),
        };
        let holders = self.topics.entry(topic.clone()).or_default();
        // Shards of one topic register equal records: keep one copy.
        let twin = holders
            .iter()
            .filter_map(|holder| self.shards.get(holder)?.shares.get(&topic))
            .find(|share| ***share == record)
            .cloned();
        holders.insert(shard.clone());
        let record = twin.unwrap_or_else(|| Arc::new(record));
        let entry = self.shards.get_mut(shard)?;
        let old = entry.shares.insert(topic.clone(), record.clone());
        old.is_none_or(|old| old != record).then_some(topic)
    }

    fn remove_share(&mut self, shard: &str, topic: &str) -> bool {
        let Some(entry) = self.shards.get_mut(shard) else {
            return false;
        };
        if entry.shares.remove(topic).is_none() {
            return false;
        }
        if let Some(holders) = self.topics.get_mut(topic) {
            holders.remove(shard);
            if holders.is_empty() {
                self.topics.remove(topic);
            }
        }
        true
    }

    fn make_absent(&mut self, name: &Arc<str>, now_ms: u64) -> Changed {
        let Some(entry) = self.shards.get_mut(name) else {
            return Changed::new();
        };
        entry.shard.live = false;
        self.version += 1;
        self.liveness
            .set(name, now_ms + self.limits.absent_retention_ms);
        entry.shares.keys().cloned().collect()
    }

    fn forget(&mut self, name: &Arc<str>) -> Changed {
        let Some(entry) = self.shards.get(name) else {
            return Changed::new();
        };
        let topics: Changed = entry.shares.keys().cloned().collect();
        for topic in &topics {
            self.remove_share(name, topic);
        }
        self.shards.remove(name);
        self.version += 1;
        topics
    }
}

/// The incarnation id of a topic record.
pub fn incarnation(record: &TopicRecordT) -> u128 {
    directory(record.incarnation_high, record.incarnation_low)
}

/// One number from the two halves on the wire.
pub fn directory(high: u64, low: u64) -> u128 {
    u128::from(high) << 64 | u128::from(low)
}
