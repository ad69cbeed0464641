//! Everything is bounded: connections, and bytes of peers that do not read.

use crate::broker::Broker;
use crate::client::*;
use ringmq_broker::limits::Limits;
use ringmq_wire::codes::ErrorCode;
use ringmq_wire::native::PREFACE;
use ringmq_wire::native::schema::FetchRequestT;
use std::io::{ErrorKind, Write};
use std::time::Duration;

#[test]
fn one_connection_too_many_is_told_busy() {
    let broker = Broker::with(Limits {
        connections_max: 2,
        ..Limits::DEFAULT
    });
    let first = Client::connect(broker.address);
    let mut second = Client::connect(broker.address);
    let mut third = Client::raw(broker.address);
    third.stream.write_all(&PREFACE).expect("sent");
    assert_eq!(third.hello().code(), ErrorCode::Busy);
    assert!(third.is_closed());
    second.ping();
    drop(first);
    broker.wait_for("room", |metrics| metrics.sessions.connections < 2);
    Client::connect(broker.address).ping();
    assert_eq!(broker.metrics().sessions.connections_refused, 1);
}

#[test]
fn a_peer_that_never_reads_is_bounded_and_holds_up_nobody() {
    let limits = Limits {
        connection_bytes_max: 1 << 20,
        shard_bytes_max: 8 << 20,
        fetch_bytes_max: 512 << 10,
        fetch_sessions_max: 16,
        write_stall_ms: 2_000,
        ..Limits::DEFAULT
    };
    let broker = Broker::with(limits);
    let mut client = Client::connect(broker.address);
    client.create_topic("orders", 1);
    let body = vec![7u8; 250_000];
    for _ in 0..40 {
        client.produce("orders", 0, &batch(&[&body])).produced();
    }
    // Asks and asks, and never takes an answer: each request a new session, so none waits for another.
    let mut greedy = Client::connect(broker.address);
    let patience = Some(Duration::from_millis(300));
    greedy.stream.set_write_timeout(patience).expect("set");
    for _ in 0..limits.fetch_sessions_max {
        greedy.send_fetch(&fetch_of(0, vec![add(0, "orders", 0, 0)]));
    }
    // Pings by the thousand, until the broker reads no further.
    let pings: Vec<u8> = (0..2000).flat_map(ping_frame).collect();
    let mut refused = false;
    for _ in 0..2000 {
        match greedy.stream.write(&pings) {
            Ok(_) => {}
            Err(error) => {
                assert!(matches!(
                    error.kind(),
                    ErrorKind::WouldBlock
                        | ErrorKind::TimedOut
                        | ErrorKind::ConnectionReset
                        | ErrorKind::BrokenPipe
                ));
                refused = true;
                break;
            }
        }
        let in_flight = broker.metrics().sessions.in_flight_bytes;
        assert!(in_flight <= 3 << 20, "{in_flight} bytes in flight");
    }
    assert!(refused, "the broker read on without end");
    // Others are served meanwhile, and the greedy one is dropped.
    let fetched = client.fetch(&fetch_of(0, vec![add(0, "orders", 0, 0)]));
    assert!(!fetched.bodies(0).is_empty());
    broker.wait_for("the greedy one is gone", |metrics| {
        metrics.sessions.connections == 1
    });
    assert_eq!(broker.metrics().sessions.in_flight_bytes, 0);
    client.ping();
}

#[test]
fn readers_share_a_small_budget() {
    let limits = Limits {
        connection_bytes_max: 1 << 20,
        shard_bytes_max: 1 << 20,
        fetch_bytes_max: 400 << 10,
        ..Limits::DEFAULT
    };
    let broker = Broker::with(limits);
    let mut client = Client::connect(broker.address);
    client.create_topic("orders", 1);
    let body = vec![7u8; 100_000];
    const COUNT: usize = 30;
    for _ in 0..COUNT {
        client.produce("orders", 0, &batch(&[&body])).produced();
    }
    let address = broker.address;
    let readers: Vec<_> = (0..8)
        .map(|_| {
            std::thread::spawn(move || {
                let mut client = Client::connect(address);
                let mut got = 0;
                let mut fetched = client.fetch(&fetch_of(0, vec![add(0, "orders", 0, 0)]));
                loop {
                    got += fetched.bodies(0).len();
                    if got >= COUNT {
                        return got;
                    }
                    fetched = client.fetch(&FetchRequestT {
                        max_bytes: 1 << 20,
                        ..fetch_of(fetched.session, Vec::new())
                    });
                }
            })
        })
        .collect();
    for reader in readers {
        assert_eq!(reader.join().expect("all read"), COUNT);
    }
    broker.wait_for("everything is sent", |metrics| {
        metrics.sessions.in_flight_bytes == 0
    });
}
