//! The name server to RocketMQ's clients, tools and brokers, over real sockets.

#[allow(dead_code, reason = "other tests use the rest")]
mod common;

use common::{Client, PATIENCE, Running, registration, settled, share};
use ringmq_namesrv::Config;
use ringmq_wire::remoting::body::routes::{ClusterInfo, MemberGroup, Pairs, TopicRoute};
use ringmq_wire::remoting::body::topics::{DataVersion, TopicList};
use ringmq_wire::remoting::body::{decode, dialect, encode};
use ringmq_wire::remoting::{Command, FramePrefix, Header, Serialization, request_code as code};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// A connection of a RocketMQ program.
struct Remote(TcpStream);

impl Remote {
    async fn connect(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.expect("listening"))
    }

    async fn send(&mut self, frame: &[u8]) {
        self.0.write_all(frame).await.expect("open");
    }

    /// The next frame; none when the server closed the connection.
    async fn read(&mut self) -> Option<(Serialization, Command, Vec<u8>)> {
        timeout(PATIENCE, async {
            let mut head = [0; 8];
            self.0.read_exact(&mut head).await.ok()?;
            let prefix = FramePrefix::parse(&head).unwrap().unwrap();
            let mut rest = vec![0; prefix.frame_bytes() - 8];
            self.0.read_exact(&mut rest).await.ok()?;
            let body = rest.split_off(prefix.header_bytes());
            let header = Header::parse(prefix.serialization(), &rest).unwrap();
            Some((prefix.serialization(), Command::from_header(&header), body))
        })
        .await
        .expect("in time")
    }

    async fn ask(&mut self, command: Command, body: &[u8]) -> (Command, Vec<u8>) {
        self.send(&command.encode(Serialization::Json, body)).await;
        let (form, answer, body) = self.read().await.expect("an answer");
        assert_eq!(form, Serialization::Json);
        assert_eq!(answer.opaque, command.opaque);
        assert!(answer.is_response());
        (answer, body)
    }

    async fn route(&mut self, topic: &str) -> Result<TopicRoute, Command> {
        let query = Command::request(code::GET_ROUTEINFO_BY_TOPIC, 5).field("topic", topic);
        let (answer, body) = self.ask(query, b"").await;
        match answer.code {
            0 => Ok(decode(&body).unwrap()),
            _ => Err(answer),
        }
    }

    async fn topics(&mut self, request: Command) -> Vec<String> {
        let (answer, body) = self.ask(request, b"").await;
        assert_eq!(answer.code, 0);
        decode::<TopicList>(&body).unwrap().topics
    }
}

/// Frames that Java's programs exchanged: (program, direction, kind, code, code of the request, frame).
fn captured() -> Vec<[&'static str; 6]> {
    let lines = include_str!("../../wire/tests/golden/remoting-frames.txt").lines();
    let lines = lines.filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            words.try_into().expect("six words")
        })
        .collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = (0..text.len()).step_by(2);
    digits
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// The frames of a Java program with that code, whole tables only.
fn registrations(program: &str, kind: &str) -> Vec<Vec<u8>> {
    let frames = captured().into_iter();
    let frames = frames.filter(|[p, _, k, code, ..]| (*p, *k, *code) == (program, kind, "103"));
    let frames: Vec<Vec<u8>> = frames.map(|frame| unhex(frame[5])).collect();
    assert!(!frames.is_empty(), "no registration of {program}");
    frames
}

fn opaque_of(frame: &[u8]) -> i32 {
    let prefix = FramePrefix::parse(frame).unwrap().unwrap();
    let header = Header::parse(prefix.serialization(), &frame[prefix.header_range()]);
    header.unwrap().opaque
}

#[tokio::test]
async fn a_java_broker_registers_is_found_and_leaves_with_its_connection() {
    let server = Running::start(settled()).await;
    let mut broker = Remote::connect(server.address).await;
    let frame = &registrations("java5-transaction", "request")[0];
    broker.send(frame).await;
    let (_, answer, _) = broker.read().await.unwrap();
    assert_eq!((answer.code, answer.opaque), (0, opaque_of(frame)));

    let mut client = Remote::connect(server.address).await;
    let route = client.route("TBW102").await.unwrap();
    let java = captured().into_iter().find(|frame| {
        frame[0] == "java5-compressed" && frame[2] == "response" && frame[3..5] == ["0", "105"]
    });
    let java = unhex(java.unwrap()[5]);
    let prefix = FramePrefix::parse(&java).unwrap().unwrap();
    let expected: TopicRoute = decode(&java[prefix.body_range()]).unwrap();
    assert_eq!(route, expected);

    let (_, body) = client
        .ask(Command::request(code::GET_BROKER_CLUSTER_INFO, 1), b"")
        .await;
    let info: ClusterInfo = decode(&body).unwrap();
    assert_eq!(
        info.brokers["broker-a"].addresses[&0],
        expected.brokers[0].addresses[&0]
    );
    assert!(info.clusters["DefaultCluster"].contains("broker-a"));

    drop(broker);
    timeout(PATIENCE, async {
        while client.route("TBW102").await.is_ok() {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("a closed connection takes its broker along");
    let missing = client.route("TBW102").await.unwrap_err();
    assert_eq!(missing.code, 17);
    let remark = missing.remark.unwrap();
    assert!(remark.starts_with("No topic route info in name server for the topic: TBW102"));
    server.stop().await;
}

/// Brokers of 4.9 register changed topics one-way, and single ones.
#[tokio::test]
async fn one_way_registrations_count_and_are_not_answered() {
    let server = Running::start(settled()).await;
    let mut broker = Remote::connect(server.address).await;
    for frame in registrations("java4-orderly", "oneway") {
        broker.send(&frame).await;
    }
    let route = broker.route("ProbeTopic").await.unwrap();
    assert_eq!(route.queues[0].broker_name, "broker-a");
    server.stop().await;
}

/// `DataVersion` decides whether a broker sends its topics again; asking is a sign of life.
#[tokio::test]
async fn brokers_ask_whether_their_topics_are_known() {
    let server = Running::start(settled()).await;
    let mut broker = Remote::connect(server.address).await;
    let of = |request: Command| {
        request
            .field("brokerName", "b")
            .field("brokerAddr", "127.0.0.1:1")
            .field("clusterName", "c")
            .field("brokerId", 0)
    };
    let version = DataVersion {
        counter: 7,
        state_version: 0,
        timestamp: 99,
    };
    let query = || of(Command::request(code::QUERY_DATA_VERSION, 3));
    let (answer, body) = broker.ask(query(), &encode(&version)).await;
    assert_eq!((answer.get("changed"), body.len()), (Some("true"), 0));
    let body = br#"{"filterServerList":[],"topicConfigSerializeWrapper":{"dataVersion":{"counter":7,"timestamp":99},
        "topicConfigTable":{}}}"#;
    let register = of(Command::request(code::REGISTER_BROKER, 4)).field("haServerAddr", "");
    assert_eq!(broker.ask(register.clone(), body).await.0.code, 0);
    let (answer, body) = broker.ask(query(), &encode(&version)).await;
    assert_eq!(answer.get("changed"), Some("false"));
    assert_eq!(decode::<DataVersion>(&body).unwrap(), version);
    let wrong_sum = register.field("bodyCrc32", 1);
    assert_eq!(broker.ask(wrong_sum, b"{}").await.0.code, 1);
    let beat = of(Command::request(code::BROKER_HEARTBEAT, 5));
    assert_eq!(broker.ask(beat, b"").await.0.code, 0);
    let members = Command::request(code::GET_BROKER_MEMBER_GROUP, 6)
        .field("clusterName", "c")
        .field("brokerName", "b");
    let (_, body) = broker.ask(members, b"").await;
    let members: MemberGroup = decode(&body).unwrap();
    assert_eq!(members.broker_member_group.addresses[&0], "127.0.0.1:1");
    let leave = of(Command::request(code::UNREGISTER_BROKER, 7));
    assert_eq!(broker.ask(leave, b"").await.0.code, 0);
    let (answer, _) = broker.ask(query(), &encode(&version)).await;
    assert_eq!(answer.get("changed"), Some("true"));
    server.stop().await;
}

/// A topic of three queues over two shards, and another incarnation of it on a third: RocketMQ's tools create a topic
/// on one broker after the other.
#[tokio::test]
async fn shards_are_brokers_with_their_own_queues() {
    let server = Running::start(settled()).await;
    let mut broker = Client::connect(server.address).await;
    for (shard, port) in [("s00-a", 1), ("s01-a", 2), ("s00-b", 3)] {
        let mut request = registration(shard, &[]);
        request.address = format!("127.0.0.1:{port}");
        let mut share = share("orders", shard);
        if shard == "s00-b" {
            share.topic.incarnation_low = 77;
        } else {
            share.topic.placement = Some(vec!["s00-a".into(), "s01-a".into()]);
            share.topic.queues = 3;
        }
        request.shares = Some(vec![share]);
        assert_eq!(broker.register(&request).await, None);
    }
    let mut client = Remote::connect(server.address).await;
    let route = client.route("orders").await.unwrap();
    let queues = route.queues.iter();
    let queues: Vec<_> = queues
        .map(|q| {
            (
                q.broker_name.as_str(),
                q.perm,
                q.read_queues,
                q.write_queues,
            )
        })
        .collect();
    assert_eq!(
        queues,
        [("s00-a", 6, 2, 2), ("s00-b", 6, 8, 8), ("s01-a", 6, 1, 1)]
    );
    let addresses = route
        .brokers
        .iter()
        .map(|broker| broker.addresses[&0].as_str());
    let addresses: Vec<_> = addresses.collect();
    assert_eq!(addresses, ["127.0.0.1:1", "127.0.0.1:3", "127.0.0.1:2"]);
    assert_eq!(route.brokers[0].cluster, "test");

    let wipe = |code| Command::request(code, 1).field("brokerName", "s00-a");
    let (answer, _) = client.ask(wipe(code::WIPE_WRITE_PERM_OF_BROKER), b"").await;
    assert_eq!(answer.get("wipeTopicCount"), Some("1"));
    // Whatever the shard registers, it stays without write permission.
    let mut again = registration("s00-a", &["orders", "bills"]);
    again.version = 2;
    assert_eq!(broker.register(&again).await, None);
    assert_eq!(client.route("bills").await.unwrap().queues[0].perm, 4);
    let (_, shards) = broker.route("bills").await;
    assert!(!shards[0].writable, "native clients are told, too");
    let (answer, _) = client.ask(wipe(code::ADD_WRITE_PERM_OF_BROKER), b"").await;
    assert_eq!(answer.get("addTopicCount"), Some("2"));
    assert_eq!(client.route("bills").await.unwrap().queues[0].perm, 6);
    let nobody = Command::request(code::WIPE_WRITE_PERM_OF_BROKER, 1).field("brokerName", "x");
    assert_eq!(client.ask(nobody, b"").await.0.code, 1);
    server.stop().await;
}

#[tokio::test]
async fn topics_are_listed_by_cluster_and_by_mark() {
    let server = Running::start(settled()).await;
    let mut broker = Client::connect(server.address).await;
    let request = registration("s00-a", &["orders"]);
    assert_eq!(broker.register(&request).await, None);
    let mut java = Remote::connect(server.address).await;
    let body = br#"{"topicConfigSerializeWrapper":{"topicConfigTable":{
        "unit":{"topicName":"unit","topicSysFlag":1},"both":{"topicName":"both","topicSysFlag":3}}}}"#;
    let register = Command::request(code::REGISTER_BROKER, 1)
        .field("brokerName", "java")
        .field("brokerAddr", "127.0.0.1:9")
        .field("clusterName", "old")
        .field("brokerId", 0);
    assert_eq!(java.ask(register.clone(), body).await.0.code, 0);
    let all = java.topics(Command::request(206, 1)).await;
    assert_eq!(all, ["both", "orders", "unit"]);
    let of = |cluster: &str| Command::request(224, 1).field("cluster", cluster.to_owned());
    assert_eq!(java.topics(of("test")).await, ["orders"]);
    assert_eq!(java.topics(of("old")).await, ["both", "unit"]);
    assert_eq!(
        java.topics(Command::request(304, 1)).await,
        ["java", "old", "s00-a", "test"]
    );
    assert_eq!(
        java.topics(Command::request(311, 1)).await,
        ["both", "unit"]
    );
    assert_eq!(java.topics(Command::request(312, 1)).await, ["both"]);
    assert!(java.topics(Command::request(313, 1)).await.is_empty());
    let put = Command::request(code::REGISTER_TOPIC_IN_NAMESRV, 1).field("topic", "new");
    let route =
        br#"{"queueDatas":[{"brokerName":"java","readQueueNums":2,"writeQueueNums":1,"perm":6}]}"#;
    assert_eq!(java.ask(put, route).await.0.code, 0);
    assert_eq!(java.route("new").await.unwrap().queues[0].write_queues, 1);
    let delete = Command::request(code::DELETE_TOPIC_IN_NAMESRV, 1).field("topic", "new");
    assert_eq!(java.ask(delete, b"").await.0.code, 0);
    assert_eq!(java.route("new").await.unwrap_err().code, 17);
    // The name of a live shard is taken.
    let mut thief = register;
    thief.fields[0].1 = "s00-a".into();
    assert_eq!(java.ask(thief, body).await.0.code, 1);
    server.stop().await;
}

#[tokio::test]
async fn pairs_outlive_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let config = || Config {
        kv_file: Some(dir.path().join("kv.json")),
        ..settled()
    };
    let pair = |code| {
        Command::request(code, 1)
            .field("namespace", "ORDER_TOPIC_CONFIG")
            .field("key", "T")
    };
    let server = Running::start(config()).await;
    let mut tool = Remote::connect(server.address).await;
    assert_eq!(tool.ask(pair(code::GET_KV_CONFIG), b"").await.0.code, 22);
    let put = pair(code::PUT_KV_CONFIG).field("value", "broker-a:4");
    assert_eq!(tool.ask(put, b"").await.0.code, 0);
    server.stop().await;
    let server = Running::start(config()).await;
    let mut tool = Remote::connect(server.address).await;
    let (answer, _) = tool.ask(pair(code::GET_KV_CONFIG), b"").await;
    assert_eq!(answer.get("value"), Some("broker-a:4"));
    let (_, body) = tool.ask(pair(code::GET_KVLIST_BY_NAMESPACE), b"").await;
    assert_eq!(decode::<Pairs>(&body).unwrap().table["T"], "broker-a:4");
    assert_eq!(tool.ask(pair(code::DELETE_KV_CONFIG), b"").await.0.code, 0);
    let (answer, _) = tool.ask(pair(code::GET_KVLIST_BY_NAMESPACE), b"").await;
    assert_eq!(answer.code, 22);
    let (_, body) = tool
        .ask(Command::request(code::GET_NAMESRV_CONFIG, 1), b"")
        .await;
    assert!(String::from_utf8(body).unwrap().contains("listenPort="));
    let set = Command::request(code::UPDATE_NAMESRV_CONFIG, 1);
    assert_eq!(tool.ask(set, b"listenPort=1").await.0.code, 16);
    server.stop().await;
}

#[tokio::test]
async fn unknown_codes_missing_fields_and_the_binary_form_are_answered() {
    let server = Running::start(settled()).await;
    let mut client = Remote::connect(server.address).await;
    let (answer, _) = client.ask(Command::request(4_242, -9), b"").await;
    assert_eq!(answer.code, 3);
    assert_eq!(
        answer.remark.as_deref(),
        Some(" request type 4242 not supported")
    );
    let (answer, _) = client.ask(Command::request(105, 1), b"").await;
    assert_eq!(answer.remark.as_deref(), Some("field `topic` is missing"));
    let binary = Command::request(105, 8)
        .field("topic", "T")
        .encode(Serialization::Binary, b"");
    client.send(&binary).await;
    let (form, answer, _) = client.read().await.unwrap();
    assert_eq!(
        (form, answer.code, answer.opaque),
        (Serialization::Binary, 17, 8)
    );
    server.stop().await;
}

#[tokio::test]
async fn what_is_no_frame_closes_the_connection_and_nothing_else() {
    let server = Running::start(settled()).await;
    let broken: [&[u8]; 4] = [
        &[0, 0, 0, 9, 0, 0, 0, 99, 0],
        &[0, 0, 0, 9, 7, 0, 0, 5, 0],
        b"\0\0\0\x06\0\0\0\x02{]",
        &[0, 0, 0, 1],
    ];
    for bytes in broken {
        let mut client = Remote::connect(server.address).await;
        client.send(bytes).await;
        assert!(client.read().await.is_none(), "{bytes:?}");
    }
    let mut client = Remote::connect(server.address).await;
    assert_eq!(client.route("T").await.unwrap_err().code, 17);
    server.stop().await;
}

/// During the first seconds nothing is called missing that may be known in a moment.
#[tokio::test]
async fn a_name_server_that_just_started_says_so() {
    let server = Running::start(Config {
        settle_ms: 600_000,
        ..Config::default()
    })
    .await;
    let mut client = Remote::connect(server.address).await;
    let answer = client.route("T").await.unwrap_err();
    assert_eq!(answer.code, 1);
    assert!(answer.remark.unwrap().starts_with("name server not ready"));
    server.stop().await;
}

/// No byte of a route may be a space: the Go client splits it as text.
#[tokio::test]
async fn routes_are_compact() {
    let server = Running::start(settled()).await;
    let mut broker = Client::connect(server.address).await;
    assert_eq!(broker.register(&registration("s00-a", &["t"])).await, None);
    let mut client = Remote::connect(server.address).await;
    let query = Command::request(105, 1).field("topic", "t");
    let (_, body) = client.ask(query, b"").await;
    let text = String::from_utf8(body).unwrap();
    assert_eq!(
        text,
        r#"{"brokerDatas":[{"brokerAddrs":{"0":"127.0.0.1:10911"},"brokerName":"s00-a","cluster":"test","enableActingMaster":false}],"filterServerTable":{},"queueDatas":[{"brokerName":"s00-a","perm":6,"readQueueNums":8,"topicSysFlag":0,"writeQueueNums":8}]}"#
    );
    dialect::parse(text.as_bytes()).unwrap();
    server.stop().await;
}
