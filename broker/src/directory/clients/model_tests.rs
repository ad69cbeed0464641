//! Random clients against a model that keeps a plain list of memberships and works everything else out anew.

use super::tests::{SETTINGS, client, id, now, subscription};
use super::*;
use crate::state::tests::{Random, with_seeds};

const CLIENTS: [&str; 3] = ["a", "b", "c"];
const GROUPS: [&str; 3] = ["g", "h", "i"];
const TOPICS: [&str; 3] = ["t", "u", "v"];

/// One connection in one group, as a plain row.
#[derive(Debug, Clone)]
struct Row {
    connection: ConnectionId,
    client: &'static str,
    group: &'static str,
    is_producer: bool,
    seen_ms: u64,
}

#[derive(Default)]
struct Model {
    rows: Vec<Row>,
    /// What the last heartbeat of each group said, merged by version.
    subscriptions: BTreeMap<&'static str, BTreeMap<&'static str, i64>>,
    /// When each group's pending notice is due.
    notices: BTreeMap<&'static str, u64>,
}

impl Model {
    fn ids(&self, group: &str) -> BTreeSet<&'static str> {
        let rows = self
            .rows
            .iter()
            .filter(|row| !row.is_producer && row.group == group);
        rows.map(|row| row.client).collect()
    }

    /// Does `change`, then works out which groups are to be told.
    fn change(&mut self, now_ms: u64, change: impl FnOnce(&mut Self)) {
        let seen = |model: &Self, group: &'static str| {
            let topics = model.subscriptions.get(group).cloned().unwrap_or_default();
            (
                model.ids(group),
                topics.into_keys().collect::<BTreeSet<_>>(),
            )
        };
        let before = GROUPS.map(|group| seen(self, group));
        change(self);
        for group in GROUPS {
            if self.ids(group).is_empty() {
                self.subscriptions.remove(group);
                self.notices.remove(group);
            }
        }
        for (group, before) in GROUPS.into_iter().zip(before) {
            let after = seen(self, group);
            if !after.0.is_empty() && after != before {
                self.notices.entry(group).or_insert(now_ms + 50);
            }
        }
    }

    fn beat(&mut self, now_ms: u64, row: Row) {
        let same = |known: &&mut Row| {
            known.connection == row.connection
                && known.group == row.group
                && known.is_producer == row.is_producer
        };
        match self.rows.iter_mut().find(same) {
            Some(known) => known.seen_ms = now_ms,
            None => self.rows.push(row),
        }
    }
}

struct World {
    random: u64,
    now_ms: u64,
    all: Clients,
    model: Model,
}

impl World {
    fn heartbeat(&mut self, random: &mut Random, connection: ConnectionId, name: &'static str) {
        let mut beat = Heartbeat {
            connection,
            client: client(name),
            consumers: Vec::new(),
            producers: Vec::new(),
        };
        let mut said = Vec::new();
        for group in GROUPS {
            if random.percent(50) {
                let topics = TOPICS.iter().filter(|_| random.percent(60));
                let topics: Vec<&'static str> = topics.copied().collect();
                let version = |topic| (topic, random.below(4) as i64);
                let topics: Vec<(&'static str, i64)> = topics.into_iter().map(version).collect();
                let whole = random.percent(80);
                let subscriptions = topics.iter().map(|(t, version)| subscription(t, *version));
                beat.consumers.push(ConsumerBeat {
                    group: group.to_owned(),
                    settings: SETTINGS,
                    subscriptions: whole.then(|| subscriptions.collect()),
                    fingerprint: 0,
                });
                said.push((group, whole.then_some(topics)));
            }
        }
        let producers: Vec<_> = GROUPS
            .iter()
            .filter(|_| random.percent(30))
            .copied()
            .collect();
        beat.producers = producers.iter().map(|&group| group.to_owned()).collect();
        let now_ms = self.now_ms;
        // A connection that speaks for another client now has left as the one that it was: first that, then this.
        self.model.change(now_ms, |model| {
            model
                .rows
                .retain(|row| row.connection != connection || row.client == name);
        });
        self.model.change(now_ms, |model| {
            let row = |group, is_producer| Row {
                connection,
                client: name,
                group,
                is_producer,
                seen_ms: now_ms,
            };
            for (group, topics) in said {
                // The first member of a group starts its subscriptions anew.
                if model.ids(group).is_empty() {
                    model.subscriptions.remove(group);
                }
                model.beat(now_ms, row(group, false));
                let Some(topics) = topics else { continue };
                let known = model.subscriptions.entry(group).or_default();
                known.retain(|topic, _| topics.iter().any(|(wanted, _)| wanted == topic));
                for (topic, version) in topics {
                    let kept = known.entry(topic).or_insert(version);
                    *kept = version.max(*kept);
                }
            }
            for group in producers {
                model.beat(now_ms, row(group, true));
            }
        });
        self.all
            .register(now(now_ms), beat)
            .1
            .expect("within bounds");
    }

    fn step(&mut self, random: &mut Random) {
        let connection = id(random.below(2), random.below(3) as u64);
        let name = CLIENTS[(connection.number as usize + usize::from(random.percent(5))) % 3];
        let group = GROUPS[random.below(3)];
        let now_ms = self.now_ms;
        match random.below(10) {
            0..=4 => self.heartbeat(random, connection, name),
            5 => {
                self.all
                    .unregister(now(now_ms), connection, Some(group), None);
                self.model.change(now_ms, |model| {
                    let leaves = |row: &Row| {
                        row.connection == connection && row.group == group && !row.is_producer
                    };
                    model.rows.retain(|row| !leaves(row));
                });
            }
            6 => {
                self.all.closed(now(now_ms), connection);
                self.model.change(now_ms, |model| {
                    model.rows.retain(|row| row.connection != connection);
                });
            }
            7 => {
                self.all.beat(now(now_ms), connection, &[group.into()], &[]);
                for row in &mut self.model.rows {
                    if row.connection == connection && row.group == group && !row.is_producer {
                        row.seen_ms = now_ms;
                    }
                }
            }
            8 => self.now_ms += random.below(100) as u64,
            _ => self.now_ms += random.below(60_000) as u64,
        }
        self.time_passes();
    }

    fn time_passes(&mut self) {
        let now_ms = self.now_ms;
        let before = self.model.rows.len();
        self.model.change(now_ms, |model| {
            model.rows.retain(|row| row.seen_ms + 120_000 > now_ms);
        });
        let gone = self.all.expire(now(now_ms));
        assert_eq!(gone, before - self.model.rows.len());
        let due: Vec<&str> = GROUPS
            .into_iter()
            .filter(|group| {
                self.model
                    .notices
                    .get(group)
                    .is_some_and(|at| *at <= now_ms)
            })
            .collect();
        self.model.notices.retain(|_, at| *at > now_ms);
        let told = self.all.due_notices(now(now_ms));
        let told: Vec<&str> = told.iter().map(|group| &**group).collect();
        assert_eq!(told, due, "run {:x} at {now_ms}", self.random);
        let next = self.model.notices.values().min().copied();
        assert_eq!(self.all.next_notice_ms(), next);
    }

    fn check(&mut self) {
        let view = self.all.snapshot();
        for group in GROUPS {
            let rows = |is_producer| {
                let rows = self.model.rows.iter();
                let mut rows: Vec<_> = rows
                    .filter(|row| row.group == group && row.is_producer == is_producer)
                    .map(|row| (row.client, row.connection))
                    .collect();
                rows.sort_unstable();
                rows
            };
            let consumers = view.consumers(group);
            let members = consumers.map_or(&[][..], |group| group.members());
            let seen: Vec<_> = members.iter().map(|member| member.order()).collect();
            assert_eq!(seen, rows(false));
            let subscriptions = consumers.map(|group| {
                let versions = group.subscriptions.iter();
                versions.map(|(topic, s)| (&**topic, s.version)).collect()
            });
            let wanted = consumers.map(|_| {
                self.model
                    .subscriptions
                    .get(group)
                    .cloned()
                    .unwrap_or_default()
            });
            assert_eq!(subscriptions, wanted);
            for name in CLIENTS {
                let own = members
                    .iter()
                    .filter(|m| *m.client.client_id == *name)
                    .count();
                assert_eq!(
                    consumers.map_or(0, |group| group.of_client(name).len()),
                    own
                );
            }
            let producers = view.producers(group).map_or(&[][..], |members| members);
            let seen: Vec<_> = producers.iter().map(|member| member.order()).collect();
            assert_eq!(seen, rows(true));
        }
        for name in CLIENTS {
            let rows = self.model.rows.iter().filter(|row| row.client == name);
            let wanted: BTreeSet<_> = rows.map(|row| row.connection).collect();
            let seen: BTreeSet<_> = view.connections(name).iter().copied().collect();
            assert_eq!(seen, wanted);
        }
        assert_eq!(self.all.memberships, self.model.rows.len());
    }
}

#[test]
fn the_directory_agrees_with_a_plain_list() {
    with_seeds(20, |random| {
        let start = random.next();
        let mut world = World {
            random: start,
            now_ms: 0,
            all: Clients::new(ClientLimits::default(), 0, now(0)),
            model: Model::default(),
        };
        for _ in 0..400 {
            world.step(random);
            world.check();
        }
    });
}

/// What `register` and the others answer is what readers rely on: no change of the view without it.
#[test]
fn a_view_changes_only_when_a_change_is_told() {
    with_seeds(20, |random| {
        let mut all = Clients::new(ClientLimits::default(), 0, now(0));
        let mut versions = BTreeMap::new();
        for step in 0..300 {
            let at = now(step * 100);
            let connection = id(random.below(2), random.below(3) as u64);
            let name = CLIENTS[connection.number as usize];
            let before = format!("{:?}", all.snapshot());
            let subscriptions = TOPICS.iter().filter(|_| random.percent(80));
            let subscriptions = subscriptions.map(|topic| subscription(topic, 1)).collect();
            let beat = ConsumerBeat {
                group: GROUPS[random.below(2)].to_owned(),
                settings: SETTINGS,
                subscriptions: Some(subscriptions),
                fingerprint: 0,
            };
            let changed = match random.below(3) {
                0 => all.closed(at, connection),
                1 => all.unregister(at, connection, Some(&beat.group), None),
                _ => {
                    let heartbeat = Heartbeat {
                        connection,
                        client: client(name),
                        consumers: vec![beat],
                        producers: Vec::new(),
                    };
                    all.register(at, heartbeat).0
                }
            };
            let view = all.snapshot();
            assert_eq!(changed, format!("{view:?}") != before);
            for (group, consumers) in view.consumer_groups() {
                let known = versions.insert(group.clone(), consumers.version);
                assert!(known.is_none_or(|known| known <= consumers.version));
            }
        }
    });
}
