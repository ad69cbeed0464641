//! The route table against a naive model, and watchers against the table, over random histories.
//!
//! `RINGMQ_SEED=N` replays one history; without it the seed is drawn and printed.

use ringmq_namesrv::route_table::{
    Changed, Refusal, RouteLimits, RouteTable, ShardIdentity, incarnation,
};
use ringmq_namesrv::watch::{WatchLimits, Watches};
use ringmq_wire::codes::ErrorCode;
use ringmq_wire::native::schema::{ShardRegisterRequestT, TopicRecordT, TopicShareT};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const ABSENT_RETENTION_MS: u64 = 50;
const SHARDS: [&str; 4] = ["s00-a", "s01-a", "s00-b", "s01-b"];
const TOPICS: [&str; 5] = ["orders", "audit", "a", "ab", "b"];

struct Draw(u64);

impl Draw {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len() as u64) as usize]
    }
}

/// One shard as the model holds it.
#[derive(Clone)]
struct ModelShard {
    request: ShardRegisterRequestT,
    shares: BTreeMap<String, TopicRecordT>,
    live: bool,
    deadline_ms: u64,
}

#[derive(Default)]
struct Model {
    shards: BTreeMap<String, ModelShard>,
}

type View = (u128, u64, Vec<(String, String, bool)>);

impl Model {
    fn register(&mut self, request: &ShardRegisterRequestT, now_ms: u64) -> Result<(), ErrorCode> {
        let known = self.shards.get(&request.shard);
        if let Some(shard) = known {
            self.check_owner(shard, request.directory_low, request.epoch)?;
        }
        let mut shares = BTreeMap::new();
        if request.base_version != 0 {
            self.check_held(
                &request.shard,
                request.directory_low,
                request.epoch,
                request.base_version,
            )?;
            shares = known.map(|shard| shard.shares.clone()).unwrap_or_default();
        } else if let Some(shard) = known
            && shard.live
            && shard.request.directory_low == request.directory_low
            && shard.request.epoch == request.epoch
            && shard.request.version > request.version
        {
            return Err(ErrorCode::StaleRegistration);
        }
        for topic in request.removed.iter().flatten() {
            shares.remove(topic);
        }
        for share in request.shares.iter().flatten() {
            shares.insert(share.topic.name.clone(), (*share.topic).clone());
        }
        let shard = ModelShard {
            request: request.clone(),
            shares,
            live: true,
            deadline_ms: now_ms + u64::from(request.heartbeat_timeout_ms),
        };
        self.shards.insert(request.shard.clone(), shard);
        Ok(())
    }

    fn check_owner(&self, shard: &ModelShard, directory: u64, epoch: u64) -> Result<(), ErrorCode> {
        if shard.request.directory_low != directory {
            return if shard.live {
                Err(ErrorCode::ShardNameTaken)
            } else {
                Ok(())
            };
        }
        if epoch < shard.request.epoch {
            return Err(ErrorCode::InvalidRequest);
        }
        Ok(())
    }

    fn check_held(
        &self,
        name: &str,
        directory: u64,
        epoch: u64,
        version: u64,
    ) -> Result<(), ErrorCode> {
        let shard = self.shards.get(name).ok_or(ErrorCode::StaleRegistration)?;
        self.check_owner(shard, directory, epoch)?;
        let held = (
            shard.request.directory_low,
            shard.request.epoch,
            shard.request.version,
            shard.live,
        );
        if held == (directory, epoch, version, true) {
            Ok(())
        } else {
            Err(ErrorCode::StaleRegistration)
        }
    }

    fn expire(&mut self, now_ms: u64) {
        loop {
            let due = self
                .shards
                .iter()
                .find(|(_, shard)| shard.deadline_ms <= now_ms);
            let Some(name) = due.map(|(name, _)| name.clone()) else {
                return;
            };
            if self.shards[&name].live {
                self.make_absent(&name, now_ms);
            } else {
                self.shards.remove(&name);
            }
        }
    }

    fn make_absent(&mut self, name: &str, now_ms: u64) {
        let shard = self.shards.get_mut(name).expect("known");
        shard.live = false;
        shard.deadline_ms = now_ms + ABSENT_RETENTION_MS;
    }

    /// Incarnation and version of the topic, and who serves it.
    fn view(&self, topic: &str) -> Option<View> {
        let shares: Vec<(&String, &ModelShard, &TopicRecordT)> = self
            .shards
            .iter()
            .filter_map(|(name, shard)| Some((name, shard, shard.shares.get(topic)?)))
            .collect();
        let any_live = shares.iter().any(|(_, shard, _)| shard.live);
        let candidates: Vec<_> = shares
            .iter()
            .filter(|(_, shard, _)| shard.live == any_live)
            .collect();
        let at_home = |record: &TopicRecordT| {
            let home = &record.placement.as_ref().expect("placed")[0];
            candidates
                .iter()
                .any(|(name, _, share)| *name == home && incarnation(share) == incarnation(record))
        };
        let chosen = candidates
            .iter()
            .map(|(_, _, record)| (at_home(record), record.version, incarnation(record)))
            .max()?
            .2;
        let of_chosen = || {
            shares
                .iter()
                .filter(|(_, _, record)| incarnation(record) == chosen)
        };
        let version = of_chosen().map(|(_, _, record)| record.version).max()?;
        let serving = of_chosen()
            .filter(|(_, shard, _)| shard.live)
            .map(|(name, shard, _)| {
                (
                    (*name).clone(),
                    shard.request.address.clone(),
                    shard.request.writable,
                )
            })
            .collect();
        Some((chosen, version, serving))
    }
}

fn view(table: &RouteTable, topic: &str) -> Option<View> {
    let route = table.route(topic)?;
    let serving = route.shards.iter().map(|name| {
        let shard = table
            .live_shard(name)
            .expect("a route names live shards only");
        (name.to_string(), shard.address.clone(), shard.writable)
    });
    Some((
        incarnation(&route.record),
        route.record.version,
        serving.collect(),
    ))
}

fn record(draw: &mut Draw, topic: &str, shard: &str) -> TopicRecordT {
    let mut record = TopicRecordT {
        name: topic.into(),
        incarnation_low: 1 + draw.below(2),
        queues: 4,
        version: 1 + draw.below(3),
        ..Default::default()
    };
    let other = draw.pick(&SHARDS).to_string();
    record.placement = Some(if draw.one_in(2) {
        vec![shard.into(), other]
    } else {
        vec![other, shard.into()]
    });
    record
}

fn registration(draw: &mut Draw, model: &Model) -> ShardRegisterRequestT {
    let shard = draw.pick(&SHARDS);
    let mut request = ShardRegisterRequestT {
        cluster: "test".into(),
        shard: shard.into(),
        node: shard[4..].into(),
        heartbeat_timeout_ms: 100 + draw.below(100) as u32,
        address: format!("127.0.0.1:{}", 1000 + draw.below(2)),
        writable: !draw.one_in(4),
        ..Default::default()
    };
    let held = model
        .shards
        .get(&request.shard)
        .map(|shard| shard.request.clone());
    let held = held.unwrap_or_default();
    request.directory_low = if draw.one_in(6) {
        1 + draw.below(2)
    } else {
        held.directory_low.max(1)
    };
    request.epoch = if draw.one_in(6) {
        1 + draw.below(3)
    } else {
        held.epoch.max(1)
    };
    if draw.one_in(2) {
        request.base_version = if draw.one_in(5) {
            1 + draw.below(5)
        } else {
            held.version
        };
    }
    request.version = if draw.one_in(8) {
        request.base_version.max(1)
    } else {
        held.version.max(request.base_version) + 1
    };
    let mut put = BTreeSet::new();
    while draw.one_in(2) {
        put.insert(draw.pick(&TOPICS));
    }
    let shard = request.shard.clone();
    let shares = put.iter().map(|topic| TopicShareT {
        topic: Box::new(record(draw, topic, &shard)),
    });
    request.shares = Some(shares.collect());
    if request.base_version != 0 && draw.one_in(2) {
        let gone = draw.pick(&TOPICS);
        request.removed = (!put.contains(gone)).then(|| vec![gone.into()]);
    }
    request
}

/// A client with a watch: what it was told, whatever it missed in between.
struct Watcher {
    matches: fn(&str) -> bool,
    told: BTreeMap<String, Option<View>>,
}

struct World {
    table: RouteTable,
    model: Model,
    watches: Watches,
    watchers: Vec<Watcher>,
    now_ms: u64,
}

impl World {
    fn new() -> Self {
        let table = RouteTable::new(RouteLimits {
            shards_max: 100,
            topics_max: 100,
            absent_retention_ms: ABSENT_RETENTION_MS,
        });
        let mut watches = Watches::new(WatchLimits {
            topics_per_watch_max: 100,
            pending_max: 1000,
        });
        let named = ["orders".to_string(), "b".to_string()];
        watches.set(0, 0, &named, &[], [].iter()).expect("valid");
        watches
            .set(1, 1, &[], &["a.*".into()], [].iter())
            .expect("valid");
        let watchers = vec![
            Watcher {
                matches: |topic| matches!(topic, "orders" | "b"),
                told: BTreeMap::new(),
            },
            Watcher {
                matches: |topic| topic.starts_with('a'),
                told: BTreeMap::new(),
            },
        ];
        Self {
            table,
            model: Model::default(),
            watches,
            watchers,
            now_ms: 0,
        }
    }

    fn step(&mut self, draw: &mut Draw) {
        let before: Vec<_> = TOPICS
            .iter()
            .map(|topic| view(&self.table, topic))
            .collect();
        let version = self.table.version();
        let changed = self.operation(draw);
        for (topic, old) in TOPICS.iter().zip(before) {
            let new = view(&self.table, topic);
            assert_eq!(new, self.model.view(topic), "route of {topic}");
            if new != old {
                assert!(
                    changed.contains(*topic),
                    "{topic} changed and nobody is told"
                );
                assert!(self.table.version() > version, "the version did not rise");
            }
        }
        let live = self.table.live_shards().map(|shard| shard.name.to_string());
        let model_live = self.model.shards.iter().filter(|(_, shard)| shard.live);
        assert!(
            live.eq(model_live.map(|(name, _)| name.clone())),
            "live shards"
        );
        let topics: BTreeSet<_> = self.table.topic_names().map(ToString::to_string).collect();
        let model_topics: BTreeSet<_> = self
            .model
            .shards
            .values()
            .flat_map(|shard| shard.shares.keys().cloned())
            .collect();
        assert_eq!(topics, model_topics);
        self.watches.notice(&changed);
        for number in 0..self.watchers.len() {
            if draw.one_in(4) {
                self.drain(number);
            }
        }
    }

    fn operation(&mut self, draw: &mut Draw) -> Changed {
        let outcome = match draw.below(6) {
            0..=2 => {
                let request = registration(draw, &self.model);
                let expected = self.model.register(&request, self.now_ms);
                compare(self.table.register(request, self.now_ms), expected)
            }
            3 => {
                let (name, directory, epoch, version) = self.claim(draw);
                let expected = self.model.check_held(&name, directory, epoch, version);
                if expected.is_ok() {
                    let shard = self.model.shards.get_mut(&name).expect("held");
                    shard.deadline_ms = self.now_ms + u64::from(shard.request.heartbeat_timeout_ms);
                }
                let identity = ShardIdentity {
                    shard: &name,
                    directory: directory.into(),
                    epoch,
                };
                let result = self.table.heartbeat(&identity, version, self.now_ms);
                compare(result.map(|()| Changed::new()), expected)
            }
            4 if draw.one_in(3) => {
                let (name, directory, epoch, _) = self.claim(draw);
                let known = self.model.shards.get(&name);
                let expected = known.map_or(Ok(()), |shard| {
                    self.model.check_owner(shard, directory, epoch)
                });
                if expected.is_ok() && self.model.shards.get(&name).is_some_and(|shard| shard.live)
                {
                    self.model.make_absent(&name, self.now_ms);
                }
                let identity = ShardIdentity {
                    shard: &name,
                    directory: directory.into(),
                    epoch,
                };
                compare(self.table.unregister(&identity, self.now_ms), expected)
            }
            _ => {
                self.now_ms += draw.below(40);
                Changed::new()
            }
        };
        self.model.expire(self.now_ms);
        let mut changed = outcome;
        changed.extend(self.table.expire(self.now_ms));
        changed
    }

    /// Mostly the truth about a shard.
    fn claim(&self, draw: &mut Draw) -> (String, u64, u64, u64) {
        let name = draw.pick(&SHARDS).to_string();
        let held = self
            .model
            .shards
            .get(&name)
            .map(|shard| shard.request.clone());
        let held = held.unwrap_or_default();
        let mut claim = (name, held.directory_low, held.epoch, held.version);
        match draw.below(8) {
            0 => claim.1 = 1 + draw.below(2),
            1 => claim.2 = draw.below(4),
            2 => claim.3 += 1,
            _ => {}
        }
        claim
    }

    fn drain(&mut self, number: usize) {
        let watcher = &mut self.watchers[number];
        while let Some(push) = self.watches.take(number as u64, 2) {
            for topic in push.topics {
                watcher
                    .told
                    .insert(topic.to_string(), view(&self.table, &topic));
            }
        }
        let names: Vec<Arc<str>> = self.table.topic_names().cloned().collect();
        for topic in names.iter().filter(|topic| (watcher.matches)(topic)) {
            let told = watcher.told.get(topic.as_ref()).cloned().flatten();
            assert_eq!(
                told,
                view(&self.table, topic),
                "watcher {number} on {topic}"
            );
        }
        for (topic, told) in &watcher.told {
            assert!((watcher.matches)(topic), "told of {topic} without asking");
            assert_eq!(
                *told,
                view(&self.table, topic),
                "watcher {number} on {topic}"
            );
        }
    }
}

fn compare(result: Result<Changed, Refusal>, expected: Result<(), ErrorCode>) -> Changed {
    match (result, expected) {
        (Ok(changed), Ok(())) => changed,
        (Err(refusal), Err(code)) if refusal.code == code => Changed::new(),
        (result, expected) => panic!("table: {result:?}, model: {expected:?}"),
    }
}

fn run(seed: u64) {
    let mut draw = Draw(seed);
    let mut world = World::new();
    for _ in 0..400 {
        world.step(&mut draw);
    }
    for number in 0..world.watchers.len() {
        world.drain(number);
    }
}

#[test]
fn random_histories_agree_with_the_model() {
    let given = std::env::var("RINGMQ_SEED").ok();
    let given = given.map(|seed| seed.parse().expect("RINGMQ_SEED is a number"));
    let base = given.unwrap_or_else(|| {
        let since = std::time::UNIX_EPOCH.elapsed().expect("after 1970");
        since.as_nanos() as u64
    });
    let runs = if given.is_some() { 1 } else { 100 };
    for run_number in 0..runs {
        let seed = base.wrapping_add(run_number);
        let outcome = std::panic::catch_unwind(|| run(seed));
        if let Err(cause) = outcome {
            #[allow(clippy::print_stderr, reason = "how to replay a failed test")]
            {
                eprintln!("replay with RINGMQ_SEED={seed}");
            }
            std::panic::resume_unwind(cause);
        }
    }
}
