use super::*;
use crate::directory::clients::{ConnectionId, Heartbeat};
use crate::node::{NodeIdentity, ShardCommand, ShardLink, shard_name};
use crate::registration::Registration;
use ringmq_wire::codes::ErrorCode;
use ringmq_wire::native::schema::{TopicCreateResponseT, TopicRecordT};
use std::collections::BTreeSet;

/// What a shard was told of a group, and for which of its connections.
type Notice = (usize, String, Vec<u64>);

/// A node whose shards answer as real ones do, without a log.
async fn node(shards: usize) -> (NodeHandle, Registration) {
    let (node, registration, _) = listened_node(shards).await;
    (node, registration)
}

/// The same, and what its shards are told.
async fn listened_node(shards: usize) -> (NodeHandle, Registration, flume::Receiver<Notice>) {
    let (told, notices) = flume::unbounded();
    let mut links = Vec::new();
    let mut mailboxes = Vec::new();
    for index in 0..shards {
        let (mailbox, commands) = flume::bounded(4);
        links.push(ShardLink {
            name: shard_name(index, "n"),
            address: "127.0.0.1:1".to_owned(),
            mailbox,
        });
        mailboxes.push(commands);
    }
    let identity = NodeIdentity {
        cluster: "test".to_owned(),
        node: "n".to_owned(),
        directory_id: 1,
        epoch: 1,
        auto_create: true,
        auto_create_queues: 8,
    };
    let (node, commands) = NodeHandle::new(identity, links);
    for (index, mailbox) in mailboxes.into_iter().enumerate() {
        let (node, told) = (node.clone(), told.clone());
        tokio::spawn(async move {
            while let Ok(command) = mailbox.recv_async().await {
                match command {
                    ShardCommand::TopicCreateShare { topic, reply } => {
                        reply.send(create_share(&node, index, topic));
                    }
                    ShardCommand::ConsumersChanged { group, connections } => {
                        let _ = told.send((index, group.to_string(), connections));
                    }
                    _ => {}
                }
            }
        });
    }
    let registration = Registration::start(&node, &[]);
    let control = Control::new(
        node.clone(),
        registration.watcher(),
        DirectoryLimits::default(),
    );
    tokio::spawn(control.run(commands));
    (node, registration, notices)
}

fn create_share(
    node: &NodeHandle,
    index: usize,
    topic: TopicRecordT,
) -> Result<TopicCreateResponseT, ControlError> {
    let known = node.shares(index, |table| table.find(&topic.name).cloned());
    let mut response = TopicCreateResponseT::default();
    match known {
        Some(known) if known.incarnation_low != topic.incarnation_low => {
            return Err(ControlError::new(ErrorCode::TopicExists, "exists"));
        }
        Some(known) => {
            response.existed = true;
            response.topic = Some(Box::new(known));
        }
        None => {
            node.share_put(index, topic.clone());
            response.topic = Some(Box::new(topic));
        }
    }
    Ok(response)
}

fn topic(name: &str, queues: u32) -> TopicRecordT {
    let mut topic = TopicRecordT::default();
    topic.name = name.to_owned();
    topic.queues = queues;
    topic
}

fn load(node: &NodeHandle) {
    for index in 0..node.shards().len() {
        node.shares_loaded(index);
    }
}

fn shares(node: &NodeHandle, name: &str) -> Vec<Option<u64>> {
    (0..node.shards().len())
        .map(|index| node.shares(index, |table| table.find(name).map(|t| t.incarnation_low)))
        .collect()
}

fn join(member: &str, session_timeout_ms: u32) -> Join {
    Join {
        group: "g".to_owned(),
        member: member.to_owned(),
        client_address: "peer".to_owned(),
        subscriptions: Vec::new(),
        session_timeout_ms,
    }
}

#[tokio::test]
async fn a_topic_is_made_once_on_all_shards_however_many_ask() {
    let (node, _registration) = node(3).await;
    load(&node);
    let asks: Vec<_> = (0..20)
        .map(|_| {
            let node = node.clone();
            tokio::spawn(async move { node.create_topic_everywhere(topic("t", 0)).await })
        })
        .collect();
    let mut created = 0;
    for ask in asks {
        let answer = ask.await.expect("no panic").expect("made");
        created += u32::from(!answer.existed);
        let made = answer.topic.expect("answered with the topic");
        assert_eq!(made.queues, 8);
        assert_eq!(made.placement.as_ref().map(Vec::len), Some(3));
    }
    assert_eq!(created, 1);
    let shares = shares(&node, "t");
    assert!(shares[0].is_some() && shares.iter().all(|share| *share == shares[0]));
}

#[tokio::test]
async fn a_topic_with_fewer_queues_than_shards_leaves_some_out() {
    let (node, _registration) = node(3).await;
    load(&node);
    node.create_topic_everywhere(topic("t", 1))
        .await
        .expect("made");
    assert_eq!(shares(&node, "t").iter().flatten().count(), 1);
}

#[tokio::test]
async fn a_start_completes_shares_and_hides_left_overs() {
    let (node, _registration) = node(2).await;
    let mut whole = topic("half-made", 4);
    whole.incarnation_low = 5;
    whole.placement = Some(vec!["s01-n".to_owned(), "s00-n".to_owned()]);
    node.share_put(1, whole.clone());
    let mut left_over = whole.clone();
    left_over.name = "half-deleted".to_owned();
    node.share_put(0, left_over);
    load(&node);
    let deadline = Instant::now() + Duration::from_secs(20);
    while shares(&node, "half-made") != [Some(5), Some(5)] {
        assert!(Instant::now() < deadline, "not completed");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(shares(&node, "half-deleted"), [None, None]);
}

#[tokio::test]
async fn who_is_answered_is_visible_to_all_shards() {
    let (node, _registration) = node(1).await;
    let answer = node.join(join("a", 60_000)).await.expect("joins");
    assert!(node.is_member("g", "a"));
    assert_eq!(answer.members.as_ref().map(Vec::len), Some(1));
    assert_eq!(node.heartbeat("g", "a"), Ok(Some(answer.version)));
    assert_eq!(node.heartbeat("g", "b"), Ok(None));
    node.leave("g", "a").await.expect("leaves");
    assert_eq!(node.heartbeat("g", "a"), Ok(None));
}

#[tokio::test]
async fn silent_members_leave_by_themselves() {
    let (node, _registration) = node(1).await;
    node.join(join("silent", 1_000)).await.expect("joins");
    let first = node
        .join(join("alive", 1_000))
        .await
        .expect("joins")
        .version;
    let deadline = Instant::now() + Duration::from_secs(20);
    while node.is_member("g", "silent") {
        assert!(Instant::now() < deadline, "never expires");
        node.heartbeat("g", "alive").expect("room");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let version = node.heartbeat("g", "alive").expect("room");
    assert!(version > Some(first), "the change is seen by who stays");
}

fn beat(shard: usize, number: u64, client_id: &str) -> Heartbeat {
    let connection = ConnectionId { shard, number };
    crate::directory::clients::tests::consumer(connection, client_id, "g", &["t"])
}

#[tokio::test]
async fn clients_are_visible_when_answered_and_told_once_of_changes_that_come_together() {
    let (node, _registration, notices) = listened_node(2).await;
    for (shard, number, client_id) in [(0, 1, "a"), (1, 1, "a"), (1, 2, "b"), (0, 3, "c")] {
        let registered = node.register_client(beat(shard, number, client_id)).await;
        registered.expect("registers");
        let directory = node.directory();
        let group = directory.clients().consumers("g").expect("there");
        assert!(!group.of_client(client_id).is_empty());
    }
    // Who is told, until everybody was: the machine may be too slow for one notice.
    let told = async |clients: &[u64]| {
        let mut told = BTreeSet::new();
        while !clients.iter().all(|client| told.contains(client)) {
            let (_, group, numbers) = notices.recv_async().await.expect("told");
            assert_eq!(group, "g");
            told.extend(numbers);
        }
    };
    told(&[1, 2, 3]).await;
    let closed = ConnectionId {
        shard: 1,
        number: 2,
    };
    node.client_closed(closed).await;
    told(&[1, 3]).await;
    let directory = node.directory();
    let group = directory.clients().consumers("g").expect("there");
    assert!(group.of_client("b").is_empty());
    let left = ConnectionId {
        shard: 0,
        number: 3,
    };
    let leaving = node.unregister_client(left, Some("g".to_owned()), None);
    leaving.await.expect("leaves");
    let directory = node.directory();
    let group = directory.clients().consumers("g").expect("there");
    assert!(group.of_client("c").is_empty());
}

#[tokio::test]
async fn a_group_of_one_protocol_refuses_members_of_the_other() {
    let (node, _registration) = node(1).await;
    node.join(join("m", 60_000)).await.expect("joins");
    let refused = node.register_client(beat(0, 1, "a")).await;
    let refused = refused.expect_err("native members are there");
    assert_eq!(refused.code, ErrorCode::GroupOfOtherProtocol);
    node.leave("g", "m").await.expect("leaves");
    node.register_client(beat(0, 1, "a"))
        .await
        .expect("free now");
    let refused = node
        .join(join("m", 60_000))
        .await
        .expect_err("RocketMQ members");
    assert_eq!(refused.code, ErrorCode::GroupOfOtherProtocol);
}
