//! kill -9 at any moment: what was acknowledged is there, once, in order, with its bytes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use ringmq_wire::limits::PRODUCER_IN_FLIGHT_MAX;

use crate::harness::{Broker, Random, scratch};
use crate::wire::{Wire, batch, produced};

const PRODUCER: u64 = 0xfeed;

/// One idempotent producer of one queue: alone in its queue, so message n must get offset n.
struct Sender {
    topic: &'static str,
    random: Random,
    bodies: Vec<Vec<u8>>,
    /// First message of a batch that is not acknowledged, and one behind its last.
    open: BTreeMap<usize, usize>,
    acknowledged: usize,
    duplicates: usize,
}

impl Sender {
    fn new(topic: &'static str, random: Random) -> Self {
        Self {
            topic,
            random,
            bodies: Vec::new(),
            open: BTreeMap::new(),
            acknowledged: 0,
            duplicates: 0,
        }
    }

    /// Sends until the connection breaks or `enough` messages are acknowledged.
    fn run(&mut self, address: SocketAddr, enough: usize) -> std::io::Result<()> {
        let mut wire = Wire::try_connect(address)?;
        let mut waiting = BTreeMap::new();
        // What got no answer may be stored or not: again, with the same sequences, in order.
        for (from, to) in self.open.clone() {
            waiting.insert(self.send(&mut wire, from, to)?, from);
        }
        while self.acknowledged < enough || !waiting.is_empty() {
            while waiting.len() < PRODUCER_IN_FLIGHT_MAX && self.acknowledged < enough {
                let (from, to) = self.more();
                waiting.insert(self.send(&mut wire, from, to)?, from);
            }
            let answer = wire.receive()?;
            let from = waiting.remove(&answer.id).expect("one of ours");
            match produced(&answer) {
                Ok(result) => {
                    assert_eq!(result.base_offset, from as u64, "message n has offset n");
                    self.duplicates += usize::from(result.duplicate);
                    let to = self.open.remove(&from).expect("was open");
                    self.acknowledged += to - from;
                }
                Err(code) => panic!("refused: {}", code.name()),
            }
        }
        Ok(())
    }

    fn more(&mut self) -> (usize, usize) {
        let from = self.bodies.len();
        for _ in 0..=self.random.below(8) {
            let number = self.bodies.len();
            let mut body = format!("{number}:").into_bytes();
            let filler = self.random.below(20_000) as usize;
            body.resize(body.len() + filler, (number % 251) as u8);
            self.bodies.push(body);
        }
        self.open.insert(from, self.bodies.len());
        (from, self.bodies.len())
    }

    fn send(&self, wire: &mut Wire, from: usize, to: usize) -> std::io::Result<u64> {
        let sequence = u32::try_from(from).expect("a short test");
        let batch = batch(Some((PRODUCER, sequence)), &self.bodies[from..to]);
        wire.send_produce(self.topic, 0, &batch)
    }
}

#[test]
fn acknowledged_messages_survive_kills_once_and_in_order() {
    let home = scratch();
    let directory = home.path().join("data");
    let mut broker = Broker::dev(&directory, &[]);
    Wire::connect(broker.shards[0])
        .create("kept", 1, false)
        .expect("made");
    let mut moments = Random::new();
    let mut sender = Sender::new("kept", Random::new());
    for round in 0..6 {
        let address = broker.shards[0];
        let sending = std::thread::spawn(move || {
            // Ends with the broker.
            let _ = sender.run(address, usize::MAX);
            sender
        });
        std::thread::sleep(Duration::from_millis(20 + moments.below(250)));
        broker.kill();
        sender = sending.join().expect("every answer was right");
        broker = Broker::dev(&directory, &[]);
        let stored = Wire::connect(broker.shards[0]).read_all("kept", 0);
        assert!(
            stored.len() >= sender.acknowledged,
            "round {round}: acknowledged messages are gone"
        );
        assert_eq!(
            stored,
            sender.bodies[..stored.len()],
            "round {round}: a prefix of what was sent"
        );
    }
    let enough = sender.acknowledged + 50;
    sender.run(broker.shards[0], enough).expect("serves");
    broker.stop();
    let broker = Broker::dev(&directory, &[]);
    assert!(
        Wire::connect(broker.shards[0]).read_all("kept", 0) == sender.bodies,
        "all of it, once"
    );
}

#[test]
fn a_repeated_batch_gets_its_first_answer_also_after_a_restart() {
    let home = scratch();
    let directory = home.path().join("data");
    let broker = Broker::dev(&directory, &[]);
    let mut wire = Wire::connect(broker.shards[0]);
    wire.create("once", 1, false).expect("made");
    let bodies = [b"a".to_vec(), b"b".to_vec()];
    let first = wire
        .produce("once", 0, &batch(Some((PRODUCER, 0)), &bodies))
        .expect("stored");
    assert!(!first.duplicate);
    let again = |address: SocketAddr| {
        let answer =
            Wire::connect(address).produce("once", 0, &batch(Some((PRODUCER, 0)), &bodies));
        let answer = answer.expect("answered again");
        assert!(answer.duplicate);
        assert_eq!(
            (answer.base_offset, answer.position, answer.store_time_ms),
            (first.base_offset, first.position, first.store_time_ms)
        );
    };
    again(broker.shards[0]);
    broker.kill();
    let broker = Broker::dev(&directory, &[]);
    again(broker.shards[0]);
    broker.stop();
    let broker = Broker::dev(&directory, &[]);
    again(broker.shards[0]);
    let mut wire = Wire::connect(broker.shards[0]);
    wire.produce("once", 0, &batch(Some((PRODUCER, 2)), &[b"c".to_vec()]))
        .expect("the next sequence");
    assert_eq!(
        wire.read_all("once", 0),
        [b"a".to_vec(), b"b".to_vec(), b"c".to_vec()]
    );
}
