//! Consumers that retention overtook: they go on where the queue begins, and ask no more often than is of use.

mod common;

use common::{Cluster, TOPIC, eventually, within};
use ringmq::{Client, Consumer, Message, StartAt};
use std::time::Duration;

/// The least time between two questions for what is not there.
const BACK_OFF: Duration = Duration::from_millis(500);

async fn send_numbers(client: &Client, numbers: std::ops::Range<u32>, queue: u32) {
    let producer = client.producer().batch_messages(1).build();
    for n in numbers {
        let message = Message::new(TOPIC, n.to_string()).queue(queue);
        drop(producer.enqueue(message).await.expect("there is room"));
    }
    within(20, producer.close()).await.expect("stored");
}

async fn from_the_start(client: &Client) -> Consumer {
    let builder = client.consumer().topic(TOPIC).start_at(StartAt::Earliest);
    builder.build().await.expect("the topic exists")
}

/// The next `count` messages: queue and number.
async fn read(consumer: &mut Consumer, count: usize) -> Vec<(u32, u32)> {
    let mut read = Vec::new();
    for _ in 0..count {
        let message = within(15, consumer.next()).await.expect("open");
        let message = message.expect("retention is no error");
        let number = std::str::from_utf8(message.body()).expect("text").parse();
        read.push((message.queue().queue, number.expect("a number")));
        message.ack();
    }
    read
}

#[tokio::test]
async fn it_goes_on_where_the_queue_begins() {
    let cluster = Cluster::start(1, 1).await;
    let client = cluster.client().await;
    send_numbers(&client, 0..20, 0).await;
    let queue = |change: fn(&mut common::model::QueueLog)| {
        change(cluster.shard(0).queues.get_mut(&0).expect("the queue"));
    };
    queue(|log| log.min_offset = 8);
    let mut consumer = from_the_start(&client).await;
    let expected: Vec<_> = (8..20).map(|n| (0, n)).collect();
    assert_eq!(read(&mut consumer, 12).await, expected);
    assert_eq!(cluster.shard(0).queues[&0].denials.len(), 1, "asked once");
    // What it has read may go.
    queue(|log| log.min_offset = 20);
    send_numbers(&client, 20..30, 0).await;
    let expected: Vec<_> = (20..30).map(|n| (0, n)).collect();
    assert_eq!(read(&mut consumer, 10).await, expected);
    assert_eq!(cluster.shard(0).queues[&0].denials.len(), 1);
}

#[tokio::test]
async fn it_asks_seldom_and_holds_nothing_up_where_nobody_tells_it_better() {
    let cluster = Cluster::start(1, 2).await;
    let client = cluster.client().await;
    cluster
        .shard(0)
        .queues
        .get_mut(&0)
        .expect("the queue")
        .denies_all = true;
    send_numbers(&client, 0..10, 0).await;
    let mut consumer = from_the_start(&client).await;
    let mut sent = 0;
    // The other queue is served all the while.
    while cluster.shard(0).queues[&0].denials.len() < 4 {
        send_numbers(&client, sent..sent + 5, 1).await;
        let expected: Vec<_> = (sent..sent + 5).map(|n| (1, n)).collect();
        assert_eq!(read(&mut consumer, 5).await, expected);
        sent += 5;
    }
    {
        let mut shard = cluster.shard(0);
        let log = shard.queues.get_mut(&0).expect("the queue");
        for pair in log.denials.windows(2) {
            assert!(pair[1] - pair[0] >= BACK_OFF, "{:?}", log.denials);
        }
        log.denies_all = false;
    }
    let expected: Vec<_> = (0..10).map(|n| (0, n)).collect();
    assert_eq!(read(&mut consumer, 10).await, expected);
    eventually("the end is known", || {
        let positions = consumer.positions();
        positions.iter().all(|position| position.lag() == Some(0))
    })
    .await;
}

/// Nothing else is served, so nothing else wakes the fetcher.
#[tokio::test]
async fn a_lone_queue_that_rests_is_asked_for_again_when_its_rest_is_over() {
    let cluster = Cluster::start(1, 1).await;
    let client = cluster.client().await;
    let deny = |denies| {
        let mut shard = cluster.shard(0);
        shard.queues.get_mut(&0).expect("the queue").denies_all = denies;
    };
    deny(true);
    let mut consumer = from_the_start(&client).await;
    eventually("it asks again and again", || {
        cluster.shard(0).queues[&0].denials.len() == 4
    })
    .await;
    let shortest = {
        let shard = cluster.shard(0);
        let pairs = shard.queues[&0].denials.windows(2);
        pairs.map(|pair| pair[1] - pair[0]).min()
    };
    // A busy machine may lengthen some of them, hardly all of them.
    let shortest = shortest.expect("three of them");
    assert!((BACK_OFF..4 * BACK_OFF).contains(&shortest), "{shortest:?}");
    deny(false);
    send_numbers(&client, 0..5, 0).await;
    let expected: Vec<_> = (0..5).map(|n| (0, n)).collect();
    assert_eq!(read(&mut consumer, 5).await, expected);
}
