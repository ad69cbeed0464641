//! Lives of a store on the simulated disk: run, cut, recover, compare.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use ringmq_storage_engine::disk::Disk;
use ringmq_storage_engine::disk::sim::{CrashPolicy, Sector, SimDisk, SimDiskOptions, Unwritten};
use ringmq_storage_engine::runtime::Runtime;
use ringmq_storage_engine::runtime::sim::{SeededRandom, SimExecutor, SimRuntime, SimStop};

use ringmq_storage_engine::store::{Store, StoreOptions, WriteMode};

use crate::model::Model;
use crate::state::TestState;
use crate::workload::Workload;

pub type SimStore = Store<SimDisk, SimRuntime, TestState>;

/// What a run depends on.
#[derive(Clone)]
pub struct Plan {
    pub seed: u64,
    pub options: StoreOptions,
    pub disk: SimDiskOptions,
    pub frames: u32,
}

/// How the disk damages things.
#[derive(Debug, Clone, Copy)]
pub struct Variant {
    sector: Sector,
    unwritten: Unwritten,
    unreadable_rewrites: bool,
}

impl Variant {
    pub fn of(seed: u64, point: u64) -> Self {
        let mut random = SeededRandom::new(seed ^ point, "variant");
        Self {
            sector: [Sector::Bytes512, Sector::Bytes4096][random.index(2)],
            unwritten: [Unwritten::Zero, Unwritten::Noise, Unwritten::Stale][random.index(3)],
            unreadable_rewrites: random.one_in(4),
        }
    }
}

impl Plan {
    pub fn new(seed: u64, write_mode: WriteMode, frames: u32) -> Self {
        Self {
            seed,
            options: StoreOptions {
                write_mode,
                ..StoreOptions::test_min()
            },
            disk: SimDiskOptions::default(),
            frames,
        }
    }

    pub fn with(&self, variant: Variant) -> Self {
        let mut plan = self.clone();
        plan.disk.sector = variant.sector;
        plan.disk.unwritten = variant.unwritten;
        plan.disk.unreadable_rewrites = variant.unreadable_rewrites;
        plan
    }
}

/// A machine that runs.
pub struct Life {
    pub plan: Plan,
    pub executor: SimExecutor,
    pub disk: SimDisk,
    pub model: Rc<RefCell<Model>>,
}

/// A machine whose power was cut (or that ended by itself).
pub struct Crashed {
    plan: Plan,
    disk: SimDisk,
    model: Model,
    pub trace_hash: u64,
}

/// A run that was not cut.
pub struct Ended {
    pub points: u64,
    pub writes_in_flight_max: usize,
}

async fn open(disk: SimDisk, runtime: SimRuntime, options: StoreOptions) -> SimStore {
    let opened = Store::open(disk, runtime, options, TestState::default()).await;
    opened.unwrap_or_else(|e| panic!("a power cut must not keep the store shut: {e}"))
}

impl Life {
    pub fn new(plan: &Plan) -> Self {
        let executor = SimExecutor::new(plan.seed);
        let disk = SimDisk::new(&executor.runtime(), plan.disk.clone());
        Self::resume(plan, executor, disk, Model::new())
    }

    fn resume(plan: &Plan, executor: SimExecutor, disk: SimDisk, model: Model) -> Self {
        Self {
            plan: plan.clone(),
            executor,
            disk,
            model: Rc::new(RefCell::new(model)),
        }
    }

    /// Opens, checks, submits, reads, stops cleanly.
    fn live(&self) -> Result<(), SimStop> {
        let (disk, runtime) = (self.disk.clone(), self.executor.runtime());
        let (plan, model) = (self.plan.clone(), Rc::clone(&self.model));
        self.executor.run(async move {
            let segments_max = segments_max(&plan.options);
            let settling = runtime.clone();
            let store = open(disk.clone(), runtime.clone(), plan.options).await;
            recovered(&store, &model).await;
            let mut workload = Workload {
                store: store.clone(),
                runtime,
                model: Rc::clone(&model),
                random: SeededRandom::new(plan.seed, "workload"),
            };
            workload.create_queues().await;
            workload.submit(plan.frames).await;
            workload.settle().await;
            let settled = model.borrow().clone();
            settled.check_content(&store).await;
            if segments_max.is_some() {
                // Retention gets its turns.
                settling.sleep(Duration::from_secs(1)).await;
            }
            store.stop().await.expect("no fault is injected");
            settled.check_frontiers(store.frontiers());
            check_leftovers(&disk, segments_max).await;
        })
    }

    /// Runs without a cut. Then the store is opened again, and its index is lost and rebuilt.
    pub fn run_to_the_end(self) -> Ended {
        self.live().expect("nothing cuts this run");
        let ended = Ended {
            points: self.disk.effects(),
            writes_in_flight_max: self.disk.writes_in_flight_max(),
        };
        let crashed = self.into_crashed();
        crashed.reopen_after_clean_stop();
        crashed.rebuild_index();
        ended
    }

    /// Runs without a cut; what follows a clean stop is looked at in one of eight.
    fn end(self, random: &mut SeededRandom) {
        if random.one_in(8) {
            self.run_to_the_end();
        } else {
            self.live().expect("nothing cuts this run");
        }
    }

    /// Runs until the power is cut at `point`; past the last point the run ends cleanly.
    pub fn cut_at(self, point: u64) -> Crashed {
        self.disk.crash_at(point);
        match self.live() {
            Ok(()) => {}
            Err(SimStop::Halted) => assert!(self.disk.has_crashed()),
            Err(stop) => panic!("at point {point}: {stop}"),
        }
        self.into_crashed()
    }

    fn into_crashed(self) -> Crashed {
        self.executor.abort_all();
        Crashed {
            plan: self.plan,
            disk: self.disk,
            model: self.model.borrow().clone(),
            trace_hash: self.executor.trace_hash(),
        }
    }

    /// Cuts the power `cuts` times at random moments, with a recovery and more records after each.
    pub fn live_through_cuts(self, cuts: u32, random: &mut SeededRandom) -> u32 {
        let mut crashed = self.cut_at(50 + random.below(800));
        for _ in 0..cuts {
            let policy = CrashPolicy::ALL[random.index(CrashPolicy::ALL.len())];
            let point = random.below(800);
            crashed = crashed.power_up(policy, random.next_u64()).cut_at(point);
        }
        crashed.recover_append_and_recover(CrashPolicy::RandomSubset, random.next_u64());
        cuts + 2
    }
}

/// What must hold right after a store was opened.
async fn recovered(store: &SimStore, model: &Rc<RefCell<Model>>) {
    let frontiers = store.frontiers();
    assert_eq!(
        frontiers.appended, frontiers.durable,
        "an opened log is durable"
    );
    assert_eq!(frontiers.visible, frontiers.durable);
    assert!(store.health().is_writable(), "{:?}", store.health());
    model.borrow_mut().cut(frontiers.durable);
    let found = model.borrow().clone();
    found.check_content(store).await;
}

/// Segments that may be there at once: what retention keeps, what waits for it, two ahead, and spares.
fn segments_max(options: &StoreOptions) -> Option<usize> {
    let kept = options.retention_bytes? / options.segment_bytes;
    let waiting = 3 * options.snapshot_every_bytes.div_ceil(options.segment_bytes);
    Some((kept + waiting) as usize + 4 + options.spare_segments_max)
}

/// Every index belongs to a segment, and crashes leave no files behind.
async fn check_leftovers(disk: &SimDisk, segments_max: Option<usize>) {
    let names: Vec<_> = disk
        .list()
        .await
        .expect("no fault")
        .into_iter()
        .map(|e| e.name)
        .collect();
    let numbers = |suffix: &str| -> Vec<u64> {
        let numbers = names.iter().filter_map(|name| name.strip_suffix(suffix));
        numbers.filter_map(|digits| digits.parse().ok()).collect()
    };
    let segments = numbers(".seg");
    for bundle in numbers(".idx") {
        assert!(
            segments.contains(&bundle),
            "{bundle}.idx has no segment: {names:?}"
        );
    }
    let count = names
        .iter()
        .filter(|n| n.ends_with(".seg") || n.starts_with("free-"))
        .count();
    let bounded = segments_max.is_none_or(|max| count <= max);
    assert!(
        bounded,
        "{count} segments are left, at most {segments_max:?}: {names:?}"
    );
    assert!(
        !names.iter().any(|name| name.ends_with(".tmp")),
        "{names:?}"
    );
}

impl Crashed {
    pub fn image_hash(&self) -> u64 {
        self.disk.crash(CrashPolicy::RandomSubset, 1).image_hash()
    }

    /// Starts the machine again.
    fn power_up(&self, policy: CrashPolicy, seed: u64) -> Life {
        let executor = SimExecutor::new(seed);
        let disk = self.disk.crash_onto(&executor.runtime(), policy, seed);
        let mut plan = self.plan.clone();
        plan.seed = seed;
        Life::resume(&plan, executor, disk, self.model.clone())
    }

    /// Recovers, appends frames of other lengths, cuts at a random point of that, recovers, ends cleanly.
    pub fn recover_append_and_recover(&self, policy: CrashPolicy, seed: u64) {
        let mut random = SeededRandom::new(seed, "second life");
        let mut second = self.power_up(policy, seed);
        second.plan.frames = 3 + random.below(4) as u32;
        let again = second.cut_at(5 + random.below(80));
        let policy = CrashPolicy::ALL[random.index(CrashPolicy::ALL.len())];
        let mut third = again.power_up(policy, random.next_u64());
        third.plan.frames = 3;
        third.end(&mut random);
    }

    /// Cuts the recovery at each of its effect points, then recovers in peace. Returns the number of cuts.
    pub fn cut_recovery_everywhere(&self, seed: u64) -> u32 {
        let mut random = SeededRandom::new(seed, "recovery");
        let policy = CrashPolicy::ALL[random.index(CrashPolicy::ALL.len())];
        let mut cuts = 0;
        for point in 0.. {
            let life = self.power_up(policy, seed);
            life.disk.crash_at(point);
            let (disk, runtime) = (life.disk.clone(), life.executor.runtime());
            let (options, model) = (life.plan.options.clone(), Rc::clone(&life.model));
            let outcome = life.executor.run(async move {
                let store = open(disk, runtime.clone(), options).await;
                recovered(&store, &model).await;
            });
            let done = outcome.is_ok();
            let policy = CrashPolicy::ALL[random.index(CrashPolicy::ALL.len())];
            let mut next = life.into_crashed().power_up(policy, random.next_u64());
            next.plan.frames = 3;
            next.end(&mut random);
            cuts += 1;
            if done {
                break;
            }
        }
        cuts
    }

    /// The state that each kept snapshot and the log behind it give is the one that was lived through.
    pub fn compare_snapshots(&self, seed: u64) {
        let snapshots = self.names(".snap");
        for kept in &snapshots {
            let life = self.power_up(CrashPolicy::KeepAll, seed);
            let others = snapshots.iter().filter(|name| *name != kept).cloned();
            life.remove_files(others.collect());
            let model = Rc::clone(&life.model);
            let (disk, runtime) = (life.disk.clone(), life.executor.runtime());
            let options = life.plan.options.clone();
            let run = life.executor.run(async move {
                let store = open(disk, runtime, options).await;
                recovered(&store, &model).await;
            });
            run.unwrap_or_else(|stop| panic!("with {kept} alone: {stop}"));
        }
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        self.disk.bytes(name).expect("it was listed")
    }

    /// Starts the machine again with everything that was written.
    pub fn undamaged(&self) -> Life {
        self.power_up(CrashPolicy::KeepAll, 2)
    }

    pub fn names(&self, suffix: &str) -> Vec<String> {
        let executor = SimExecutor::new(1);
        let image = self
            .disk
            .crash_onto(&executor.runtime(), CrashPolicy::KeepAll, 1);
        let listed = executor.run(async move { image.list().await.expect("no fault") });
        let listed = listed.expect("listing does not hang");
        let names = listed.into_iter().map(|entry| entry.name);
        names.filter(|name| name.ends_with(suffix)).collect()
    }

    /// After a clean stop nothing is missing, and opening twice gives the same (check 6).
    fn reopen_after_clean_stop(&self) {
        let mut seen = Vec::new();
        for policy in [CrashPolicy::LoseAll, CrashPolicy::KeepAll] {
            let life = self.power_up(policy, 9);
            let (disk, runtime) = (life.disk.clone(), life.executor.runtime());
            let (options, model) = (life.plan.options.clone(), Rc::clone(&life.model));
            let run = life.executor.run(async move {
                for _ in 0..2 {
                    let store = open(disk.clone(), runtime.clone(), options.clone()).await;
                    recovered(&store, &model).await;
                    store.stop().await.expect("no fault is injected");
                }
                model.borrow().digest()
            });
            seen.push(run.expect("no cut"));
            assert_eq!(
                life.model.borrow().submitted.len(),
                self.model.submitted.len()
            );
        }
        assert_eq!(seen[0], seen[1]);
    }

    /// Check 4: index bundles that are gone come back byte for byte: the oldest, and all others. Once segments were
    /// retired, only a bundle knows queues that have no message left: without any, the messages are found all the same.
    fn rebuild_index(&self) {
        let mut others = self.names(".idx");
        if others.is_empty() {
            return;
        }
        let oldest = others.remove(0);
        let from_the_start = oldest.trim_start_matches('0') == ".idx";
        if others.is_empty() && !from_the_start {
            drop(self.lose_files(vec![oldest]));
            return;
        }
        self.lose_and_compare(&[oldest]);
        self.lose_and_compare(&others);
    }

    fn lose_and_compare(&self, bundles: &[String]) {
        let life = self.lose_files(bundles.to_vec());
        for name in bundles {
            let (rebuilt, before) = (life.disk.bytes(name), self.disk.bytes(name));
            let differs = rebuilt.zip(before).and_then(|(rebuilt, before)| {
                let same = rebuilt.iter().zip(&before).take_while(|(a, b)| a == b);
                let at = same.count();
                (rebuilt != before).then_some((at, rebuilt.len(), before.len()))
            });
            assert_eq!(
                differs, None,
                "{name} was rebuilt differently (first byte, lengths)"
            );
        }
    }

    /// Opens without some files, and checks.
    fn lose_files(&self, names: Vec<String>) -> Life {
        let life = self.power_up(CrashPolicy::KeepAll, 4);
        life.remove_files(names);
        let (disk, runtime) = (life.disk.clone(), life.executor.runtime());
        let (options, model) = (life.plan.options.clone(), Rc::clone(&life.model));
        let run = life.executor.run(async move {
            let store = open(disk, runtime.clone(), options).await;
            recovered(&store, &model).await;
            store.stop().await.expect("no fault is injected");
        });
        run.expect("no cut");
        life
    }
}

impl Life {
    fn remove_files(&self, names: Vec<String>) {
        let disk = self.disk.clone();
        let run = self.executor.run(async move {
            for name in names {
                disk.remove(&name).await.expect("no fault");
            }
            disk.sync_dir().await.expect("no fault");
        });
        run.expect("no cut");
    }
}
