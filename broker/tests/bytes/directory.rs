//! A small directory of one shard with everything in it that a log can hold: batches of all kinds, every control
//! record, sealed segments with their bundles, two snapshots, an active segment.

use ringmq_broker::state::entries::{ProducerKey, Topic, TopicSettings};
use ringmq_broker::state::record::GroupOffsets;
use ringmq_broker::state::{ControlRecord, ShardState};
use ringmq_storage_engine::disk::sim::{CrashPolicy, Fault, FaultEffect, SimDisk, SimDiskOptions};
use ringmq_storage_engine::disk::{Disk, DiskErrorKind, DiskOperation};
use ringmq_storage_engine::position::{QueueHandle, QueueOffset};
use ringmq_storage_engine::runtime::Runtime;
use ringmq_storage_engine::runtime::sim::{SimExecutor, SimRuntime};
use ringmq_storage_engine::store::{Appended, Store, StoreOptions};
use ringmq_wire::batch::{BatchBuilder, BatchOptions, Compression, Envelope, Record};
use std::time::Duration;

pub type SmallStore = Store<SimDisk, SimRuntime, ShardState>;

pub const ORDERS: [QueueHandle; 2] = [QueueHandle(1), QueueHandle(2)];
pub const AUDIT: QueueHandle = QueueHandle(3);
const GONE: QueueHandle = QueueHandle(4);

/// Segments of eight blocks, so that a few frames fill several.
pub fn options() -> StoreOptions {
    StoreOptions {
        segment_bytes: 8 * 4096,
        in_flight_bytes_max: 8 * 4096,
        snapshot_every_bytes: 8 * 4096,
        ..StoreOptions::test_min()
    }
}

/// How the directory was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    Clean,
    Crashed,
    /// As crashed; then a start was cut that had made its copy of the newest frames.
    Mending,
}

/// A machine that is switched off.
pub struct Machine {
    /// Keeps the disk's clock.
    _executor: SimExecutor,
    pub disk: SimDisk,
}

impl Machine {
    /// Lives through everything, then stops or loses power.
    pub fn live(left: Left) -> Self {
        let executor = SimExecutor::new(7);
        let runtime = executor.runtime();
        let disk = SimDisk::new(&runtime, SimDiskOptions::default());
        let life = fill(disk.clone(), runtime, left);
        executor.run(life).expect("no fault is injected");
        executor.abort_all();
        let disk = match left {
            Left::Clean | Left::Crashed => disk.crash(CrashPolicy::KeepAll, 1),
            Left::Mending => cut_while_mending(&disk),
        };
        Self {
            _executor: executor,
            disk,
        }
    }

    /// The same disk in another machine, to be damaged and looked at.
    pub fn copy(&self) -> (SimExecutor, SimDisk) {
        let executor = SimExecutor::new(1);
        executor.set_poll_budget(1_000_000);
        let disk = self
            .disk
            .crash_onto(&executor.runtime(), CrashPolicy::KeepAll, 1);
        (executor, disk)
    }
}

/// A start on this disk cannot remove the copy of the tail that it has made; then the power goes.
fn cut_while_mending(disk: &SimDisk) -> SimDisk {
    // Some removal is that of the copy.
    let cut = (0..4).find_map(|skip| {
        let executor = SimExecutor::new(8);
        let runtime = executor.runtime();
        let disk = disk.kill_onto(&runtime, 1);
        disk.inject(Fault {
            operation: DiskOperation::Remove,
            file_prefix: "tail-".to_owned(),
            skip,
            times: 1,
            effect: FaultEffect::Fail(DiskErrorKind::Failed),
        });
        let living = disk.clone();
        let start = async move {
            let opened = Store::open(living, runtime, options(), ShardState::default()).await;
            opened.is_err()
        };
        executor.run(start).expect("it ends");
        executor.abort_all();
        let image = disk.crash(CrashPolicy::KeepAll, 1);
        image.bytes("tail-0.copy").is_some().then_some(image)
    });
    cut.expect("a copy is made")
}

/// Every file and its bytes.
pub fn files(machine: &Machine) -> Vec<(String, Vec<u8>)> {
    let (executor, disk) = machine.copy();
    let listing = disk.clone();
    let entries = executor.run(async move { listing.list().await.expect("no fault") });
    let entries = entries.expect("it ends").into_iter();
    entries
        .map(|entry| {
            let bytes = disk.bytes(&entry.name).expect("it was listed");
            (entry.name, bytes)
        })
        .collect()
}

async fn fill(disk: SimDisk, runtime: SimRuntime, left: Left) {
    let opened = Store::open(disk, runtime.clone(), options(), ShardState::default()).await;
    let store = opened.expect("an empty disk");
    let mut writer = Writer {
        store: &store,
        runtime,
        orders: [0, 0],
    };
    writer.topics().await;
    writer.batches(0).await;
    writer.groups().await;
    for round in 1..4 {
        writer.batches(round).await;
    }
    writer.last().await;
    if left != Left::Clean {
        writer.hurried().await;
    }
    assert_eq!(store.with_state(|state| state.defect().cloned()), None);
    if left == Left::Clean {
        store.stop().await.expect("no fault is injected");
    }
}

struct Writer<'a> {
    store: &'a SmallStore,
    runtime: SimRuntime,
    /// Next offsets.
    orders: [u64; 2],
}

impl Writer<'_> {
    /// Waits, so that each record has a frame of its own and what is done aside gets its turn.
    async fn settle(&self, appended: Appended) {
        self.store.durable(appended.end).await.expect("no fault");
        self.runtime.sleep(Duration::from_millis(20)).await;
    }

    async fn control(&self, record: ControlRecord) {
        let appended = self.store.append_control(&record.encode());
        self.settle(appended.expect("there is room")).await;
    }

    async fn topic(&self, name: &str, handles: &[QueueHandle]) {
        let topic = Topic {
            incarnation: 0x1234,
            queues: handles.len() as u32,
            placement: vec!["s00-a".into()],
            placement_index: 0,
            settings: TopicSettings::default(),
            attributes: Default::default(),
            version: 1,
            handles: handles.to_vec(),
        };
        let name = name.into();
        self.control(ControlRecord::TopicPut { name, topic }).await;
    }

    async fn topics(&self) {
        self.topic("orders", &ORDERS).await;
        self.topic("audit", &[AUDIT]).await;
        self.topic("gone", &[GONE]).await;
        let bytes = batch(&["to be forgotten"], &BatchOptions::default());
        self.append(GONE, 0, &bytes).await;
        self.control(ControlRecord::TopicRemove {
            name: "gone".into(),
            handles: vec![GONE],
        })
        .await;
        let bytes = batch(&["audit 0", "audit 1"], &BatchOptions::default());
        self.append(AUDIT, 0, &bytes).await;
    }

    async fn append(&self, queue: QueueHandle, base: u64, batch: &[u8]) {
        let appended = self.store.append_batch(queue, QueueOffset(base), batch);
        self.settle(appended.expect("there is room")).await;
    }

    /// One batch of each kind, half of them to each queue.
    async fn batches(&mut self, round: u32) {
        let texts: Vec<String> = (0..3)
            .map(|n| format!("round {round} message {n}"))
            .collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let long = "0123456789abcdef".repeat(80);
        let with = |compression, producer_id| BatchOptions {
            compression,
            producer_id,
            producer_epoch: 1,
            base_sequence: 3 * round,
        };
        let kinds = [
            batch(&texts, &with(Compression::None, 77)),
            batch(&[&long, &long], &with(Compression::Lz4, 0)),
            batch(&[&long, texts[0], &long], &with(Compression::Zstd, 0)),
            sparse(&texts),
            batch(&[&long.repeat(4)], &with(Compression::None, 0)),
        ];
        for (number, bytes) in kinds.iter().enumerate() {
            let queue = number % 2;
            self.append(ORDERS[queue], self.orders[queue], bytes).await;
            let view = ringmq_wire::batch::BatchView::parse(bytes).expect("made here");
            self.orders[queue] += u64::from(view.header().last_offset_delta) + 1;
        }
    }

    async fn groups(&self) {
        let offsets = |group: &str, offset| GroupOffsets {
            group: group.into(),
            offsets: ORDERS.map(|queue| (queue, QueueOffset(offset))).to_vec(),
        };
        let records = [
            ControlRecord::OffsetsPut(vec![offsets("billing", 2), offsets("gone", 1)]),
            ControlRecord::LeaseGrant {
                group: "billing".into(),
                member: "client@1".into(),
                term_ms: 30_000,
                handles: ORDERS.to_vec(),
            },
            ControlRecord::LeaseRelease {
                group: "billing".into(),
                handles: vec![ORDERS[1]],
            },
            ControlRecord::OffsetsReset(offsets("audit", 1)),
            ControlRecord::GroupRemove {
                group: "gone".into(),
            },
            ControlRecord::QueuesTrim(vec![(AUDIT, QueueOffset(1))]),
            ControlRecord::GroupSettingsPut {
                group: "billing".into(),
                settings: Box::default(),
            },
            ControlRecord::GroupSettingsPut {
                group: "gone".into(),
                settings: Box::default(),
            },
            ControlRecord::GroupSettingsRemove {
                group: "gone".into(),
            },
        ];
        for record in records {
            self.control(record).await;
        }
    }

    async fn last(&self) {
        let producer = ProducerKey {
            queue: ORDERS[0],
            producer_id: 77,
        };
        self.control(ControlRecord::ProducersEvict(vec![producer]))
            .await;
        let bytes = batch(&["the last one"], &BatchOptions::default());
        self.append(AUDIT, 2, &bytes).await;
    }

    /// Acknowledged, and the power is cut before anything else recorded it.
    async fn hurried(&self) {
        for base in 3..5 {
            let bytes = batch(&["in a hurry"], &BatchOptions::default());
            let appended = self.store.append_batch(AUDIT, QueueOffset(base), &bytes);
            let end = appended.expect("there is room").end;
            self.store.durable(end).await.expect("no fault");
        }
    }
}

fn record(body: &str) -> Record<'_> {
    Record {
        born_time_ms: 5,
        keys: &["key", "other"],
        tag: "tag",
        properties: &[("name", "value")],
        envelope: None,
        body: body.as_bytes(),
    }
}

fn batch(bodies: &[&str], options: &BatchOptions) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    for body in bodies {
        builder.push(&record(body)).expect("small");
    }
    builder.finish(options).expect("small")
}

/// With gaps, tags and a RocketMQ envelope.
fn sparse(bodies: &[&str]) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    for (number, body) in bodies.iter().enumerate() {
        let envelope = Envelope {
            flag: 1,
            sys_flag: 0,
            reconsume_times: 2,
            body_crc: crc32fast::hash(body.as_bytes()),
            prepared_position: 0,
            born_host: Some(([10, 0, 0, 1].into(), 4711)),
            properties: "KEYS\u{1}key\u{2}",
        };
        let record = Record {
            envelope: Some(envelope),
            ..record(body)
        };
        builder.push_at(2 * number as u32, &record).expect("rising");
    }
    builder.finish(&BatchOptions::default()).expect("small")
}
