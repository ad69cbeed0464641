//! One shard on the simulated disk, and short ways to ask it.

use crate::handler::{
    Refusal, SessionInfo, lease_acquire, lease_release, offset_commit, offset_fetch, topic_create,
    topic_delete, topic_update,
};
use crate::limits::Limits;
use crate::node::{NodeHandle, ShardCommand};
use crate::shard::{Shard, ShardSettings};
use crate::state::ShardState;
use ringmq_storage_engine::disk::sim::SimDisk;
use ringmq_storage_engine::position::{Position, QueueHandle};
use ringmq_storage_engine::runtime::sim::SimRuntime;
use ringmq_storage_engine::store::{Store, StoreOptions};
use ringmq_wire::batch::{BatchBuilder, BatchOptions, Record};
use ringmq_wire::codes::ErrorCode;
use ringmq_wire::native::schema::{
    CommittedOffsetT, LeaseAcquireRequestT, LeaseReleaseRequestT, OffsetCommitRequestT,
    OffsetCommitT, OffsetFetchRequestT, QueueLeaseT, TopicCreateRequestT, TopicCreateResponseT,
    TopicDeleteRequestT, TopicRecordT, TopicSettingsT, TopicUpdateRequestT, TopicUpdateResponseT,
};
use std::net::{Ipv4Addr, SocketAddr};

pub const SHARD: &str = "s00-a";
pub const GROUP: &str = "audit";

pub type SimShard = Shard<SimDisk, SimRuntime>;

pub struct World {
    pub shard: SimShard,
    pub session: SessionInfo,
    _mailbox: flume::Receiver<ShardCommand>,
}

impl World {
    pub async fn open(disk: &SimDisk, runtime: &SimRuntime) -> Self {
        Self::open_with(disk, runtime, StoreOptions::test_min()).await
    }

    pub async fn open_with(disk: &SimDisk, runtime: &SimRuntime, options: StoreOptions) -> Self {
        let state = ShardState::default();
        let store = Store::open(disk.clone(), runtime.clone(), options, state).await;
        let store = store.expect("the store opens");
        assert_eq!(store.with_state(|state| state.defect().cloned()), None);
        let (node, mailbox) = NodeHandle::detached("a");
        let mut settings = ShardSettings::new("test", "a", 0, Limits::TEST_MIN);
        settings.retention_ms = Some(1_000_000);
        Self {
            shard: Shard::new(settings, store, runtime.clone(), node),
            session: SessionInfo {
                connection: 1,
                client_id: "test".to_owned(),
                peer: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
            },
            _mailbox: mailbox,
        }
    }

    pub async fn create(
        &self,
        name: &str,
        incarnation: u64,
        queues: u32,
    ) -> Result<TopicCreateResponseT, Refusal> {
        let request = TopicCreateRequestT {
            topic: Box::new(record(name, incarnation, queues)),
            automatic: false,
        };
        topic_create::handle(&self.shard, &self.session, request).await
    }

    pub async fn update(
        &self,
        name: &str,
        queues: u32,
        settings: Option<TopicSettingsT>,
    ) -> Result<TopicUpdateResponseT, Refusal> {
        let request = TopicUpdateRequestT {
            name: name.to_owned(),
            queues,
            settings: settings.map(Box::new),
        };
        topic_update::handle(&self.shard, &self.session, request).await
    }

    pub async fn delete(&self, name: &str, incarnation: u64) -> Result<bool, Refusal> {
        let request = TopicDeleteRequestT {
            name: name.to_owned(),
            incarnation_high: 0,
            incarnation_low: incarnation,
        };
        let response = topic_delete::handle(&self.shard, &self.session, request).await;
        response.map(|response| response.existed)
    }

    pub async fn acquire(
        &self,
        member: &str,
        topic: &str,
        queues: &[u32],
    ) -> Result<Vec<QueueLeaseT>, Refusal> {
        let request = LeaseAcquireRequestT {
            group: GROUP.to_owned(),
            member: member.to_owned(),
            topic: topic.to_owned(),
            queues: Some(queues.to_vec()),
            term_ms: 5_000,
        };
        let response = lease_acquire::handle(&self.shard, &self.session, request).await;
        response.map(|response| response.leases.expect("always there"))
    }

    pub async fn release(&self, member: &str, topic: &str, queues: &[u32]) -> Vec<u16> {
        let request = LeaseReleaseRequestT {
            group: GROUP.to_owned(),
            member: member.to_owned(),
            topic: topic.to_owned(),
            queues: Some(queues.to_vec()),
        };
        let response = lease_release::handle(&self.shard, &self.session, request).await;
        response.expect("answered").errors.expect("always there")
    }

    pub async fn commit(
        &self,
        member: &str,
        commits: Vec<OffsetCommitT>,
    ) -> Result<Vec<u16>, Refusal> {
        let request = OffsetCommitRequestT {
            group: GROUP.to_owned(),
            member: Some(member.to_owned()),
            commits: Some(commits),
        };
        let response = offset_commit::handle(&self.shard, &self.session, request).await;
        response.map(|response| response.errors.expect("always there"))
    }

    pub async fn committed(&self, topic: &str, queues: &[u32]) -> Vec<CommittedOffsetT> {
        let request = OffsetFetchRequestT {
            group: GROUP.to_owned(),
            topic: topic.to_owned(),
            queues: Some(queues.to_vec()),
        };
        let response = offset_fetch::handle(&self.shard, &self.session, request).await;
        response.expect("answered").offsets.expect("always there")
    }

    /// Appends one batch of so many messages; returns its end.
    pub fn append(&self, handle: QueueHandle, messages: usize) -> Position {
        let store = self.shard.store();
        let base = self
            .shard
            .with_state(|state| state.queue(handle).map(|q| q.next_offset));
        let mut builder = BatchBuilder::new();
        for _ in 0..messages {
            let record = Record {
                born_time_ms: 0,
                keys: &[],
                tag: "",
                properties: &[],
                envelope: None,
                body: b"body",
            };
            builder.push(&record).expect("small");
        }
        let batch = builder.finish(&BatchOptions::default()).expect("not empty");
        let base = base.expect("the queue exists");
        store
            .append_batch(handle, base, &batch)
            .expect("appended")
            .end
    }

    pub async fn produce(&self, handle: QueueHandle, messages: usize) {
        let end = self.append(handle, messages);
        self.shard.store().durable(end).await.expect("durable");
    }

    pub fn handle(&self, topic: &str, queue: u32) -> QueueHandle {
        let found = self
            .shard
            .with_state(|state| state.topic(topic).and_then(|t| t.handle(queue)));
        found.expect("the queue is here")
    }

    /// What the node registers: names and versions.
    pub fn shares(&self) -> Vec<(String, u64)> {
        let node = self.shard.node();
        node.shares(0, |table| {
            table
                .iter()
                .map(|topic| (topic.name.clone(), topic.version))
                .collect()
        })
    }
}

pub fn record(name: &str, incarnation: u64, queues: u32) -> TopicRecordT {
    TopicRecordT {
        name: name.to_owned(),
        incarnation_high: 0,
        incarnation_low: incarnation,
        queues,
        placement: Some(vec![SHARD.to_owned()]),
        settings: None,
        version: 0,
    }
}

pub fn commit_of(topic: &str, queue: u32, offset: u64, lease: u64) -> OffsetCommitT {
    OffsetCommitT {
        topic: topic.to_owned(),
        queue,
        offset,
        lease,
    }
}

pub fn code<T: std::fmt::Debug>(outcome: Result<T, Refusal>) -> ErrorCode {
    outcome.expect_err("refused").code
}
