//! Consumers against the cluster in memory.

mod common;

use common::{Cluster, TOPIC, eventually, within};
use ringmq::{Client, Consumer, ErrorKind, Message, Queue, Received, StartAt};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

async fn send_numbers(client: &Client, numbers: std::ops::Range<u32>, queues: u32) {
    let producer = client.producer().batch_messages(3).build();
    for n in numbers {
        let message = Message::new(TOPIC, n.to_string()).queue(n % queues);
        drop(producer.enqueue(message).await.expect("there is room"));
    }
    within(20, producer.close()).await.expect("stored");
}

async fn next(consumer: &mut Consumer) -> Received {
    let message = within(15, consumer.next()).await.expect("open");
    message.expect("no error")
}

fn number(message: &Received) -> u32 {
    std::str::from_utf8(message.body())
        .expect("text")
        .parse()
        .expect("a number")
}

/// Reads `count` messages; they must be in order within each queue.
async fn read(consumer: &mut Consumer, count: usize) -> BTreeMap<u32, Vec<u32>> {
    let mut read: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for _ in 0..count {
        let message = next(consumer).await;
        message.ack();
        read.entry(message.queue().queue)
            .or_default()
            .push(number(&message));
    }
    read
}

fn expected(numbers: std::ops::Range<u32>, queues: u32) -> BTreeMap<u32, Vec<u32>> {
    let mut expected: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    numbers.for_each(|n| expected.entry(n % queues).or_default().push(n));
    expected
}

#[tokio::test]
async fn without_a_group_everything_is_read_in_order_and_nothing_committed() {
    let cluster = Cluster::start(2, 4).await;
    let client = cluster.client().await;
    send_numbers(&client, 0..200, 4).await;
    let builder = client.consumer().topic(TOPIC).start_at(StartAt::Earliest);
    let mut consumer = builder.build().await.expect("the topic exists");
    assert_eq!(read(&mut consumer, 200).await, expected(0..200, 4));
    send_numbers(&client, 200..300, 4).await;
    assert_eq!(read(&mut consumer, 100).await, expected(200..300, 4));
    let positions = consumer.positions();
    assert_eq!(positions.len(), 4);
    eventually("the end is known", || {
        consumer
            .positions()
            .iter()
            .all(|position| position.lag() == Some(0))
    })
    .await;
    within(10, consumer.close())
        .await
        .expect("nothing to go wrong");
    assert!(cluster.shard(0).committed.is_empty());
}

#[tokio::test]
async fn a_closed_consumer_leaves_no_fetch_session_behind() {
    let cluster = Cluster::start(2, 4).await;
    let client = cluster.client().await;
    send_numbers(&client, 0..8, 4).await;
    for group in [None, Some("g")] {
        let builder = client.consumer().topic(TOPIC).start_at(StartAt::Earliest);
        let builder = group.into_iter().fold(builder, |b, group| b.group(group));
        let mut consumer = builder.build().await.expect("the topic exists");
        assert_eq!(read(&mut consumer, 8).await, expected(0..8, 4));
        let sessions = || cluster.shard(0).fetch_sessions() + cluster.shard(1).fetch_sessions();
        assert_eq!(sessions(), 2);
        within(10, consumer.close()).await.expect("closed");
        eventually("the sessions are closed", || sessions() == 0).await;
    }
}

#[tokio::test]
async fn latest_sees_only_what_is_sent_after_build() {
    let cluster = Cluster::start(1, 1).await;
    let client = cluster.client().await;
    send_numbers(&client, 0..10, 1).await;
    let mut consumer = client
        .consumer()
        .topic(TOPIC)
        .build()
        .await
        .expect("the topic exists");
    send_numbers(&client, 10..20, 1).await;
    assert_eq!(read(&mut consumer, 10).await, expected(10..20, 1));
}

#[tokio::test]
async fn a_small_prefetch_delivers_everything_too() {
    let cluster = Cluster::start(2, 8).await;
    let client = cluster.client().await;
    let producer = client.producer().batch_bytes(20_000).build();
    for n in 0..400u32 {
        let body = format!("{n:0>3000}");
        let message = Message::new(TOPIC, body).queue(n % 8);
        drop(producer.enqueue(message).await.expect("there is room"));
    }
    within(20, producer.close()).await.expect("stored");
    let builder = client.consumer().topic(TOPIC).start_at(StartAt::Earliest);
    let mut consumer = builder
        .prefetch_bytes(64 << 10)
        .build()
        .await
        .expect("the topic exists");
    assert_eq!(read(&mut consumer, 400).await, expected(0..400, 8));
}

#[tokio::test]
async fn shards_restart_elsewhere_and_nothing_is_missed_or_doubled() {
    let mut cluster = Cluster::start(2, 4).await;
    let client = cluster.client().await;
    let builder = client.consumer().topic(TOPIC).start_at(StartAt::Earliest);
    let mut consumer = builder.build().await.expect("the topic exists");
    for round in 0..4u32 {
        let numbers = round * 100..(round + 1) * 100;
        send_numbers(&client, numbers.clone(), 4).await;
        let first = read(&mut consumer, 30).await;
        cluster.stop(round as usize % 2).await;
        cluster.start_elsewhere(round as usize % 2).await;
        let mut all = read(&mut consumer, 70).await;
        for (queue, mut numbers) in first {
            numbers.append(all.entry(queue).or_default());
            all.insert(queue, numbers);
        }
        assert_eq!(all, expected(numbers, 4));
    }
}

#[tokio::test]
async fn commits_stop_at_the_first_open_message_and_the_next_member_starts_there() {
    let cluster = Cluster::start(1, 1).await;
    let client = cluster.client().await;
    send_numbers(&client, 0..10, 1).await;
    let group = || {
        client
            .consumer()
            .topic(TOPIC)
            .group("g")
            .start_at(StartAt::Earliest)
    };
    let mut consumer = group()
        .manual_commit()
        .build()
        .await
        .expect("the topic exists");
    let mut messages = Vec::new();
    for _ in 0..10 {
        messages.push(next(&mut consumer).await);
    }
    for (index, message) in messages.iter().enumerate() {
        if index != 4 {
            message.ack();
        }
    }
    within(10, consumer.commit())
        .await
        .expect("the lease is held");
    assert_eq!(cluster.shard(0).committed[&("g".to_owned(), 0)], 4);
    drop(messages);
    within(10, consumer.close()).await.expect("released");
    assert!(cluster.shard(0).leases.is_empty());

    let mut consumer = group().build().await.expect("the topic exists");
    assert_eq!(read(&mut consumer, 6).await, expected(4..10, 1));
    within(10, consumer.close()).await.expect("committed");
    assert_eq!(
        cluster.shard(0).committed[&("g".to_owned(), 0)],
        10,
        "automatic on close"
    );
}

#[tokio::test]
async fn refused_messages_come_again_and_hold_nothing_up() {
    let cluster = Cluster::start(1, 1).await;
    let client = cluster.client().await;
    send_numbers(&client, 0..5, 1).await;
    let builder = client
        .consumer()
        .topic(TOPIC)
        .group("g")
        .start_at(StartAt::Earliest);
    let builder = builder.nack_delay(Duration::from_millis(50));
    let mut consumer = builder.build().await.expect("the topic exists");
    let first = next(&mut consumer).await;
    assert_eq!((number(&first), first.attempt()), (0, 1));
    first.nack();
    assert_eq!(read(&mut consumer, 4).await, expected(1..5, 1));
    assert!(consumer.positions()[0].acked_offset == 0);
    let again = next(&mut consumer).await;
    assert_eq!((number(&again), again.attempt()), (0, 2));
    again.ack();
    eventually("committed by itself", || {
        cluster.shard(0).committed.get(&("g".to_owned(), 0)) == Some(&5)
    })
    .await;
}

#[tokio::test]
async fn members_share_queues_and_take_over_from_one_that_leaves() {
    let cluster = Cluster::start(2, 8).await;
    let client = cluster.client().await;
    let revoked = Arc::new(Mutex::new(Vec::<Queue>::new()));
    let seen = Arc::clone(&revoked);
    let member = || {
        let builder = client
            .consumer()
            .topic(TOPIC)
            .group("g")
            .start_at(StartAt::Earliest);
        builder.session_timeout(Duration::from_secs(2))
    };
    let first =
        member().on_revoked(move |queues| seen.lock().expect("ok").extend_from_slice(queues));
    let mut first = first.build().await.expect("the topic exists");
    assert_eq!(first.positions().len(), 8, "alone it has all");
    let mut second = member().build().await.expect("the topic exists");
    eventually("both have their half", || {
        first.positions().len() == 4 && second.positions().len() == 4
    })
    .await;
    assert_eq!(revoked.lock().expect("ok").len(), 4);
    let holders: std::collections::BTreeSet<_> = (0..2)
        .flat_map(|shard| {
            cluster
                .shard(shard)
                .leases
                .values()
                .map(|l| l.member.clone())
                .collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(holders.len(), 2);

    send_numbers(&client, 0..80, 8).await;
    let mut all = read(&mut first, 40).await;
    all.extend(read(&mut second, 40).await);
    assert_eq!(all, expected(0..80, 8));

    within(10, first.close()).await.expect("released");
    eventually("the other has all", || second.positions().len() == 8).await;
    send_numbers(&client, 80..160, 8).await;
    assert_eq!(
        read(&mut second, 80).await,
        expected(80..160, 8),
        "nothing again, nothing missed"
    );
}

#[tokio::test]
async fn a_lost_lease_ends_delivery_and_the_commit_is_refused() {
    let cluster = Cluster::start(1, 1).await;
    let client = cluster.client().await;
    send_numbers(&client, 0..10, 1).await;
    let builder = client
        .consumer()
        .topic(TOPIC)
        .group("g")
        .start_at(StartAt::Earliest);
    let mut consumer = builder
        .manual_commit()
        .build()
        .await
        .expect("the topic exists");
    let message = next(&mut consumer).await;
    let key = ("g".to_owned(), 0);
    let thief = common::model::Lease {
        member: "thief".to_owned(),
        id: 1,
    };
    cluster.shard(0).leases.insert(key.clone(), thief);
    message.ack();
    let error = within(10, consumer.commit())
        .await
        .expect_err("not ours any more");
    assert_eq!(error.code(), Some(ringmq::ErrorCode::LeaseLost));
    assert!(consumer.positions().is_empty());
    assert_eq!(cluster.shard(0).committed.get(&key), None);
    cluster.shard(0).leases.remove(&key);
    assert_eq!(
        number(&next(&mut consumer).await),
        0,
        "taken again from the last commit"
    );
}

#[tokio::test]
async fn pause_seek_and_resume() {
    let cluster = Cluster::start(1, 2).await;
    let client = cluster.client().await;
    send_numbers(&client, 0..40, 2).await;
    let builder = client.consumer().topic(TOPIC).start_at(StartAt::Earliest);
    let mut consumer = builder.build().await.expect("the topic exists");
    next(&mut consumer).await;
    let control = consumer.control();
    let (even, odd) = (Queue::new(TOPIC, 0), Queue::new(TOPIC, 1));
    control.pause(std::slice::from_ref(&even));
    within(10, control.seek(&odd, StartAt::Earliest))
        .await
        .expect("it is ours");
    let read_odd = read(&mut consumer, 20).await;
    assert_eq!(
        read_odd,
        BTreeMap::from([(1, (0..40).filter(|n| n % 2 == 1).collect())])
    );
    within(10, control.seek(&even, StartAt::Offset(15)))
        .await
        .expect("it is ours");
    let nothing = tokio::time::timeout(Duration::from_millis(300), consumer.next()).await;
    assert!(
        nothing.is_err(),
        "one queue is at its end, the other paused"
    );
    control.resume(&[even]);
    let rest = read(&mut consumer, 5).await;
    assert_eq!(rest, BTreeMap::from([(0, vec![30, 32, 34, 36, 38])]));
    let elsewhere = control
        .seek(&Queue::new("other", 0), StartAt::Earliest)
        .await;
    assert!(elsewhere.is_err());
}

#[tokio::test]
async fn damage_is_told_with_its_place_and_the_rest_goes_on() {
    let cluster = Cluster::start(1, 2).await;
    let client = cluster.client().await;
    send_numbers(&client, 0..12, 2).await;
    cluster.shard(0).damage(0, 0);
    let builder = client.consumer().topic(TOPIC).start_at(StartAt::Earliest);
    let mut consumer = builder.build().await.expect("the topic exists");
    let mut error = None;
    let mut good = Vec::new();
    for _ in 0..7 {
        match within(10, consumer.next()).await.expect("open") {
            Ok(message) => good.push(number(&message)),
            Err(e) => error = Some(e),
        }
    }
    let error = error.expect("the damage");
    assert!(
        matches!(error.kind(), ErrorKind::Damaged { offset: 0, .. }),
        "{error}"
    );
    assert_eq!(good, [1, 3, 5, 7, 9, 11]);
    let end = cluster.shard(0).queues[&0].batches[1].0;
    within(
        10,
        consumer.seek(&Queue::new(TOPIC, 0), StartAt::Offset(end)),
    )
    .await
    .expect("ours");
    assert_eq!(
        number(&next(&mut consumer).await),
        2 * end as u32,
        "on behind the damage"
    );
}

#[tokio::test]
async fn broadcast_keeps_its_place_in_a_file() {
    let cluster = Cluster::start(1, 2).await;
    let client = cluster.client().await;
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("offsets");
    let consumer = || {
        let builder = client.consumer().topic(TOPIC).broadcast("g", &file);
        builder.start_at(StartAt::Earliest)
    };
    send_numbers(&client, 0..10, 2).await;
    let mut one = consumer().build().await.expect("the topic exists");
    assert_eq!(read(&mut one, 10).await, expected(0..10, 2));
    within(10, one.close()).await.expect("saved");
    send_numbers(&client, 10..20, 2).await;
    let mut two = consumer().build().await.expect("the topic exists");
    assert_eq!(read(&mut two, 10).await, expected(10..20, 2));
    assert!(
        cluster.shard(0).members.is_empty(),
        "no group at the broker"
    );
}

#[tokio::test]
async fn patterns_pick_up_topics_and_queues_that_come_later() {
    let cluster = Cluster::start(1, 2).await;
    let client = cluster.client().await;
    let mut consumer = client
        .consumer()
        .pattern("t.*")
        .build()
        .await
        .expect("a pattern");
    eventually("the topic is found", || consumer.positions().len() == 2).await;
    cluster.change_routes(|routes| {
        routes.topics[0].version += 1;
        routes.topics[0].queues = 1;
    });
    eventually("routes are followed", || consumer.positions().len() == 1).await;
    send_numbers(&client, 0..5, 1).await;
    assert_eq!(read(&mut consumer, 5).await, expected(0..5, 1));
}

#[tokio::test]
async fn a_missing_topic_is_an_error() {
    let cluster = Cluster::start(1, 1).await;
    let client = cluster.client().await;
    let error = client
        .consumer()
        .topic("nowhere")
        .build()
        .await
        .expect_err("missing");
    assert!(error.is_topic_not_found(), "{error}");
    assert!(error.to_string().contains("nowhere"));
}

#[tokio::test]
async fn a_worker_keeps_the_order_of_a_key_and_repeats_failures() {
    let cluster = Cluster::start(1, 2).await;
    let client = cluster.client().await;
    let producer = client.producer().build();
    for n in 0..60u32 {
        let message = Message::new(TOPIC, n.to_string()).key(format!("key{}", n % 3));
        drop(producer.enqueue(message).await.expect("there is room"));
    }
    within(10, producer.close()).await.expect("stored");
    let done = Arc::new(Mutex::new(BTreeMap::<String, Vec<u32>>::new()));
    let (seen, all) = (Arc::clone(&done), Arc::clone(&done));
    let handler = move |message: Received| {
        let done = Arc::clone(&seen);
        async move {
            tokio::time::sleep(Duration::from_micros(rand::random_range(0..500))).await;
            let n = number(&message);
            if n % 20 == 7 && message.attempt() < 3 {
                return Err("not yet");
            }
            let key = message.key().expect("all have one").to_owned();
            done.lock().expect("ok").entry(key).or_default().push(n);
            Ok(())
        }
    };
    let finished = eventually("all are handled", move || {
        all.lock()
            .expect("ok")
            .values()
            .map(Vec::len)
            .sum::<usize>()
            == 60
    });
    let worker = client.worker(TOPIC, "g").concurrency(4);
    let worker = worker.configure(|consumer| consumer.start_at(StartAt::Earliest));
    within(30, worker.run_until(handler, finished))
        .await
        .expect("ran");
    for (key, numbers) in done.lock().expect("ok").iter() {
        assert!(
            numbers.is_sorted() && numbers.len() == 20,
            "{key}: {numbers:?}"
        );
    }
    let committed: u64 = cluster.shard(0).committed.values().sum();
    assert_eq!(committed, 60);
}
