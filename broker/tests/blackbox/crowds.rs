//! Peers that take their time, in numbers: they are borne for a while and then dropped, and nobody else notices.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use ringmq_wire::codes::Kind;
use ringmq_wire::native::schema::*;
use ringmq_wire::native::{self};

use crate::harness::{Broker, scratch};
use crate::wire::{Wire, batch};

/// A begun frame must be whole within 30 s, and a peer must take an answer within 30 s.
const DROPPED_WITHIN: Duration = Duration::from_secs(120);

/// `None`: the shard was too busy to tell.
fn connections(broker: &Broker) -> Option<u64> {
    let (_, metrics) = broker.http("/metrics");
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("ringmq_connections{shard=\"s00-dev\"} "));
    line.map(|count| count.parse().expect("a number"))
}

/// Does what `every` does each second, and an ordinary client's work in between, until the crowd is gone.
fn until_dropped(broker: &Broker, wire: &mut Wire, mut every: impl FnMut()) {
    let deadline = Instant::now() + DROPPED_WITHIN;
    while connections(broker) != Some(1) {
        assert!(Instant::now() < deadline, "they are still there");
        every();
        let second = Instant::now() + Duration::from_secs(1);
        while Instant::now() < second {
            let bodies = [b"in time".to_vec()];
            let stored = wire.produce("others", 0, &batch(None, &bodies));
            stored.expect("others are served");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn peers_that_send_a_byte_a_second_are_dropped_and_disturb_nobody() {
    const PEERS: usize = 500;
    let home = scratch();
    let broker = Broker::dev(&home.path().join("data"), &[]);
    let mut wire = Wire::connect(broker.shards[0]);
    wire.create("others", 1, false).expect("made");
    let mut peers: Vec<TcpStream> = (0..PEERS).map(|_| slow(broker.shards[0])).collect();
    let mut hello = HelloRequestT::default();
    hello.client_id = "slow".to_owned();
    let bytes = native::encode(Kind::Hello, 0, 1, 0, |b| hello.pack(b));
    let mut sent = 0;
    until_dropped(&broker, &mut wire, || {
        for peer in &mut peers {
            // Fails once the broker has dropped it.
            let _ = peer.write(&bytes[sent..=sent]);
        }
        sent += 1;
    });
    assert!(sent > 5, "they were given time: {sent} s");
    broker.stop();
}

/// Has sent its preface.
fn slow(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("connects");
    stream.write_all(&native::PREFACE).expect("sent");
    stream
}

#[test]
fn a_consumer_that_never_reads_takes_bounded_memory_and_is_dropped() {
    const MIB: u64 = 1 << 20;
    let home = scratch();
    let broker = Broker::dev(&home.path().join("data"), &[]);
    let mut wire = Wire::connect(broker.shards[0]);
    wire.create("others", 1, false).expect("made");
    wire.create("much", 1, false).expect("made");
    for _ in 0..48 {
        let stored = wire.produce("much", 0, &batch(None, &[vec![7; MIB as usize]]));
        stored.expect("stored");
    }
    let before = broker.resident_bytes();
    let mut deaf = Wire::connect(broker.shards[0]);
    // Each of them asks for everything.
    let mut asked = 0;
    for _ in 0..64 {
        let mut add = FetchAddT::default();
        add.topic = "much".to_owned();
        let mut request = FetchRequestT::default();
        request.add = Some(vec![add]);
        request.max_bytes = 16 << 20;
        asked += usize::from(deaf.send(Kind::Fetch, 0, |b| request.pack(b)).is_ok());
    }
    assert!(asked > 0);
    let mut most = 0;
    until_dropped(&broker, &mut wire, || {
        most = most.max(broker.resident_bytes());
    });
    // A connection may have 32 MiB under way; the rest is slack for the process.
    let grown = most.saturating_sub(before);
    assert!(grown < 64 * MIB, "{} MiB more", grown / MIB);
    let mut rest = Vec::new();
    let _ = deaf.stream().read_to_end(&mut rest);
    assert!(rest.len() < 64 << 20, "it got {} bytes", rest.len());
    broker.stop();
}
