//! What is known about topics and shards. Pure: time arrives as an argument.
//!
//! Name servers are hints, brokers are the authority: a topic that a name server does not know (any more) is kept for a
//! grace period, because a name server that just started knows nothing until the brokers have registered again.

use ringmq_wire::native::schema;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

/// How long a route outlives the name server's "no such topic".
pub(crate) const MISSING_GRACE: Duration = Duration::from_secs(10);

/// Where the queues of a topic live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) topic: Arc<str>,
    /// High and low half.
    pub(crate) incarnation: (u64, u64),
    pub(crate) queues: u32,
    /// Queue q lives on `placement[q % len]`; never empty.
    pub(crate) placement: Vec<Arc<str>>,
    /// Shards that serve their share at the moment.
    pub(crate) live: Vec<Arc<str>>,
    pub(crate) message_bytes_max: u32,
    pub(crate) writable: bool,
    pub(crate) version: u64,
}

impl Route {
    /// `None` for records that make no sense.
    fn read(route: &schema::TopicRouteT) -> Option<Self> {
        let record = route.record.as_deref()?;
        let mut read = Self::from_record(record)?;
        let shards = route.shards.as_deref().unwrap_or_default();
        read.live = shards.iter().map(|s| Arc::from(s.as_str())).collect();
        Some(read)
    }

    /// A route from the record itself, all shards taken for live.
    pub(crate) fn from_record(record: &schema::TopicRecordT) -> Option<Self> {
        let placement: Vec<Arc<str>> = record
            .placement
            .as_deref()
            .unwrap_or_default()
            .iter()
            .map(|s| Arc::from(s.as_str()))
            .collect();
        if placement.is_empty() || record.queues == 0 {
            return None;
        }
        let settings = record.settings.as_deref().cloned().unwrap_or_default();
        Some(Self {
            topic: Arc::from(record.name.as_str()),
            incarnation: (record.incarnation_high, record.incarnation_low),
            queues: record.queues,
            live: placement.clone(),
            placement,
            message_bytes_max: settings.message_bytes_max,
            writable: settings.writable,
            version: record.version,
        })
    }

    /// The shard that owns a queue.
    pub(crate) fn shard_of(&self, queue: u32) -> &Arc<str> {
        &self.placement[queue as usize % self.placement.len()]
    }

    /// Whether the shard of `queue` is up, as far as the name server knows.
    pub(crate) fn is_live(&self, queue: u32) -> bool {
        self.live.contains(self.shard_of(queue))
    }

    /// The topic's shards, each once, in the order of the queues.
    pub(crate) fn shards(&self) -> Vec<Arc<str>> {
        let mut shards: Vec<Arc<str>> = Vec::new();
        for shard in self.placement.iter().take(self.queues as usize) {
            if !shards.contains(shard) {
                shards.push(Arc::clone(shard));
            }
        }
        shards
    }

    /// The queues of one shard.
    pub(crate) fn queues_of(&self, shard: &str) -> Vec<u32> {
        (0..self.queues)
            .filter(|queue| &**self.shard_of(*queue) == shard)
            .collect()
    }
}

/// Where a shard listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ShardPlace {
    pub(crate) address: String,
    pub(crate) node: String,
    pub(crate) writable: bool,
}

#[derive(Debug)]
struct Entry {
    route: Arc<Route>,
    missing_since: Option<Instant>,
}

/// The cache.
#[derive(Debug, Default)]
pub(crate) struct RouteTable {
    topics: HashMap<Arc<str>, Entry>,
    shards: BTreeMap<String, ShardPlace>,
}

impl RouteTable {
    /// Takes in what a name server said; tells whether anything changed.
    pub(crate) fn apply(
        &mut self,
        routes: &[schema::TopicRouteT],
        shards: &[schema::ShardAddressT],
        now: Instant,
    ) -> bool {
        let mut changed = false;
        for shard in shards {
            let place = ShardPlace {
                address: shard.address.clone(),
                node: shard.node.clone().unwrap_or_else(|| shard.shard.clone()),
                writable: shard.writable,
            };
            changed |= self.shards.get(&shard.shard) != Some(&place);
            self.shards.insert(shard.shard.clone(), place);
        }
        for route in routes {
            changed |= match Route::read(route).filter(|_| route.error == 0) {
                Some(route) => self.put(route),
                None => self.mark_missing(&route.topic, now),
            };
        }
        changed
    }

    /// Takes in one route; an older version of the same incarnation does not replace a newer one.
    pub(crate) fn put(&mut self, route: Route) -> bool {
        if let Some(entry) = self.topics.get_mut(&route.topic) {
            let known = &entry.route;
            if known.incarnation == route.incarnation && known.version > route.version {
                entry.missing_since = None;
                return false;
            }
            let changed = **known != route || entry.missing_since.is_some();
            *entry = Entry {
                route: Arc::new(route),
                missing_since: None,
            };
            return changed;
        }
        let entry = Entry {
            route: Arc::new(route),
            missing_since: None,
        };
        self.topics.insert(Arc::clone(&entry.route.topic), entry);
        true
    }

    fn mark_missing(&mut self, topic: &str, now: Instant) -> bool {
        match self.topics.get_mut(topic) {
            Some(entry) if entry.missing_since.is_none() => {
                entry.missing_since = Some(now);
                true
            }
            _ => false,
        }
    }

    /// The route of a topic that exists or existed a moment ago.
    pub(crate) fn route(&self, topic: &str, now: Instant) -> Option<Arc<Route>> {
        let entry = self.topics.get(topic)?;
        let gone = entry
            .missing_since
            .is_some_and(|at| now.duration_since(at) >= MISSING_GRACE);
        (!gone).then(|| Arc::clone(&entry.route))
    }

    pub(crate) fn forget(&mut self, topic: &str) {
        self.topics.remove(topic);
    }

    /// Topics whose names satisfy `matches`, sorted.
    pub(crate) fn topics_where(
        &self,
        now: Instant,
        matches: impl Fn(&str) -> bool,
    ) -> Vec<Arc<str>> {
        let all = self.topics.keys().filter(|name| matches(name));
        let mut found: Vec<_> = all
            .filter(|name| self.route(name, now).is_some())
            .cloned()
            .collect();
        found.sort();
        found
    }

    pub(crate) fn shard(&self, shard: &str) -> Option<&ShardPlace> {
        self.shards.get(shard)
    }

    pub(crate) fn has_address(&self, address: &str) -> bool {
        self.shards.values().any(|place| place.address == address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(topic: &str, incarnation: u64, version: u64, queues: u32) -> schema::TopicRouteT {
        schema::TopicRouteT {
            topic: topic.to_owned(),
            error: 0,
            record: Some(Box::new(schema::TopicRecordT {
                name: topic.to_owned(),
                incarnation_low: incarnation,
                queues,
                placement: Some(vec!["s00-a".to_owned(), "s00-b".to_owned()]),
                version,
                ..Default::default()
            })),
            shards: Some(vec!["s00-b".to_owned()]),
        }
    }

    fn missing(topic: &str) -> schema::TopicRouteT {
        schema::TopicRouteT {
            topic: topic.to_owned(),
            error: 30,
            record: None,
            shards: None,
        }
    }

    #[test]
    fn a_route_outlives_a_forgetful_name_server_for_the_grace_period() {
        let mut table = RouteTable::default();
        let start = Instant::now();
        assert!(table.apply(&[told("t", 1, 1, 4)], &[], start));
        assert!(
            !table.apply(&[told("t", 1, 1, 4)], &[], start),
            "nothing new"
        );
        assert!(table.apply(&[missing("t")], &[], start));
        assert!(table.route("t", start + MISSING_GRACE / 2).is_some());
        assert!(table.route("t", start + MISSING_GRACE).is_none());
        assert!(
            table.apply(&[told("t", 1, 1, 4)], &[], start + MISSING_GRACE),
            "back again"
        );
        assert!(table.route("t", start + 2 * MISSING_GRACE).is_some());
    }

    #[test]
    fn older_versions_do_not_replace_newer_ones_but_other_incarnations_do() {
        let mut table = RouteTable::default();
        let now = Instant::now();
        table.apply(&[told("t", 1, 5, 8)], &[], now);
        assert!(!table.apply(&[told("t", 1, 4, 4)], &[], now));
        assert_eq!(table.route("t", now).expect("known").queues, 8);
        assert!(table.apply(&[told("t", 2, 1, 2)], &[], now));
        assert_eq!(table.route("t", now).expect("known").queues, 2);
    }

    #[test]
    fn queues_are_dealt_over_the_placement() {
        let route = Route::read(&told("t", 1, 1, 3)).expect("valid");
        assert_eq!(route.queues_of("s00-a"), [0, 2]);
        assert_eq!(route.queues_of("s00-b"), [1]);
        assert!(!route.is_live(0) && route.is_live(1));
        let one = Route::read(&told("t", 1, 1, 1)).expect("valid");
        assert_eq!(
            one.shards(),
            [Arc::from("s00-a")],
            "shards without a queue are not asked"
        );
    }
}
