//! A shard with its delivery task, a topic, and what was parked and delivered.

use crate::delay::{self, DelayLevels};
use crate::handler::automatic::{ensure_share, ensure_system_topics};
use crate::limits::Limits;
use crate::node::{NodeHandle, ShardCommand};
use crate::shard::{Shard, ShardSettings};
use crate::state::{ShardState, TopicSettings};
use ringmq_storage_engine::disk::sim::SimDisk;
use ringmq_storage_engine::position::QueueOffset;
use ringmq_storage_engine::runtime::Runtime;
use ringmq_storage_engine::runtime::sim::SimRuntime;
use ringmq_storage_engine::store::{ReadLimits, Store, StoreOptions};
use ringmq_wire::batch::{BatchView, Envelope, Record};
use std::time::Duration;

pub const TOPIC: &str = "orders";
pub const QUEUES: u32 = 3;
/// Level 1 is short, so that its messages overtake those of the others.
pub const DELAYS_S: [u64; 3] = [1, 3, 10];

pub type SimShard = Shard<SimDisk, SimRuntime>;

pub struct World {
    pub shard: SimShard,
    _mailbox: flume::Receiver<ShardCommand>,
}

/// A message that was read from the topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    pub queue: u32,
    pub store_time_ms: i64,
    pub body: String,
    pub properties: String,
    pub native: Vec<(String, String)>,
}

impl World {
    /// Opens and starts to deliver.
    pub async fn open(disk: &SimDisk, runtime: &SimRuntime, options: StoreOptions) -> Self {
        let store = Store::open(
            disk.clone(),
            runtime.clone(),
            options,
            ShardState::default(),
        );
        let store = store.await.expect("the store opens");
        assert_eq!(store.with_state(|state| state.defect().cloned()), None);
        let (node, mailbox) = NodeHandle::detached("a");
        let settings = ShardSettings {
            delay_levels: DelayLevels::parse("1s 3s 10s").expect("valid"),
            ..ShardSettings::new("test", "a", 0, Limits::TEST_MIN)
        };
        let shard = Shard::new(settings, store, runtime.clone(), node);
        runtime.spawn(delay::run(shard.clone()));
        ensure_system_topics(&shard).await.expect("made");
        ensure_share(&shard, TOPIC, QUEUES, TopicSettings::default())
            .await
            .expect("made");
        Self {
            shard,
            _mailbox: mailbox,
        }
    }

    /// Parks a message and waits until it is durable; `None`: it was not taken, or is not known to be.
    pub async fn park(&self, level: usize, queue: u32, body: &str) -> Option<()> {
        let properties = format!("DELAY\u{1}{level}\u{2}UNIQ_KEY\u{1}{body}\u{2}");
        let record = Record {
            born_time_ms: 7,
            keys: &["k"],
            tag: "t",
            properties: &[("colour", "red")],
            envelope: Some(Envelope {
                flag: 5,
                sys_flag: 0,
                reconsume_times: 2,
                body_crc: 9,
                prepared_position: 0,
                born_host: None,
                properties: &properties,
            }),
            body: body.as_bytes(),
        };
        let stored = delay::park(&self.shard, TOPIC, queue, &record, level as i32);
        let stored = stored.expect("a level is asked for").ok()?;
        self.shard.store().durable(stored.end).await.ok()
    }

    /// All messages of the topic, queue by queue.
    pub async fn delivered(&self) -> Vec<Delivered> {
        let mut all = Vec::new();
        for queue in 0..QUEUES {
            let handle = self.shard.with_state(|state| {
                let topic = state.topic(TOPIC).expect("made");
                topic.handles[queue as usize]
            });
            let mut from = QueueOffset(0);
            loop {
                let read = self.shard.store().read(handle, from, ReadLimits::default());
                let read = read.await.expect("readable");
                if read.batches.is_empty() {
                    break;
                }
                from = read.next_offset;
                for batch in &read.batches {
                    let view = BatchView::parse_placed(&batch.bytes).expect("whole");
                    let section = view.section().expect("readable");
                    for record in view.records(&section) {
                        let record = record.expect("whole");
                        assert_eq!(
                            (record.born_time_ms, record.keys, record.tag),
                            (7, "k", "t")
                        );
                        let envelope = record.envelope.expect("kept");
                        assert_eq!((envelope.flag, envelope.reconsume_times), (5, 2));
                        let native = record.properties.iter();
                        all.push(Delivered {
                            queue,
                            store_time_ms: batch.header.store_time_ms,
                            body: String::from_utf8(record.body.to_vec()).expect("text"),
                            properties: envelope.properties.to_owned(),
                            native: native.map(|(n, v)| (n.to_owned(), v.to_owned())).collect(),
                        });
                    }
                }
            }
        }
        all
    }

    pub fn waiting(&self) -> u64 {
        self.shard.with_state(delay::waiting)
    }

    pub async fn sleep_ms(&self, ms: u64) {
        self.shard.runtime().sleep(Duration::from_millis(ms)).await;
    }

    pub async fn stop(self) {
        self.shard.set_stopping();
        self.shard.store().stop().await.expect("stopped");
    }
}
