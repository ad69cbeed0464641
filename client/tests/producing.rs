//! The producer against shards that refuse, break and restart.

mod common;

use common::{Cluster, TOPIC, eventually, model::Fault, server::Server, within};
use ringmq::{Acks, Compression, ErrorCode, Message, Producer};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

async fn enqueue_all(producer: &Producer, count: usize) -> Vec<ringmq::Delivery> {
    let mut deliveries = Vec::new();
    for n in 0..count {
        let message = Message::new(TOPIC, format!("{n}"));
        deliveries.push(producer.enqueue(message).await.expect("there is room"));
    }
    deliveries
}

fn expected(count: usize) -> Vec<String> {
    (0..count).map(|n| n.to_string()).collect()
}

#[tokio::test]
async fn receipts_name_the_place_and_compression_changes_nothing() {
    let cluster = Cluster::start(1, 1).await;
    let client = cluster.client().await;
    for (round, compression) in [Compression::None, Compression::Lz4, Compression::Zstd]
        .into_iter()
        .enumerate()
    {
        let producer = client.producer().compression(compression).build();
        let message = Message::new(TOPIC, "x".repeat(1000))
            .key("k")
            .tag("g")
            .property("a", "b");
        let receipt = within(10, producer.send(message)).await.expect("stored");
        assert_eq!((receipt.queue, receipt.offset), (0, Some(round as u64)));
        assert!(receipt.position.is_some());
    }
    assert_eq!(cluster.shard(0).bodies(0), vec!["x".repeat(1000); 3]);
}

#[tokio::test]
async fn order_holds_through_every_kind_of_fault() {
    use Fault::{BreakAfter, BreakBefore, Busy, Fine};
    let cluster = Cluster::start(1, 1).await;
    let client = cluster.client().await;
    let producer = client
        .producer()
        .batch_messages(3)
        .linger(Duration::ZERO)
        .build();
    cluster.fault(
        0,
        [
            Fine,
            Busy,
            Fine,
            BreakBefore,
            Fine,
            BreakAfter,
            Busy,
            Busy,
            BreakAfter,
        ],
    );
    cluster.fault(0, [Fine, Fine, BreakBefore, BreakAfter, Fine, Busy]);
    let deliveries = enqueue_all(&producer, 200).await;
    let mut offsets = Vec::new();
    for delivery in deliveries {
        offsets.push(
            within(20, delivery)
                .await
                .expect("stored")
                .offset
                .expect("answered"),
        );
    }
    assert!(offsets.is_sorted(), "{offsets:?}");
    assert_eq!(
        cluster.shard(0).bodies(0),
        expected(200),
        "once each, in order"
    );
    assert!(cluster.shard(0).faults.is_empty(), "all faults happened");
}

#[tokio::test]
async fn an_answer_that_never_comes_is_asked_for_again() {
    let cluster = Cluster::start(1, 1).await;
    let client = cluster.client().await;
    let producer = client
        .producer()
        .request_timeout(Duration::from_millis(200))
        .build();
    cluster.fault(0, [Fault::Silent, Fault::Silent]);
    let receipt = within(10, producer.send(Message::new(TOPIC, "0")))
        .await
        .expect("stored");
    assert_eq!(receipt.offset, Some(0));
    assert_eq!(cluster.shard(0).bodies(0), ["0"], "stored once");
    assert!(cluster.shard(0).produce_requests >= 3);
}

#[tokio::test]
async fn a_rejected_batch_gives_its_messages_back_and_holds_up_nothing() {
    let cluster = Cluster::start(1, 1).await;
    let client = cluster.client().await;
    let producer = client
        .producer()
        .batch_messages(1)
        .linger(Duration::ZERO)
        .build();
    cluster.fault(0, [Fault::Fine, Fault::Reject]);
    let mut outcomes = Vec::new();
    for delivery in enqueue_all(&producer, 20).await {
        outcomes.push(within(10, delivery).await);
    }
    let error = outcomes.remove(1).expect_err("rejected");
    assert_eq!(&error.message().body[..], b"1");
    assert!(!error.is_retryable() && !error.maybe_stored());
    assert_eq!(error.error().code(), Some(ErrorCode::TopicNotWritable));
    assert!(outcomes.iter().all(Result::is_ok));
    let mut rest = expected(20);
    rest.remove(1);
    assert_eq!(cluster.shard(0).bodies(0), rest);
}

#[tokio::test]
async fn deadlines_tell_lost_from_doubtful() {
    let mut cluster = Cluster::start(1, 1).await;
    let client = cluster.client().await;
    let producer = client
        .producer()
        .request_timeout(Duration::from_millis(100))
        .build();
    within(10, producer.send(Message::new(TOPIC, "0")))
        .await
        .expect("stored");

    cluster.fault(0, vec![Fault::Silent; 100]);
    let message = Message::new(TOPIC, "1").deadline(Duration::from_millis(400));
    let error = within(10, producer.send(message))
        .await
        .expect_err("never answered");
    assert!(error.maybe_stored() && error.is_retryable(), "{error}");

    cluster.shard(0).faults.clear();
    cluster.stop(0).await;
    let message = Message::new(TOPIC, "2").deadline(Duration::from_millis(400));
    let error = within(10, producer.send(message))
        .await
        .expect_err("nobody there");
    assert!(!error.maybe_stored(), "{error}");

    cluster.start_again(0).await;
    within(10, producer.send(Message::new(TOPIC, "3")))
        .await
        .expect("stored");
    assert_eq!(cluster.shard(0).bodies(0), ["0", "1", "3"]);
}

#[tokio::test]
async fn a_restart_at_another_address_heals_without_loss_or_doubles() {
    let mut cluster = Cluster::start(2, 4).await;
    let client = cluster.client().await;
    let producer = client.producer().batch_messages(2).build();
    let mut deliveries = Vec::new();
    for round in 0..5 {
        for n in 0..100 {
            let message = Message::new(TOPIC, format!("{}", round * 100 + n)).queue(n % 4);
            deliveries.push(producer.enqueue(message).await.expect("there is room"));
        }
        cluster.stop(round as usize % 2).await;
        cluster.start_elsewhere(round as usize % 2).await;
    }
    for delivery in deliveries {
        within(30, delivery).await.expect("stored");
    }
    for queue in 0..4 {
        let bodies = cluster.shard(queue as usize % 2).bodies(queue);
        let numbers: Vec<u32> = bodies
            .iter()
            .map(|b| b.parse().expect("a number"))
            .collect();
        assert_eq!(
            numbers,
            (0..500).filter(|n| n % 4 == queue).collect::<Vec<_>>()
        );
    }
}

/// What listens where a shard was: a name server, or another shard of the same topic.
#[tokio::test]
async fn who_took_the_address_of_a_shard_gets_none_of_its_messages() {
    let mut cluster = Cluster::start(2, 2).await;
    let client = cluster.client().await;
    let producer = client.producer().build();
    let port = cluster.servers[0].port();
    for (round, another) in [cluster.route_handler(), cluster.shard_handler(1)]
        .into_iter()
        .enumerate()
    {
        cluster.stop(0).await;
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let newcomer = Server::start(
            port,
            Arc::new(move |request| {
                counted.fetch_add(1, Ordering::Relaxed);
                another(request)
            }),
        );
        let mut newcomer = newcomer.await;
        let message = Message::new(TOPIC, round.to_string()).queue(0);
        let delivery = producer.enqueue(message).await.expect("there is room");
        eventually("it was tried at the address twice", || {
            asked.load(Ordering::Relaxed) >= 2
        })
        .await;
        newcomer.stop().await;
        cluster.start_again(0).await;
        within(20, delivery).await.expect("stored");
    }
    assert_eq!(cluster.shard(0).bodies(0), ["0", "1"]);
    assert_eq!(cluster.shard(1).produce_requests, 0);
}

#[tokio::test]
async fn dropped_deliveries_are_sent_all_the_same_and_flush_tells_of_failures() {
    let cluster = Cluster::start(1, 1).await;
    let client = cluster.client().await;
    let producer = client.producer().build();
    drop(enqueue_all(&producer, 50).await);
    within(10, producer.flush()).await.expect("nothing failed");
    assert_eq!(cluster.shard(0).bodies(0), expected(50));

    cluster.fault(0, [Fault::Reject]);
    drop(
        producer
            .enqueue(Message::new(TOPIC, "lost"))
            .await
            .expect("there is room"),
    );
    let error = within(10, producer.flush())
        .await
        .expect_err("nobody else could know");
    assert_eq!(error.code(), Some(ErrorCode::TopicNotWritable));
    within(10, producer.close()).await.expect("told once only");
    let late = producer
        .send(Message::new(TOPIC, "late"))
        .await
        .expect_err("closed");
    assert_eq!(&late.into_message().body[..], b"late");
}

#[tokio::test]
async fn memory_is_bounded_and_comes_back() {
    let mut cluster = Cluster::start(1, 1).await;
    let client = cluster.client().await;
    let producer = client.producer().memory_bytes(10_000).build();
    within(10, producer.send(Message::new(TOPIC, "0")))
        .await
        .expect("stored");
    cluster.stop(0).await;
    let mut deliveries = Vec::new();
    for _ in 0..4 {
        let message = Message::new(TOPIC, vec![b'x'; 2000]);
        deliveries.push(
            within(5, producer.enqueue(message))
                .await
                .expect("there is room"),
        );
    }
    let one_more = producer.enqueue(Message::new(TOPIC, vec![b'x'; 2000]));
    let waited = tokio::time::timeout(Duration::from_millis(100), one_more).await;
    assert!(waited.is_err(), "the fifth must wait");
    cluster.start_again(0).await;
    for delivery in deliveries {
        within(10, delivery).await.expect("stored");
    }
    let whole = within(5, producer.send(Message::new(TOPIC, vec![b'x'; 9000]))).await;
    whole.expect("all memory is free again, also that of the enqueue that was given up");
}

#[tokio::test]
async fn without_acks_nothing_is_awaited() {
    let cluster = Cluster::start(1, 1).await;
    let client = cluster.client().await;
    let producer = client.producer().acks(Acks::None).build();
    let receipt = within(10, producer.send(Message::new(TOPIC, "0")))
        .await
        .expect("written");
    assert_eq!(receipt.offset, None);
    eventually("the message arrives", || {
        cluster.shard(0).bodies(0) == ["0"]
    })
    .await;
}

#[tokio::test]
async fn cached_routes_carry_on_without_a_name_server() {
    let mut cluster = Cluster::start(1, 1).await;
    let client = cluster.client().await;
    let producer = client.producer().build();
    within(10, producer.send(Message::new(TOPIC, "0")))
        .await
        .expect("stored");
    cluster.namesrv.stop().await;
    cluster.stop(0).await;
    cluster.start_again(0).await;
    within(10, producer.send(Message::new(TOPIC, "1")))
        .await
        .expect("stored");
    assert_eq!(cluster.shard(0).bodies(0), ["0", "1"]);
}

#[tokio::test]
async fn keys_choose_queues_and_bad_queues_are_refused() {
    let cluster = Cluster::start(1, 4).await;
    let client = cluster.client().await;
    let producer = client.producer().build();
    let mut queues = std::collections::BTreeSet::new();
    for _ in 0..10 {
        let message = Message::new(TOPIC, "x").key("same");
        queues.insert(
            within(10, producer.send(message))
                .await
                .expect("stored")
                .queue,
        );
    }
    assert_eq!(queues.len(), 1);
    let error = producer
        .send(Message::new(TOPIC, "x").queue(4))
        .await
        .expect_err("no such queue");
    assert!(error.to_string().contains("queue 4"), "{error}");
    let error = producer
        .send(Message::new("no such topic!", "x"))
        .await
        .expect_err("bad name");
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn any_name_server_will_do_and_routes_are_pushed_by_the_one_that_is_left() {
    let mut cluster = Cluster::start(1, 1).await;
    let second = cluster.second_name_server().await;
    // Takes connections and never says a word.
    let mute = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let mute = mute.local_addr().expect("it is bound").to_string();
    let servers = [mute, cluster.namesrv.address(), second.address()];
    for first in 0..3 {
        let mut servers = servers.clone();
        servers.rotate_left(first);
        let client = ringmq::Client::builder().namesrv(servers).build();
        let client = within(10, client).await.expect("two of three answer");
        let producer = client.producer().build();
        within(10, producer.send(Message::new(TOPIC, "x")))
            .await
            .expect("stored");
    }
    let client = ringmq::Client::builder()
        .namesrv(servers)
        .build()
        .await
        .expect("as before");
    let producer = client.producer().build();
    within(10, producer.send(Message::new(TOPIC, "before")))
        .await
        .expect("stored");
    cluster.namesrv.stop().await;
    cluster.stop(0).await;
    cluster.start_elsewhere(0).await;
    within(20, producer.send(Message::new(TOPIC, "after")))
        .await
        .expect("found where it moved");
    drop(second);
}
