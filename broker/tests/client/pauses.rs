//! A broker that stands still for longer than its peers wait, and then goes on as if nothing had been.

use crate::cluster::{NameServer, start_broker};
use crate::program::{scratch, within};
use ringmq::{Client, Message, StartAt, TopicSpec};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::process::Child;

/// Long enough to leave the routes (10 s) and to lose every lease (6 s). RINGMQ_PAUSE_SECONDS says otherwise.
const PAUSE_SECONDS: u64 = 12;
const SESSION: Duration = Duration::from_secs(6);
const MESSAGES: u32 = 200;

fn signal(broker: &Child, signal: Signal) {
    let pid = broker.id().and_then(|id| i32::try_from(id).ok());
    kill_process(pid.and_then(Pid::from_raw).expect("it runs"), signal).expect("sent");
}

async fn shards(client: &Client) -> usize {
    let status = client.admin().cluster_status().await;
    status.expect("the name server answers").shards.len()
}

async fn until_shards(client: &Client, count: usize) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while shards(client).await != count {
        assert!(Instant::now() < deadline, "never {count} shards");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_process_leaves_the_routes_and_loses_nothing_when_it_goes_on() {
    let pause = std::env::var("RINGMQ_PAUSE_SECONDS").ok();
    let pause = pause.map_or(PAUSE_SECONDS, |seconds| seconds.parse().expect("seconds"));
    let pause = Duration::from_secs(pause);
    let directory = scratch();
    let server = NameServer::start().await;
    let stopped = start_broker(directory.path(), "a", &server.address).await;
    let other = start_broker(directory.path(), "b", &server.address).await;
    let client = Client::builder()
        .namesrv([server.address.clone()])
        .request_timeout(pause + Duration::from_secs(60));
    let client = client.build().await.expect("they are up");
    until_shards(&client, 2).await;
    let spec = TopicSpec::new("t", 4);
    let created = client.admin().create_topic(&spec).await.expect("created");
    assert_eq!(created.placement.len(), 2, "over both nodes");

    let consumer = client
        .consumer()
        .topic("t")
        .group("g")
        .start_at(StartAt::Earliest);
    let mut consumer = consumer
        .session_timeout(SESSION)
        .build()
        .await
        .expect("exists");
    let producer = client.producer().build();
    let number = |n: u32| Message::new("t", n.to_string()).queue(n % 4);
    for n in 0..MESSAGES {
        within(30, producer.send(number(n))).await.expect("stored");
    }
    signal(&stopped, Signal::STOP);
    let paused = Instant::now();
    // These wait for the process that stands still, or find their queues on the other.
    let sending = tokio::spawn(async move {
        for n in MESSAGES..2 * MESSAGES {
            let sent = producer.enqueue(number(n)).await;
            drop(sent.expect("there is room"));
        }
        producer.close().await
    });
    until_shards(&client, 1).await;
    let left = pause.saturating_sub(paused.elapsed());
    tokio::time::sleep(left).await;
    signal(&stopped, Signal::CONT);
    until_shards(&client, 2).await;
    within(60, sending)
        .await
        .expect("no panic")
        .expect("every message is stored");

    let mut seen: BTreeMap<u32, u64> = BTreeMap::new();
    while seen.len() < 2 * MESSAGES as usize {
        let message = within(60, consumer.next()).await;
        let message = message.expect("open").expect("no damage");
        let n: u32 = std::str::from_utf8(message.body())
            .ok()
            .and_then(|text| text.parse().ok())
            .expect("a number");
        assert_eq!(message.queue().queue, n % 4);
        // The same message may come twice when a lease was lost, but from one place.
        let offset = message.offset();
        assert_eq!(*seen.entry(n).or_insert(offset), offset, "stored once");
        assert_eq!(offset, u64::from(n / 4), "in order, with no gap");
        message.ack();
    }
    within(30, consumer.close()).await.expect("committed");
    let group = client
        .admin()
        .describe_group("g")
        .await
        .expect("it committed");
    assert_eq!(group.queues.iter().map(|queue| queue.lag()).sum::<u64>(), 0);
    drop((stopped, other));
}
