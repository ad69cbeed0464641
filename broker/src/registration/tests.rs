//! Against a real name server in the same process.

use super::*;
use crate::node::{NodeIdentity, ShardLink, shard_name};
use ringmq_wire::native::schema::TopicRecordT;
use std::net::SocketAddr;
use tokio::sync::oneshot;

pub(super) fn node(name: &str, directory_id: u128, shards: usize) -> NodeHandle {
    let identity = NodeIdentity {
        cluster: "test".to_owned(),
        node: name.to_owned(),
        directory_id,
        epoch: 1,
        auto_create: true,
        auto_create_queues: 8,
    };
    let links = (0..shards)
        .map(|index| ShardLink {
            name: shard_name(index, name),
            address: format!("127.0.0.1:{}", 20_000 + index),
            mailbox: flume::bounded(1).0,
        })
        .collect();
    let (node, _) = NodeHandle::new(identity, links);
    for index in 0..shards {
        node.shares(index, |table| table.loaded());
    }
    node
}

pub(super) fn topic(name: &str) -> TopicRecordT {
    let mut topic = TopicRecordT::default();
    topic.name = name.to_owned();
    topic.queues = 1;
    topic.placement = Some(vec!["s00-a".to_owned()]);
    topic.incarnation_low = 7;
    topic
}

struct NameServer {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl NameServer {
    async fn start(listen: &str) -> Self {
        let config = ringmq_namesrv::Config {
            listen: listen.parse().expect("address"),
            stop_timeout_ms: 10,
            settle_ms: 0,
            ..Default::default()
        };
        let server = ringmq_namesrv::Server::bind(config).await.expect("binds");
        let address = server.local_addr().expect("bound");
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(server.run(async move {
            let _ = stopped.await;
        }));
        Self {
            address,
            stop,
            task,
        }
    }
    async fn stop(self) {
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

pub(super) async fn until(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "condition never came");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn registers_with_all_and_survives_the_loss_of_one() {
    let (one, two) = (
        NameServer::start("127.0.0.1:0").await,
        NameServer::start("127.0.0.1:0").await,
    );
    let node = node("a", 1, 2);
    let servers = [one.address.to_string(), two.address.to_string()];
    let registration = Registration::start(&node, &servers);
    until(|| registration.reach() == (2, 2)).await;
    node.share_put(0, topic("t"));
    let watcher = registration.watcher();
    watcher
        .confirmed(0, node.shares(0, |table| table.version()))
        .await;
    for link in registration.links.iter() {
        assert_eq!(
            link.borrow().confirmed[0],
            node.shares(0, |table| table.version())
        );
    }
    // One goes away; a change is then confirmed without it, and it learns everything when it comes back.
    let address = one.address;
    one.stop().await;
    until(|| registration.reach() == (2, 1)).await;
    node.share_put(0, topic("u"));
    let version = node.shares(0, |table| table.version());
    watcher.confirmed(0, version).await;
    assert_eq!(registration.links[1].borrow().confirmed[0], version);
    let one = NameServer::start(&address.to_string()).await;
    until(|| registration.reach() == (2, 2)).await;
    until(|| registration.links[0].borrow().confirmed[0] == version).await;
    registration.leave().await;
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn a_name_that_another_directory_has_is_refused_until_it_is_free() {
    let server = NameServer::start("127.0.0.1:0").await;
    let servers = [server.address.to_string()];
    let first = Registration::start(&node("a", 1, 1), &servers);
    until(|| first.reach() == (1, 1)).await;
    let second = Registration::start(&node("a", 2, 1), &servers);
    // Refused: it has an answer, and the answer is no.
    let mut link = second.links[0].clone();
    let seen = tokio::time::timeout(
        Duration::from_millis(500),
        link.wait_for(|s| s.confirmed[0] > 0),
    );
    assert!(seen.await.is_err(), "the name is taken");
    first.leave().await;
    until(|| second.reach() == (1, 1)).await;
    second.leave().await;
    server.stop().await;
}
