//! The name server over real sockets.

mod common;

use common::{Client, PATIENCE, Running, registration, settled, share};
use ringmq_namesrv::Config;
use ringmq_wire::codes::{ErrorCode, Kind};
use ringmq_wire::native::{PREFACE, encode, flags, schema};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test]
async fn a_registered_topic_is_found_and_an_unknown_one_is_told_so() {
    let server = Running::start(settled()).await;
    let mut broker = Client::connect(server.address).await;
    let request = registration("s00-a", &["orders"]);
    assert_eq!(broker.register(&request).await, None);
    assert_eq!(broker.heartbeat(&request).await, None);
    let mut client = Client::connect(server.address).await;
    let (route, shards) = client.route("orders").await;
    assert_eq!(
        (route.error, route.shards),
        (0, Some(vec!["s00-a".to_string()]))
    );
    assert_eq!(shards[0].address, "127.0.0.1:10911");
    assert!(shards[0].writable);
    let (route, shards) = client.route("nothing").await;
    assert_eq!(route.error, ErrorCode::TopicNotFound.number());
    assert!(shards.is_empty());
    server.stop().await;
}

#[tokio::test]
async fn a_name_server_that_just_started_does_not_call_topics_missing() {
    let server = Running::start(Config {
        settle_ms: 600_000,
        expected_shards: 1,
        ..Config::default()
    })
    .await;
    let mut client = Client::connect(server.address).await;
    let query = |id| {
        let topics = Some(vec!["orders".to_owned()]);
        let request = schema::RouteQueryRequestT { topics };
        encode(Kind::RouteQuery, 0, id, 0, |b| request.pack(b))
    };
    let answer = client.ask(Kind::RouteQuery, query).await;
    assert_eq!(answer.error(), Some(ErrorCode::Busy));
    let mut broker = Client::connect(server.address).await;
    assert_eq!(
        broker.register(&registration("s00-a", &["bills"])).await,
        None
    );
    let (route, _) = client.route("orders").await;
    assert_eq!(route.error, ErrorCode::TopicNotFound.number());
    server.stop().await;
}

#[tokio::test]
async fn changes_are_pushed_to_those_who_watch_for_them() {
    let server = Running::start(settled()).await;
    let mut broker = Client::connect(server.address).await;
    let mut by_name = Client::connect(server.address).await;
    let mut by_pattern = Client::connect(server.address).await;
    let id = by_name.watch(&["orders"], &[]).await;
    by_pattern.watch(&[], &["ord.*"]).await;
    let first = by_name.next_push().await;
    assert_eq!(
        (first.prefix.correlation_id, first.prefix.flags),
        (id, flags::RESPONSE | flags::MORE)
    );
    let routes = first.watch().routes.unwrap_or_default();
    assert_eq!(routes[0].error, ErrorCode::TopicNotFound.number());
    assert_eq!(
        by_pattern
            .next_push()
            .await
            .watch()
            .routes
            .unwrap_or_default()
            .len(),
        0
    );

    let mut request = registration("s00-a", &["orders", "other"]);
    assert_eq!(broker.register(&request).await, None);
    for client in [&mut by_name, &mut by_pattern] {
        let push = client.next_push().await.watch();
        let routes = push.routes.unwrap_or_default();
        assert_eq!(routes.len(), 1, "the other topic is not theirs");
        assert_eq!(routes[0].shards, Some(vec!["s00-a".to_string()]));
        assert!(push.shards.unwrap_or_default()[0].writable);
    }

    // Write permission withdrawn, as a stopping broker does.
    request.base_version = 1;
    request.version = 2;
    request.shares = None;
    request.writable = false;
    assert_eq!(broker.register(&request).await, None);
    let push = by_name.push_where(|push| push.version > 1).await;
    assert!(!push.shards.unwrap_or_default()[0].writable);

    assert_eq!(broker.unregister(&request).await, None);
    let push = by_name.push_where(|push| push.version > 2).await;
    let routes = push.routes.unwrap_or_default();
    // Known, but nobody serves it.
    assert_eq!(
        (routes[0].error, routes[0].shards.as_deref()),
        (0, Some(&[][..]))
    );
    server.stop().await;
}

#[tokio::test]
async fn a_silent_shard_leaves_the_routes_and_its_topics_are_forgotten_later() {
    let server = Running::start(Config {
        absent_retention_ms: 300,
        ..settled()
    })
    .await;
    let mut broker = Client::connect(server.address).await;
    let mut client = Client::connect(server.address).await;
    let mut request = registration("s00-a", &["orders"]);
    request.heartbeat_timeout_ms = 400;
    let started = Instant::now();
    assert_eq!(broker.register(&request).await, None);
    client.watch(&["orders"], &[]).await;
    let push = client.next_push().await.watch();
    assert_eq!(
        push.routes.unwrap_or_default()[0]
            .shards
            .as_ref()
            .map(Vec::len),
        Some(1)
    );
    let push = client.next_push().await.watch();
    assert!(
        started.elapsed() >= Duration::from_millis(400),
        "expired early"
    );
    let routes = push.routes.unwrap_or_default();
    assert_eq!(
        (routes[0].error, routes[0].shards.as_ref().map(Vec::len)),
        (0, Some(0))
    );
    let push = client.next_push().await.watch();
    assert_eq!(
        push.routes.unwrap_or_default()[0].error,
        ErrorCode::TopicNotFound.number()
    );
    assert_eq!(
        broker.heartbeat(&request).await,
        Some(ErrorCode::StaleRegistration)
    );
    assert_eq!(broker.register(&request).await, None);
    let push = client.next_push().await.watch();
    assert_eq!(
        push.routes.unwrap_or_default()[0]
            .shards
            .as_ref()
            .map(Vec::len),
        Some(1)
    );
    server.stop().await;
}

#[tokio::test]
async fn registrations_that_do_not_fit_are_refused() {
    let server = Running::start(settled()).await;
    let mut broker = Client::connect(server.address).await;
    let mut request = registration("s00-a", &["orders"]);
    request.base_version = 3;
    request.version = 4;
    assert_eq!(
        broker.register(&request).await,
        Some(ErrorCode::StaleRegistration)
    );
    request.base_version = 0;
    assert_eq!(broker.register(&request).await, None);
    request.base_version = 4;
    request.version = 5;
    request.shares = Some(vec![share("audit", "s00-a")]);
    request.removed = Some(vec!["orders".into()]);
    assert_eq!(broker.register(&request).await, None);
    assert_eq!(
        broker.route("orders").await.0.error,
        ErrorCode::TopicNotFound.number()
    );
    assert_eq!(broker.route("audit").await.0.error, 0);
    assert_eq!(
        broker.register(&request).await,
        Some(ErrorCode::StaleRegistration)
    );

    let mut other = registration("s00-a", &[]);
    other.directory_low = 2;
    assert_eq!(
        broker.register(&other).await,
        Some(ErrorCode::ShardNameTaken)
    );
    assert_eq!(broker.unregister(&request).await, None);
    assert_eq!(broker.register(&other).await, None);
    let mut nowhere = registration("s01-a", &["orders"]);
    nowhere.address = "localhost".into();
    assert_eq!(
        broker.register(&nowhere).await,
        Some(ErrorCode::InvalidRequest)
    );
    server.stop().await;
}

#[tokio::test]
async fn a_slow_watcher_gets_the_latest_state_and_holds_nobody_up() {
    // However slow the machine, it is not dropped meanwhile.
    let config = Config {
        transfer_timeout_ms: 600_000,
        ..settled()
    };
    let server = Running::start(config).await;
    let mut broker = Client::connect(server.address).await;
    let mut slow = Client::connect(server.address).await;
    slow.watch(&[], &["t-.*"]).await;
    let names: Vec<String> = (0..500)
        .map(|n| format!("t-{n:03}-{}", "x".repeat(60)))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut request = registration("s00-a", &names);
    let rounds = 200;
    for version in 1..=rounds {
        request.version = version;
        for share in request.shares.iter_mut().flatten() {
            share.topic.version = version;
        }
        assert_eq!(broker.register(&request).await, None);
    }
    let mut seen = std::collections::BTreeMap::new();
    let mut pushed = 0;
    while seen.len() < names.len() || seen.values().any(|version| *version < rounds) {
        let push = slow.next_push().await.watch();
        for route in push.routes.unwrap_or_default() {
            pushed += 1;
            let version = route.record.expect("a record").version;
            let before = seen.insert(route.topic, version);
            assert!(before <= Some(version), "an older state after a newer one");
        }
    }
    let history = names.len() as u64 * rounds;
    assert!(
        pushed < history / 2,
        "{pushed} of {history} states were pushed: not coalesced"
    );
    server.stop().await;
}

#[tokio::test]
async fn ping_works_and_the_unknown_is_refused() {
    let server = Running::start(settled()).await;
    let mut client = Client::connect(server.address).await;
    let ping = schema::PingRequestT::default();
    let answer = client
        .ask(Kind::Ping, |id| {
            encode(Kind::Ping, 0, id, 0, |b| ping.pack(b))
        })
        .await;
    assert_eq!(answer.error(), None);
    let produce = client
        .ask(Kind::Fetch, |id| {
            encode(Kind::Fetch, 0, id, 0, |b| ping.pack(b))
        })
        .await;
    assert_eq!(produce.error(), Some(ErrorCode::UnsupportedKind));
    let mut silent = Client::connect_silently(server.address).await;
    let answer = silent
        .ask(Kind::Ping, |id| {
            encode(Kind::Ping, 0, id, 0, |b| ping.pack(b))
        })
        .await;
    assert_eq!(answer.error(), Some(ErrorCode::HelloRequired));
    assert!(silent.read().await.is_none(), "closed");
    // A frame that is no frame: told so, then closed.
    client.send(&[0xff; 64]).await;
    let answer = client.read().await.expect("an error frame");
    assert_eq!(answer.error(), Some(ErrorCode::Malformed));
    assert!(client.read().await.is_none(), "closed");
    server.stop().await;
}

#[tokio::test]
async fn foreign_bytes_get_an_answer_they_understand() {
    let server = Running::start(settled()).await;
    let answer = talk(&server, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let text = String::from_utf8(answer).expect("text");
    assert!(
        text.starts_with("HTTP/1.1 400 ") && text.contains("native protocol"),
        "{text}"
    );
    assert_eq!(
        talk(&server, b"\x16\x03\x01\x00\xa5\x01\x00").await[0],
        0x15
    );
    assert!(talk(&server, b"who is there?").await.is_empty());
    server.stop().await;
}

async fn talk(server: &Running, opening: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(server.address).await.expect("listening");
    stream.write_all(opening).await.expect("open");
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    // Unread bytes in the server's buffer turn its close into a reset; what came before counts.
    tokio::time::timeout(PATIENCE, read)
        .await
        .expect("closed")
        .ok();
    answer
}

#[tokio::test]
async fn idle_and_half_sent_connections_are_closed_and_the_number_is_bounded() {
    let config = Config {
        idle_timeout_ms: 300,
        transfer_timeout_ms: 300,
        connections_max: 2,
        ..settled()
    };
    let server = Running::start(config).await;
    let mut idle = Client::connect(server.address).await;
    let mut half = Client::connect_silently(server.address).await;
    half.send(&[10, 0]).await;
    let mut third = TcpStream::connect(server.address)
        .await
        .expect("the kernel accepts");
    third.write_all(&PREFACE).await.ok();
    let read = tokio::time::timeout(PATIENCE, third.read(&mut [0; 8]))
        .await
        .expect("closed");
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    assert!(idle.read().await.is_none());
    assert!(half.read().await.is_none());
    // Their places become free again.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut next = Client::connect_silently(server.address).await;
        let ping = schema::PingRequestT::default();
        next.send(&encode(Kind::Ping, 0, 1, 0, |b| ping.pack(b)))
            .await;
        if next.read().await.is_some() {
            break;
        }
        assert!(Instant::now() < deadline, "still refused");
    }
    server.stop().await;
}

#[tokio::test]
async fn stopping_closes_connections_and_frees_the_port() {
    let server = Running::start(settled()).await;
    let address = server.address;
    let mut client = Client::connect(address).await;
    server.stop().await;
    assert!(client.read().await.is_none());
    assert!(TcpStream::connect(address).await.is_err());
}
