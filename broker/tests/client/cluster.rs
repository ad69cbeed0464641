//! The client library against two brokers and two name servers in processes or threads of their own.

use crate::program::{self, scratch, within};
use ringmq::{Client, Message, StartAt, TopicSpec};
use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};
use tokio::{process::Child, task::JoinHandle};

/// A name server on a task of its own.
pub struct NameServer {
    pub address: String,
    task: JoinHandle<()>,
}

impl NameServer {
    pub async fn start() -> Self {
        let config = ringmq_namesrv::Config {
            listen: "127.0.0.1:0".parse().expect("an address"),
            ..Default::default()
        };
        let server = ringmq_namesrv::Server::bind(config)
            .await
            .expect("a free port");
        let address = server.local_addr().expect("it is bound").to_string();
        let task = tokio::spawn(async move {
            server.run(std::future::pending()).await;
        });
        Self { address, task }
    }
}

/// A broker without a name server of its own; killed when dropped.
pub async fn start_broker(directory: &Path, node: &str, namesrv: &str) -> Child {
    let arguments = ["run", "--node", node, "--shards", "1", "--port", "0"];
    let addresses = [
        "--admin-port",
        "0",
        "--listen",
        "127.0.0.1",
        "--namesrv",
        namesrv,
    ];
    let arguments = [&arguments[..], &addresses].concat();
    program::start(&directory.join(node), &arguments).await.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_outlives_a_name_server_and_heals_from_a_broker_restart() {
    let directory = scratch();
    let (one, two) = (NameServer::start().await, NameServer::start().await);
    let namesrv = format!("{},{}", one.address, two.address);
    let a = start_broker(directory.path(), "a", &namesrv).await;
    let mut b = start_broker(directory.path(), "b", &namesrv).await;
    let servers = [one.address.clone(), two.address.clone()];
    let client = Client::builder()
        .namesrv(servers)
        .request_timeout(Duration::from_secs(20));
    let client = client.build().await.expect("they are up");
    let admin = client.admin();
    let deadline = Instant::now() + Duration::from_secs(20);
    while admin.cluster_status().await.expect("asked").shards.len() < 2 {
        assert!(Instant::now() < deadline, "both nodes register");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let created = admin
        .create_topic(&TopicSpec::new("t", 4))
        .await
        .expect("created");
    assert_eq!(
        created.placement.len(),
        2,
        "over both nodes: {:?}",
        created.placement
    );

    let member = || {
        client
            .consumer()
            .topic("t")
            .group("g")
            .start_at(StartAt::Earliest)
    };
    let member = || member().session_timeout(Duration::from_secs(6));
    let mut first = member().build().await.expect("exists");
    let mut second = member().build().await.expect("exists");
    let deadline = Instant::now() + Duration::from_secs(30);
    while (first.positions().len(), second.positions().len()) != (2, 2) {
        assert!(
            Instant::now() < deadline,
            "the members share the queues of both nodes"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let producer = client.producer().build();
    let mut seen: BTreeMap<u32, u32> = BTreeMap::new();
    for round in 0..3u32 {
        match round {
            1 => one.task.abort(),
            2 => {
                b.kill().await.expect("it ran");
                b = start_broker(directory.path(), "b", &namesrv).await;
            }
            _ => {}
        }
        for n in round * 40..(round + 1) * 40 {
            let message = Message::new("t", n.to_string()).queue(n % 4);
            within(60, producer.send(message)).await.expect("stored");
        }
        let deadline = Instant::now() + Duration::from_secs(60);
        while seen.len() < (round as usize + 1) * 40 {
            assert!(
                Instant::now() < deadline,
                "round {round}: {} messages",
                seen.len()
            );
            let message = tokio::select! {
                message = first.next() => message,
                message = second.next() => message,
                () = tokio::time::sleep(Duration::from_millis(100)) => continue,
            };
            let message = message.expect("open").expect("no damage");
            let n = std::str::from_utf8(message.body())
                .expect("text")
                .parse()
                .expect("a number");
            *seen.entry(n).or_default() += 1;
            message.ack();
        }
    }
    assert!(seen.keys().copied().eq(0..120));
    within(30, first.close()).await.expect("committed");
    within(30, second.close()).await.expect("committed");
    let group = admin.describe_group("g").await.expect("it committed");
    assert_eq!(group.queues.iter().map(|queue| queue.lag()).sum::<u64>(), 0);
    drop((a, b, two));
}
