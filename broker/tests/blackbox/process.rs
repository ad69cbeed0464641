//! Start, probes, signals, stop.

use rustix::process::Signal;

use crate::ask;
use crate::harness::{Broker, scratch, until};
use crate::wire::{Wire, batch};
use ringmq_wire::codes::ErrorCode;
use ringmq_wire::native::schema::*;

#[test]
fn serves_answers_probes_and_ends_with_0() {
    let home = scratch();
    let broker = Broker::dev(&home.path().join("data"), &["--shards", "2"]);
    assert_eq!(broker.shards.len(), 2);
    assert_eq!(broker.http("/healthz").0, 200);
    let (status, text) = broker.http("/readyz");
    assert_eq!(status, 200, "{text}");
    assert!(
        text.contains("s00-dev serving") && text.contains("s01-dev serving"),
        "{text}"
    );
    assert_eq!(broker.http("/nothing").0, 404);
    for shard in &broker.shards {
        let status = ask!(
            Wire::connect(shard),
            ShardStatus,
            ShardStatusResponse,
            ShardStatusRequestT::default()
        );
        assert_eq!(status.expect("answered").health.as_deref(), Some("ok"));
    }
    broker.stop();
}

#[test]
fn metrics_count_what_was_done() {
    let home = scratch();
    let broker = Broker::dev(&home.path().join("data"), &[]);
    let mut wire = Wire::connect(broker.shards[0]);
    wire.create("counted", 1, false).expect("made");
    let bodies = [b"one".to_vec(), b"two".to_vec()];
    wire.produce("counted", 0, &batch(None, &bodies))
        .expect("stored");
    let (status, text) = broker.http("/metrics");
    assert_eq!(status, 200);
    assert!(text.ends_with("# EOF\n"));
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').expect("a name and a value");
        assert!(series.starts_with("ringmq_"), "{line}");
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
    for line in [
        "ringmq_shard_up{shard=\"s00-dev\"} 1",
        "ringmq_produced_messages_total{shard=\"s00-dev\"} 2",
        "ringmq_appended_batches_total{shard=\"s00-dev\"} 1",
        "ringmq_topics{shard=\"s00-dev\"} 1",
        "ringmq_log_undurable_bytes{shard=\"s00-dev\"} 0",
        "ringmq_connections{shard=\"s00-dev\"} 1",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "{line} is not in\n{text}"
        );
    }
    assert!(
        !text.contains("ringmq_durable_write_seconds_count{shard=\"s00-dev\"} 0"),
        "{text}"
    );
    broker.stop();
}

#[test]
fn the_first_signal_drains_and_the_second_ends() {
    let home = scratch();
    // Ten minutes: nobody waits for that here.
    let broker = Broker::dev(&home.path().join("data"), &["--set", "drain_ms=600000"]);
    let mut wire = Wire::connect(broker.shards[0]);
    wire.create("draining", 1, false).expect("made");
    wire.produce("draining", 0, &batch(None, &[b"x".to_vec()]))
        .expect("stored");
    let mut namesrv = Wire::connect(&broker.namesrv);
    let mut writable = || {
        let info = ask!(
            namesrv,
            ClusterInfo,
            ClusterInfoResponse,
            ClusterInfoRequestT::default()
        );
        info.expect("answered")
            .shards
            .unwrap_or_default()
            .iter()
            .any(|shard| shard.writable)
    };
    assert!(writable());
    broker.signal(Signal::INT);
    until("write permission is withdrawn", || !writable());
    assert_eq!(broker.http("/readyz").0, 503);
    assert_eq!(
        broker.http("/healthz").0,
        200,
        "leave it alone, it is ending"
    );
    // It serves on.
    assert_eq!(
        Wire::connect(broker.shards[0]).read_all("draining", 0),
        [b"x".to_vec()]
    );
    broker.stop();
}

#[test]
fn a_shard_leaves_the_routes_when_it_stops_and_comes_back_when_it_starts() {
    let home = scratch();
    let server = NameServer::start();
    let arguments = [
        "run",
        "--listen",
        "127.0.0.1",
        "--node",
        "a",
        "--shards",
        "2",
        "--namesrv",
        &server.address,
        "--set",
        "drain_ms=0",
    ];
    let directory = home.path().join("data");
    let broker = Broker::start(&directory, &arguments);
    assert_eq!(server.shards(), ["s00-a", "s01-a"]);
    Wire::connect(broker.shards[1])
        .create("routed", 4, false)
        .expect("made");
    assert_eq!(server.route("routed"), ["s00-a", "s01-a"]);
    broker.stop();
    assert_eq!(server.shards(), [""; 0]);
    let broker = Broker::start(&directory, &arguments);
    assert_eq!(server.route("routed"), ["s00-a", "s01-a"]);
    // A killed one comes back at once, too: same directory, higher epoch.
    broker.kill();
    let broker = Broker::start(&directory, &arguments);
    assert_eq!(server.route("routed"), ["s00-a", "s01-a"]);
    broker.stop();
}

#[test]
fn the_port_of_another_directory_with_the_same_name_is_not_registered() {
    let home = scratch();
    let server = NameServer::start();
    let arguments = [
        "run",
        "--listen",
        "127.0.0.1",
        "--node",
        "a",
        "--shards",
        "1",
        "--namesrv",
        &server.address,
        "--set",
        "drain_ms=0",
    ];
    let first = Broker::start(&home.path().join("one"), &arguments);
    let second = Broker::start(&home.path().join("two"), &arguments);
    until("the refusal is in the log", || {
        second.log().contains("name server refuses")
    });
    assert_eq!(server.address_of("s00-a"), first.shards[0].to_string());
    second.stop();
    first.stop();
}

/// A name server on a thread of its own.
struct NameServer {
    address: String,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl NameServer {
    fn start() -> Self {
        let (told, address) = std::sync::mpsc::channel();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async move {
                let config = ringmq_namesrv::Config {
                    listen: "127.0.0.1:0".parse().expect("an address"),
                    stop_timeout_ms: 50,
                    settle_ms: 0,
                    ..Default::default()
                };
                let server = ringmq_namesrv::Server::bind(config).await.expect("binds");
                told.send(server.local_addr().expect("bound").to_string())
                    .expect("heard");
                server
                    .run(async move {
                        let _ = stopped.await;
                    })
                    .await;
            });
        });
        Self {
            address: address.recv().expect("it starts"),
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    fn info(&self) -> Vec<ShardAddressT> {
        let info = ask!(
            Wire::connect(&self.address),
            ClusterInfo,
            ClusterInfoResponse,
            ClusterInfoRequestT::default()
        );
        info.expect("answered").shards.unwrap_or_default()
    }

    fn shards(&self) -> Vec<String> {
        let mut shards: Vec<String> = self.info().into_iter().map(|shard| shard.shard).collect();
        shards.sort();
        shards
    }

    fn address_of(&self, shard: &str) -> String {
        let found = self.info().into_iter().find(|found| found.shard == shard);
        found.expect("registered").address
    }

    /// Shards that serve a topic.
    fn route(&self, topic: &str) -> Vec<String> {
        let mut request = RouteQueryRequestT::default();
        request.topics = Some(vec![topic.to_owned()]);
        let answer = ask!(
            Wire::connect(&self.address),
            RouteQuery,
            RouteQueryResponse,
            &request
        );
        let mut routes = answer.expect("answered").routes.unwrap_or_default();
        let route = routes.pop().expect("one was asked for");
        assert_eq!(ErrorCode::from_number(route.error), None);
        let mut shards = route.shards.unwrap_or_default();
        shards.sort();
        shards
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        if let (Some(stop), Some(thread)) = (self.stop.take(), self.thread.take()) {
            let _ = stop.send(());
            let _ = thread.join();
        }
    }
}
