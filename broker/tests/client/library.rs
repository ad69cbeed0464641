//! The client library against the real program on a real disk, killed and started again.

use crate::program::{self, scratch, within};
use ringmq::{
    Client, ErrorCode, Message, OffsetSpec, Queue, Received, StartAt, TopicSpec, TopicUpdate,
};
use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};
use tokio::process::Child;

/// A `dev` broker; killed when dropped.
struct Broker {
    child: Child,
    namesrv: String,
}

impl Broker {
    /// Shards get free ports at each start, so every restart also moves them. Port 0 for the name server picks one.
    async fn start(directory: &Path, namesrv_port: &str) -> Self {
        let arguments = ["dev", "--shards", "2", "--port", "0", "--admin-port", "0"];
        let namesrv = ["--namesrv-port", namesrv_port];
        let (child, ready) = program::start(directory, &[&arguments[..], &namesrv].concat()).await;
        let mut words = ready.split(' ');
        let namesrv = words
            .find_map(|word| word.strip_prefix("namesrv="))
            .expect("dev has a name server of its own")
            .to_owned();
        Self { child, namesrv }
    }

    async fn kill(&mut self) {
        self.child.kill().await.expect("it ran");
    }

    async fn restart(&mut self, directory: &Path) {
        self.kill().await;
        let port = self
            .namesrv
            .rsplit(':')
            .next()
            .expect("host:port")
            .to_owned();
        *self = Self::start(directory, &port).await;
    }

    async fn client(&self) -> Client {
        let builder = Client::builder().namesrv([self.namesrv.clone()]);
        builder
            .request_timeout(Duration::from_secs(30))
            .build()
            .await
            .expect("it is up")
    }
}

fn number(message: &Received) -> u64 {
    std::str::from_utf8(message.body())
        .expect("text")
        .parse()
        .expect("a number")
}

const QUEUES: u64 = 4;
const MESSAGES: u64 = 12_000;

/// Sends numbers, number n to queue n mod 4, slowly enough for the kills to hit.
async fn produce(client: Client) {
    let producer = client.producer().batch_messages(50).build();
    for n in 0..MESSAGES {
        let message = Message::new("t", n.to_string()).queue((n % QUEUES) as u32);
        drop(producer.enqueue(message).await.expect("there is room"));
        if n % 100 == 99 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    producer.close().await.expect("every message is stored");
}

/// Reads as a group member until every number was seen; per queue they rise, except where a restart repeats some.
async fn consume(client: Client) {
    let builder = client
        .consumer()
        .topic("t")
        .group("g")
        .start_at(StartAt::Earliest);
    let mut consumer = builder
        .session_timeout(Duration::from_secs(5))
        .build()
        .await
        .expect("exists");
    let mut seen = vec![0u32; MESSAGES as usize];
    let mut missing = MESSAGES;
    let mut last: BTreeMap<u32, u64> = BTreeMap::new();
    while missing > 0 {
        let message = consumer.next().await.expect("open").expect("no damage");
        let (n, queue) = (number(&message), message.queue().queue);
        assert_eq!(
            message.offset(),
            n / QUEUES,
            "the offset is the place in the queue"
        );
        let before = last.insert(queue, n);
        let gap = before.is_some_and(|before| n > before + QUEUES);
        assert!(!gap, "queue {queue}: {n} after {before:?}");
        missing -= u64::from(seen[n as usize] == 0);
        seen[n as usize] += 1;
        message.ack();
    }
    consumer.close().await.expect("committed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_lose_nothing_double_nothing_and_keep_order() {
    let directory = scratch();
    let data = directory.path().join("data");
    let mut broker = Broker::start(&data, "0").await;
    let admin = broker.client().await.admin();
    admin
        .create_topic(&TopicSpec::new("t", QUEUES as u32))
        .await
        .expect("created");
    let producing = tokio::spawn(produce(broker.client().await));
    let consuming = tokio::spawn(consume(broker.client().await));
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(700)).await;
        broker.restart(&data).await;
    }
    within(90, producing).await.expect("no panic");
    within(60, consuming).await.expect("no panic");

    let client = broker.client().await;
    let builder = client.consumer().topic("t").start_at(StartAt::Earliest);
    let mut consumer = builder.build().await.expect("exists");
    let mut next: Vec<u64> = (0..QUEUES).collect();
    for _ in 0..MESSAGES {
        let message = within(30, consumer.next())
            .await
            .expect("open")
            .expect("no damage");
        let expected = &mut next[message.queue().queue as usize];
        assert_eq!(number(&message), *expected, "once each, in order");
        *expected += QUEUES;
    }
    let group = client
        .admin()
        .describe_group("g")
        .await
        .expect("it committed");
    assert_eq!(group.queues.iter().map(|queue| queue.lag()).sum::<u64>(), 0);
    assert!(group.members.is_empty(), "it left: {:?}", group.members);
}

#[tokio::test]
async fn topics_live_from_creation_to_deletion() {
    let directory = scratch();
    let broker = Broker::start(&directory.path().join("data"), "0").await;
    let client = broker.client().await;
    let admin = client.admin();
    let spec = TopicSpec::new("orders", 5).retention(Duration::from_secs(3600));
    let created = admin.create_topic(&spec).await.expect("created");
    assert_eq!((created.queues, created.placement.len()), (5, 2));
    assert_eq!(created.retention, Some(Duration::from_secs(3600)));
    let again = admin.create_topic(&spec).await.expect("repeating is fine");
    assert_eq!(again.incarnation, created.incarnation);
    let other = admin
        .create_topic(&TopicSpec::new("orders", 6))
        .await
        .expect_err("another size");
    assert_eq!(other.code(), Some(ErrorCode::TopicExists));
    assert!(
        admin
            .create_topic(&TopicSpec::new("no good", 1))
            .await
            .is_err()
    );
    assert_eq!(admin.list_topics().await.expect("listed").len(), 1);

    let update = TopicUpdate {
        queues: Some(8),
        retention: Some(None),
        ..Default::default()
    };
    let updated = admin
        .update_topic("orders", &update)
        .await
        .expect("updated");
    assert_eq!((updated.queues, updated.retention), (8, None));
    let described = admin.describe_topic("orders").await.expect("described");
    assert_eq!(described.queues.len(), 8);
    assert!(described.unreachable.is_empty());

    assert!(admin.delete_topic("orders").await.expect("deleted"));
    assert!(!admin.delete_topic("orders").await.expect("gone already"));
    let status = admin.cluster_status().await.expect("asked");
    assert_eq!(status.shards.len(), 2);
    for shard in status.shards {
        let state = shard.state.expect("it answers");
        assert_eq!((state.health.as_str(), state.topics), ("ok", 0));
    }
}

#[tokio::test]
async fn messages_are_found_by_offset_position_and_key() {
    let directory = scratch();
    let broker = Broker::start(&directory.path().join("data"), "0").await;
    let client = broker.client().await;
    // Made by itself, by the broker's defaults.
    let producer = client.producer().build();
    let message = Message::new("auto", "hello")
        .key("k1")
        .key("k2")
        .tag("g")
        .property("a", "b");
    let receipt = producer.send(message).await.expect("stored");
    producer
        .send(Message::new("auto", "other").key("k3"))
        .await
        .expect("stored");

    let admin = client.admin();
    let offset = receipt.offset.expect("answered");
    let found = admin
        .message_at_offset("auto", receipt.queue, offset)
        .await
        .expect("asked");
    let found = found.expect("it is there");
    assert_eq!(&found.body[..], b"hello");
    assert_eq!(found.keys, ["k1", "k2"]);
    assert_eq!(
        (found.tag.as_deref(), found.properties.len()),
        (Some("g"), 1)
    );
    assert_eq!(Some(found.position), receipt.position);
    let nothing = admin
        .message_at_offset("auto", receipt.queue, 1000)
        .await
        .expect("asked");
    assert!(nothing.is_none());
    let by_position = admin
        .messages_at_position(Some(&found.shard), found.position)
        .await;
    assert_eq!(by_position.expect("asked"), std::slice::from_ref(&found));
    let by_key = admin
        .messages_by_key("auto", "k2", 10)
        .await
        .expect("asked");
    assert_eq!(by_key, [found]);
    assert!(
        admin
            .messages_by_key("auto", "nothing", 10)
            .await
            .expect("asked")
            .is_empty()
    );
}

#[tokio::test]
async fn groups_share_move_and_are_reset() {
    let directory = scratch();
    let broker = Broker::start(&directory.path().join("data"), "0").await;
    let client = broker.client().await;
    let admin = client.admin();
    admin
        .create_topic(&TopicSpec::new("t", 4))
        .await
        .expect("created");
    let producer = client.producer().build();
    for n in 0..40u32 {
        producer
            .send(Message::new("t", n.to_string()).queue(n % 4))
            .await
            .expect("stored");
    }
    let member = || {
        client
            .consumer()
            .topic("t")
            .group("g")
            .start_at(StartAt::Earliest)
    };
    let member = || member().session_timeout(Duration::from_secs(3));
    let mut first = member().build().await.expect("exists");
    assert_eq!(first.positions().len(), 4);
    let second = member().build().await.expect("exists");
    let deadline = Instant::now() + Duration::from_secs(20);
    while (first.positions().len(), second.positions().len()) != (2, 2) {
        assert!(Instant::now() < deadline, "the members share");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let described = admin.describe_group("g").await.expect("described");
    assert_eq!(described.members.len(), 2);
    assert_eq!(
        described
            .queues
            .iter()
            .filter(|queue| queue.holder.is_some())
            .count(),
        4
    );
    let refused = admin.delete_group("g").await.expect_err("it has members");
    assert_eq!(refused.code(), Some(ErrorCode::GroupNotEmpty));

    second.close().await.expect("left");
    let mut read = 0;
    while read < 40 {
        within(20, first.next())
            .await
            .expect("open")
            .expect("no damage")
            .ack();
        read += 1;
    }
    first.close().await.expect("committed");
    let lag = |group: &ringmq::GroupDescription| group.queues.iter().map(|q| q.lag()).sum::<u64>();
    assert_eq!(lag(&admin.describe_group("g").await.expect("described")), 0);

    let to = OffsetSpec::Offset(7);
    let reset = admin
        .reset_offsets("g", "t", None, to, false)
        .await
        .expect("nobody reads");
    assert_eq!(reset.len(), 4);
    assert!(
        reset
            .iter()
            .all(|reset| *reset.offset.as_ref().expect("reset") == 7),
        "{reset:?}"
    );
    assert_eq!(
        lag(&admin.describe_group("g").await.expect("described")),
        12
    );
    let to = OffsetSpec::Earliest;
    let one = admin
        .reset_offsets("g", "t", Some(&[2]), to, false)
        .await
        .expect("nobody reads");
    assert_eq!((one.len(), &one[0].queue), (1, &Queue::new("t", 2)));
    assert_eq!(admin.list_groups().await.expect("listed").len(), 1);
    assert!(admin.delete_group("g").await.expect("deleted"));
    let gone = admin.describe_group("g").await.expect_err("deleted");
    assert_eq!(gone.code(), Some(ErrorCode::GroupNotFound));
}
