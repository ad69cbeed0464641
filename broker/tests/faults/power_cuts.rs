//! The power goes while a real broker writes to a real file system: what was acknowledged is there.
//!
//! One life is a fresh file system and data directory with a number of cuts. After each cut the broker starts, is
//! compared with the record, stops cleanly, starts again, is compared again, and goes on under load.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ringmq_wire::native::schema::*;

use super::device::{Device, Kind};
use super::disk::{Behaviour, Cut, Loss, Moment};
use super::load::{Bodies, Consumer, Producer, TOPIC};
use super::report::Report;
use crate::ask;
use crate::harness::{Broker, Random, program};
use crate::wire::Wire;

const QUEUES: u32 = 8;
/// Cuts of one life: the log grows over a few segments.
const CUTS_A_LIFE: usize = 8;
const MOMENT_COMES_WITHIN: Duration = Duration::from_secs(1);
const DEVICE_BYTES: usize = 1 << 30;

/// Cuts the power `cuts` times; the lives go in turn through both ways of making a frame durable, in fresh and in
/// written space.
pub fn campaign(kind: Kind, loss: Loss, cuts: usize) -> Report {
    let mut report = Report::default();
    let mut random = Random::new();
    for life in 0.. {
        let left = cuts - report.cuts;
        if left == 0 {
            break;
        }
        let mode = ["durable-write", "write-then-sync"][life % 2];
        let written = life % 4 < 2;
        let mut life = Life::new(kind, loss, mode, random.below(u64::MAX));
        if written {
            life.write_all_space();
        }
        for _ in 0..left.min(CUTS_A_LIFE) {
            life.cut_and_recover(&mut report);
        }
    }
    report
}

struct Life {
    // Dropped in this order: the broker lets go of the file system before that is taken down.
    broker: Option<Broker>,
    device: Device,
    loss: Loss,
    mode: &'static str,
    bodies: Arc<Bodies>,
    random: Random,
    producers: Vec<Producer>,
    /// Messages of each queue that a consumer has seen.
    seen: Vec<usize>,
    /// Topics whose creation was acknowledged.
    topics: Vec<String>,
    starts: usize,
}

impl Life {
    fn new(kind: Kind, loss: Loss, mode: &'static str, seed: u64) -> Self {
        let bodies = Arc::new(Bodies::new(seed));
        let mut life = Self {
            broker: None,
            device: Device::new(kind, DEVICE_BYTES),
            loss,
            mode,
            random: Random::seeded(seed),
            producers: (0..QUEUES).map(|q| Producer::new(&bodies, q)).collect(),
            bodies,
            seen: vec![0; QUEUES as usize],
            topics: Vec::new(),
            starts: 0,
        };
        life.start();
        let made = Wire::connect(life.address()).create(TOPIC, QUEUES, false);
        made.expect("made");
        life
    }

    /// Leaves no block of the log's space that was never written, as in a directory that recycles its segments: a
    /// frame then waits for one flush, and not for the file system's journal.
    fn write_all_space(&mut self) {
        self.broker.take().expect("it runs").stop();
        let shard = self.device.mount_point().join("data/shard-00");
        for entry in std::fs::read_dir(shard).expect("a shard") {
            let path = entry.expect("listed").path();
            if path.extension().is_some_and(|extension| extension == "seg") {
                let bytes = std::fs::read(&path).expect("readable");
                let file = std::fs::File::options().write(true).open(&path);
                let mut file = file.expect("writable");
                file.write_all(&bytes).expect("room");
                file.sync_all().expect("synced");
            }
        }
        self.start();
    }

    fn cut_and_recover(&mut self, report: &mut Report) {
        let cut = self.load_until_cut();
        self.broker.take().expect("it ran").kill();
        self.device.unmount();
        self.device.disk.power_on();
        self.device.mount();

        self.start();
        let behind = self.recovery("frames_behind=");
        let first = self.compare();
        self.broker.take().expect("it runs").stop();
        self.start();
        let second = self.compare();
        assert_eq!(first, second, "a clean restart changes nothing");
        self.seen = second;
        report.add(&cut, behind);
        let acknowledged = self.producers.iter().map(|p| p.acknowledged);
        report.acknowledged = report.acknowledged.max(acknowledged.sum());
    }

    fn start(&mut self) {
        self.starts += 1;
        let directory = self.device.mount_point().join("data");
        let mode = format!("storage.write_mode={}", self.mode);
        let arguments = [
            "dev",
            "--namesrv-port",
            "0",
            "--set",
            &mode,
            "--set",
            "storage.snapshot_every_bytes=8388608",
        ];
        let log = self.log();
        self.broker = Some(Broker::launch(&mut program(), &directory, &log, &arguments));
    }

    /// Of the newest start.
    fn log(&self) -> PathBuf {
        let name = format!("broker-{}.log", self.starts);
        self.device.outside().join(name)
    }

    fn address(&self) -> SocketAddr {
        self.broker.as_ref().expect("it runs").shards[0]
    }

    /// A number that the recovery told.
    fn recovery(&self, key: &str) -> u64 {
        let log = std::fs::read_to_string(self.log()).expect("a log");
        let line = log
            .lines()
            .find(|line| line.contains("the log is recovered"));
        let word = line.and_then(|line| line.split(' ').find_map(|word| word.strip_prefix(key)));
        let number = word.and_then(|word| word.parse().ok());
        number.unwrap_or_else(|| panic!("no {key} in\n{log}"))
    }

    /// Producers, consumers and makers of topics at work, until the power goes at some moment.
    fn load_until_cut(&mut self) -> Cut {
        let address = self.address();
        // A device that lets several writes wait for one flush, as real ones do.
        self.device.disk.behave(Behaviour {
            write_us_max: 8_000,
            flush_us_max: 30_000,
            one_straggler_in: 4,
            ..Behaviour::default()
        });
        // Most moments of a disk are dull: two of three cuts are kept for those that are not.
        let moments = [Moment::Any, Moment::SeveralFrames, Moment::Hole];
        let moment = moments[self.random.below(3) as usize];
        let load_ms = 150 + self.random.below(500);
        let over = AtomicBool::new(false);
        let seen = Mutex::new(std::mem::take(&mut self.seen));
        let (bodies, loss) = (&self.bodies, self.loss);
        let (disk, random, topics) = (&self.device.disk, &mut self.random, &mut self.topics);
        let cut = std::thread::scope(|scope| {
            for producer in &mut self.producers {
                scope.spawn(move || {
                    // Ends with the broker, or when its log does.
                    let _ = producer.run(address, usize::MAX);
                });
            }
            scope.spawn(|| {
                let mut seen = seen.lock().expect("nobody else has it");
                let _ = watch(address, bodies, &mut seen, &over);
            });
            scope.spawn(|| {
                let _ = make_topics(address, topics, &over);
            });
            std::thread::sleep(Duration::from_millis(load_ms));
            let cut = disk.cut_at(moment, MOMENT_COMES_WITHIN, loss, random);
            over.store(true, Ordering::Relaxed);
            cut_connections(self.broker.as_ref().expect("it runs"));
            cut
        });
        self.seen = seen.into_inner().expect("nobody panicked");
        cut
    }

    /// Compares what is stored with the record; returns how much there is of each queue.
    fn compare(&self) -> Vec<usize> {
        let mut consumer =
            Consumer::try_new(self.address(), &self.bodies, QUEUES).expect("connects");
        consumer.read_all().expect("everything can be read");
        for (producer, (stored, seen)) in self
            .producers
            .iter()
            .zip(consumer.read.iter().zip(&self.seen))
        {
            assert!(*stored >= producer.acknowledged, "acknowledged and gone");
            assert!(stored >= seen, "seen by a consumer and gone");
            assert!(*stored <= producer.sent, "never sent");
        }
        let request = TopicListRequestT::default();
        let mut wire = Wire::connect(self.address());
        let listed = ask!(wire, TopicList, TopicListResponse, &request).expect("answered");
        let listed = listed.topics.unwrap_or_default();
        for topic in &self.topics {
            assert!(
                listed.iter().any(|found| found.name == *topic),
                "topic {topic} was made and is gone"
            );
        }
        consumer.read
    }
}

/// With its disk gone a broker answers nothing; its clients learn it as they would from a host without power.
fn cut_connections(broker: &Broker) {
    broker.signal(rustix::process::Signal::KILL);
}

fn watch(
    address: SocketAddr,
    bodies: &Arc<Bodies>,
    seen: &mut [usize],
    over: &AtomicBool,
) -> std::io::Result<()> {
    let mut consumer = Consumer::try_new(address, bodies, QUEUES)?;
    while !over.load(Ordering::Relaxed) {
        let fetched = consumer.fetch(50);
        for (seen, read) in seen.iter_mut().zip(&consumer.read) {
            *seen = (*seen).max(*read);
        }
        fetched?;
    }
    Ok(())
}

fn make_topics(
    address: SocketAddr,
    topics: &mut Vec<String>,
    over: &AtomicBool,
) -> std::io::Result<()> {
    let mut wire = Wire::try_connect(address)?;
    while !over.load(Ordering::Relaxed) {
        let name = format!("made-{}", topics.len());
        let mut topic = TopicRecordT::default();
        topic.name = name.clone();
        topic.queues = 1;
        let mut request = TopicCreateRequestT::default();
        *request.topic = topic;
        request.automatic = true;
        let answer = wire.exchange(ringmq_wire::codes::Kind::TopicCreate, |b| request.pack(b))?;
        if answer.table().is_err() {
            return Ok(());
        }
        topics.push(name);
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
