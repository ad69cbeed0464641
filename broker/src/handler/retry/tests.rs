//! Retries and dead letters on the simulated disk, in virtual time.

use super::{Retry, SendBack, send_back, target_of_send};
use crate::delay::{self, DelayLevels, Stored};
use crate::handler::automatic::{ensure_group, ensure_share, ensure_system_topics};
use crate::handler::{Refusal, SessionInfo, lease_acquire};
use crate::limits::Limits;
use crate::node::NodeHandle;
use crate::shard::{Shard, ShardSettings};
use crate::state::{GroupSettings, ShardState, TopicSettings, group_settings};
use ringmq_storage_engine::disk::sim::{SimDisk, SimDiskOptions};
use ringmq_storage_engine::position::{Position, QueueOffset};
use ringmq_storage_engine::runtime::Runtime;
use ringmq_storage_engine::runtime::sim::{SimExecutor, SimRuntime};
use ringmq_storage_engine::store::{ReadLimits, Store, StoreOptions};
use ringmq_wire::batch::{BatchView, Record};
use ringmq_wire::codes::ErrorCode;
use ringmq_wire::native::schema::LeaseAcquireRequestT;
use ringmq_wire::remoting::message::Host;
use ringmq_wire::remoting::properties::{self, name};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

type SimShard = Shard<SimDisk, SimRuntime>;

const HOST: Host = Host {
    address: IpAddr::V4(Ipv4Addr::LOCALHOST),
    port: 10_911,
};

fn on_shard<F: Future<Output = ()> + 'static>(test: impl FnOnce(SimShard) -> F + 'static) {
    let executor = SimExecutor::new(5);
    let runtime = executor.runtime();
    let disk = SimDisk::new(&runtime, SimDiskOptions::default());
    let ended = executor.run(async move {
        let state = ShardState::default();
        let store = Store::open(disk, runtime.clone(), StoreOptions::test_min(), state);
        let store = store.await.expect("opens");
        let settings = ShardSettings {
            delay_levels: DelayLevels::parse("1s 2s 3s 4s 5s").expect("valid"),
            ..ShardSettings::new("test", "a", 0, Limits::TEST_MIN)
        };
        let node = NodeHandle::detached("a").0;
        let shard = Shard::new(settings, store, runtime.clone(), node);
        runtime.spawn(delay::run(shard.clone()));
        ensure_system_topics(&shard).await.expect("made");
        ensure_share(&shard, "orders", 1, TopicSettings::default())
            .await
            .expect("made");
        test(shard.clone()).await;
        shard.set_stopping();
        shard.store().stop().await.expect("stopped");
    });
    ended.expect("the test ends");
}

fn back(group: &'static str, position: Position, delay_level: i32) -> SendBack<'static> {
    SendBack {
        group,
        position,
        delay_level,
        retries_max: Some(2),
        store_host: HOST,
    }
}

async fn produce(shard: &SimShard) -> Stored {
    let record = Record {
        born_time_ms: 7,
        keys: &["k1", "k2"],
        tag: "t",
        properties: &[("colour", "red")],
        envelope: None,
        body: b"body",
    };
    let stored = delay::store(shard, "orders", 0, &record).expect("stored");
    shard.store().durable(stored.end).await.expect("durable");
    stored
}

/// (retries, RocketMQ's properties, position) of each message of a topic's first queue.
async fn read(shard: &SimShard, topic: &str) -> Vec<(i32, String, Position)> {
    let handle = shard.with_state(|state| state.topic(topic).map(|topic| topic.handles[0]));
    let handle = handle.expect("made");
    let read = shard
        .store()
        .read(handle, QueueOffset(0), ReadLimits::default());
    let mut found = Vec::new();
    for batch in read.await.expect("readable").batches {
        let view = BatchView::parse_placed(&batch.bytes).expect("whole");
        let section = view.section().expect("readable");
        for record in view.records(&section) {
            let record = record.expect("whole");
            assert_eq!(
                (record.body, record.keys, record.tag),
                (&b"body"[..], "k1 k2", "t")
            );
            assert_eq!(record.properties.get("colour"), Some("red"));
            let envelope = record.envelope.expect("RocketMQ's");
            let all = envelope.properties.to_owned();
            found.push((envelope.reconsume_times, all, batch.position));
        }
    }
    found
}

async fn pass(shard: &SimShard, seconds: u64) {
    shard.runtime().sleep(Duration::from_secs(seconds)).await;
}

#[test]
fn a_message_comes_back_later_and_later_and_dies_in_the_end() {
    on_shard(|shard| async move {
        let first = produce(&shard).await;
        let id = format!("7F00000100002A9F{:016X}", first.position.0);
        send_back(&shard, &back("g", first.position, 0))
            .await
            .expect("taken");
        pass(&shard, 2).await;
        assert_eq!(read(&shard, "%RETRY%g").await, []);
        pass(&shard, 2).await;
        let retried = read(&shard, "%RETRY%g").await;
        let (retries, all, position) = retried[0].clone();
        let get = |all: &str, name| properties::get(all, name).map(str::to_owned);
        assert_eq!(retries, 1);
        for (name, value) in [
            (name::RETRY_TOPIC, "orders"),
            (name::ORIGIN_MESSAGE_ID, id.as_str()),
            (name::REAL_TOPIC, "%RETRY%g"),
            (name::REAL_QUEUE_ID, "0"),
            (name::DELAY, "3"),
            (name::WAIT, "false"),
            (name::KEYS, "k1 k2"),
            (name::TAGS, "t"),
        ] {
            assert_eq!(get(&all, name).as_deref(), Some(value), "{name}");
        }
        // The second retry waits for the next level.
        send_back(&shard, &back("g", position, 0))
            .await
            .expect("taken");
        pass(&shard, 3).await;
        assert_eq!(read(&shard, "%RETRY%g").await.len(), 1);
        pass(&shard, 2).await;
        let retried = read(&shard, "%RETRY%g").await;
        let (retries, all, position) = retried[1].clone();
        assert_eq!(
            (retries, get(&all, name::RETRY_TOPIC).as_deref()),
            (2, Some("orders"))
        );
        assert_eq!(get(&all, name::ORIGIN_MESSAGE_ID), Some(id.clone()));
        // Two were allowed.
        let stored = send_back(&shard, &back("g", position, 0))
            .await
            .expect("taken");
        shard
            .store()
            .durable(stored.expect("stored").end)
            .await
            .expect("durable");
        let dead = read(&shard, "%DLQ%g").await;
        assert_eq!(dead[0].0, 3);
        assert_eq!(
            get(&dead[0].1, name::DLQ_ORIGIN_TOPIC).as_deref(),
            Some("orders")
        );
        assert_eq!(get(&dead[0].1, name::DLQ_ORIGIN_MESSAGE_ID), Some(id));
        assert_eq!(get(&dead[0].1, name::DELAY), None);
    });
}

#[test]
fn a_negative_level_is_the_end_and_an_asked_one_counts() {
    on_shard(|shard| async move {
        let first = produce(&shard).await;
        let stored = send_back(&shard, &back("g", first.position, -1))
            .await
            .expect("taken");
        shard
            .store()
            .durable(stored.expect("stored").end)
            .await
            .expect("durable");
        assert_eq!(read(&shard, "%DLQ%g").await.len(), 1);
        send_back(&shard, &back("g", first.position, 1))
            .await
            .expect("taken");
        pass(&shard, 2).await;
        assert_eq!(read(&shard, "%RETRY%g").await.len(), 1);
    });
}

#[test]
fn what_cannot_be_sent_back_is_said() {
    on_shard(|shard| async move {
        let code = |outcome: Result<Option<Stored>, Refusal>| outcome.expect_err("refused").code;
        let nothing = send_back(&shard, &back("g", Position(1 << 40), 0)).await;
        assert_eq!(code(nothing), ErrorCode::MessageNotFound);
        let first = produce(&shard).await;
        let long: &'static str = Box::leak("g".repeat(125).into_boxed_str());
        let long = send_back(&shard, &back(long, first.position, 0)).await;
        assert_eq!(code(long), ErrorCode::InvalidName);
        // A group without retries is done with the message.
        let settings = GroupSettings {
            retry_queues: 0,
            ..GroupSettings::default()
        };
        let record = shard.with_state(|state| group_settings::put(state, "h", settings));
        let record = record.expect("valid").expect("new").encode();
        shard.store().append_control(&record).expect("taken");
        let done = send_back(&shard, &back("h", first.position, 0)).await;
        assert_eq!(done.expect("no error"), None);
    });
}

#[test]
fn sends_to_the_retry_topic_become_dead_letters_above_the_maximum_or_under_a_lock() {
    on_shard(|shard| async move {
        let target = async |retries| {
            let target = target_of_send(&shard, "%RETRY%g", retries, Some(2)).await;
            target.expect("decided")
        };
        let dead = Retry::Dead("%DLQ%g".to_owned());
        assert_eq!(
            target(2).await,
            Retry::Again,
            "at the maximum it may still go"
        );
        assert_eq!(target(3).await, dead);
        ensure_group(&shard, "g").await.expect("there");
        let request = LeaseAcquireRequestT {
            group: "g".to_owned(),
            member: "m".to_owned(),
            topic: "orders".to_owned(),
            queues: Some(vec![0]),
            term_ms: 60_000,
        };
        let session = SessionInfo {
            connection: 1,
            client_id: "m".to_owned(),
            peer: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
        };
        lease_acquire::handle(&shard, &session, request)
            .await
            .expect("granted");
        assert_eq!(target(0).await, dead);
        pass(&shard, 61).await;
        assert_eq!(target(0).await, Retry::Again);
    });
}
