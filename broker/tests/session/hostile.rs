//! Peers that are something else, broken, silent or slow.

use crate::broker::Broker;
use crate::client::*;
use ringmq_broker::limits::Limits;
use ringmq_wire::codes::ErrorCode;
use ringmq_wire::native::PREFACE;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

#[test]
fn other_protocols_get_an_answer_they_understand() {
    let broker = Broker::new();
    let exchange = |bytes: &[u8]| {
        let mut client = Client::raw(broker.address);
        client.stream.write_all(bytes).expect("sent");
        let mut answer = Vec::new();
        let read = client.stream.read_to_end(&mut answer);
        assert!(read.is_ok(), "closed, not reset: {read:?}");
        answer
    };
    let http = exchange(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(http.starts_with(b"HTTP/1.1 400 "));
    let tls = exchange(&[0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3]);
    assert_eq!(tls, [0x15, 3, 1, 0, 2, 2, 40]);
    assert!(exchange(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").len() > 9);
    // A RocketMQ client whose header is no header, and one whose frame is too large.
    assert_eq!(exchange(b"\0\0\0\x0c\0\0\0\x08{\"code\":"), [0_u8; 0]);
    assert_eq!(exchange(b"\x01\0\0\x01\0\0\0\x08{"), [0_u8; 0]);
    assert_eq!(exchange(b"SSH-2.0-OpenSSH_9.6\r\n"), [0_u8; 0]);
    broker.wait_for("all closed", |metrics| metrics.sessions.connections == 0);
}

#[test]
fn a_broken_frame_is_answered_and_ends_only_its_connection() {
    let broker = Broker::new();
    let mut good = Client::connect(broker.address);
    let mut bad = Client::connect(broker.address);
    let mut frame = ping_frame(9);
    frame[20] ^= 1;
    bad.stream.write_all(&frame).expect("sent");
    assert_eq!(bad.receive().code(), ErrorCode::Malformed);
    assert!(bad.is_closed());
    let mut early = Client::raw(broker.address);
    early.stream.write_all(&PREFACE).expect("sent");
    early.send_ping();
    assert_eq!(early.receive().code(), ErrorCode::HelloRequired);
    assert!(early.is_closed());
    good.ping();
}

fn impatient() -> Limits {
    Limits {
        idle_ms: 1_500,
        frame_ms: 700,
        slow_bytes_per_s: 1 << 20,
        write_stall_ms: 700,
        ..Limits::DEFAULT
    }
}

#[test]
fn silent_and_dribbling_peers_are_dropped() {
    let broker = Broker::with(impatient());
    let mut mute = Client::raw(broker.address);
    let mut half = Client::connect(broker.address);
    half.stream.write_all(&ping_frame(1)[..10]).expect("sent");
    let mut idle = Client::connect(broker.address);
    let mut dribbling = Client::connect(broker.address);
    let frame = produce_frame(
        1,
        "orders",
        0,
        ringmq_wire::native::schema::Acks::Durable,
        &vec![0; 1000],
    );
    let begin = Instant::now();
    let mut dropped = false;
    for byte in frame {
        if dribbling.stream.write_all(&[byte]).is_err() {
            dropped = true;
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
        if begin.elapsed() > Duration::from_secs(15) {
            break;
        }
    }
    assert!(dropped, "a frame that takes for ever");
    assert!(mute.is_closed() && half.is_closed() && idle.is_closed());
    broker.wait_for("all closed", |metrics| metrics.sessions.connections == 0);
    assert_eq!(broker.metrics().sessions.in_flight_bytes, 0);
}

#[test]
fn a_long_poll_is_not_idleness() {
    let broker = Broker::with(impatient());
    let mut client = Client::connect(broker.address);
    client.create_topic("orders", 1);
    let mut request = fetch_of(0, vec![add(0, "orders", 0, 0)]);
    request.max_wait_ms = 4_000;
    let begin = Instant::now();
    assert_eq!(client.fetch(&request).slots(), [0_u32; 0]);
    assert!(begin.elapsed() >= Duration::from_secs(4));
    client.ping();
}

#[test]
fn a_half_closed_connection_gets_its_answers() {
    let broker = Broker::new();
    let mut client = Client::connect(broker.address);
    client.create_topic("orders", 1);
    let produce = client.send_produce(
        "orders",
        0,
        ringmq_wire::native::schema::Acks::Durable,
        &batch(&[b"last words"]),
    );
    let poll = client.send_fetch(&fetch_of(0, vec![add(0, "orders", 0, 1)]));
    client.stream.shutdown(Shutdown::Write).expect("shut");
    let begin = Instant::now();
    let ids = [client.receive(), client.receive()].map(|answer| answer.prefix.correlation_id);
    assert!(ids.contains(&produce) && ids.contains(&poll));
    assert!(client.is_closed());
    assert!(
        begin.elapsed() < Duration::from_secs(8),
        "the poll is not waited for"
    );
}
