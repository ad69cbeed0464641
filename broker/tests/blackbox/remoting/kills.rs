//! kill -9 under RocketMQ's traffic: what was acknowledged is there, in order, with its bytes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use ringmq_wire::remoting::message::StoredMessages;
use ringmq_wire::remoting::{Command, FramePrefix, Header, Serialization};

use super::client::{Client, pull, send};
use crate::harness::{Broker, Random, scratch};

/// Sends that may be unanswered, as an asynchronous producer has them.
const IN_FLIGHT: usize = 8;

/// What a producer sent and what of it was acknowledged, each by the number in its body.
#[derive(Default)]
struct Sender {
    sent: u64,
    acknowledged: Vec<u64>,
}

impl Sender {
    /// Sends until the connection breaks.
    fn run(&mut self, address: SocketAddr, random: &mut Random) -> std::io::Result<()> {
        let mut stream = TcpStream::connect(address)?;
        let mut open = Vec::new();
        loop {
            while open.len() < IN_FLIGHT {
                let number = self.sent;
                let command = Command {
                    opaque: number as i32,
                    ..send("kept", 0)
                };
                let body = body(number, random.below(10_000) as usize);
                self.sent += 1;
                open.push(number);
                stream.write_all(&command.encode(Serialization::Binary, &body))?;
            }
            let answer = receive(&mut stream)?;
            assert_eq!(answer.code, 0, "{:?}", answer.remark);
            let number = answer.opaque as u64;
            open.retain(|open| *open != number);
            self.acknowledged.push(number);
        }
    }
}

fn body(number: u64, filler: usize) -> Vec<u8> {
    let mut body = format!("{number}:").into_bytes();
    body.resize(body.len() + filler, (number % 251) as u8);
    body
}

fn receive(stream: &mut TcpStream) -> std::io::Result<Command> {
    let mut frame = vec![0; 8];
    stream.read_exact(&mut frame)?;
    let prefix = FramePrefix::parse(&frame).expect("a frame").expect("whole");
    frame.resize(prefix.frame_bytes(), 0);
    stream.read_exact(&mut frame[8..])?;
    let header = Header::parse(prefix.serialization(), &frame[prefix.header_range()]);
    Ok(Command::from_header(&header.expect("a header")))
}

/// The number of each message in the queue, whose bytes must be those that were sent.
fn stored(broker: &Broker) -> Vec<u64> {
    let mut client = Client::connect(broker.shards[0]);
    let mut numbers = Vec::new();
    loop {
        let from = numbers.len() as u64;
        let (answer, bytes) = client.ask(pull("kept", "readers", from), &[]);
        if answer.code != 0 {
            return numbers;
        }
        for message in StoredMessages::new(&bytes) {
            let bytes = message.expect("a message").body;
            let end = bytes
                .iter()
                .position(|byte| *byte == b':')
                .expect("a number");
            let number = std::str::from_utf8(&bytes[..end]).ok();
            let number: u64 = number.and_then(|text| text.parse().ok()).expect("a number");
            assert_eq!(
                bytes,
                body(number, bytes.len() - end - 1),
                "message {number}"
            );
            numbers.push(number);
        }
    }
}

#[test]
fn acknowledged_sends_survive_kills_in_order() {
    let home = scratch();
    let directory = home.path().join("data");
    let mut broker = Broker::dev(&directory, &[]);
    let mut moments = Random::new();
    let mut sender = Sender::default();
    let mut acknowledged = 0;
    for round in 0..4 {
        let address = broker.shards[0];
        let mut sizes = Random::seeded(moments.below(u64::MAX));
        let sending = std::thread::spawn(move || {
            // Ends with the broker.
            let _ = sender.run(address, &mut sizes);
            sender
        });
        std::thread::sleep(Duration::from_millis(50 + moments.below(250)));
        broker.kill();
        sender = sending.join().expect("every answer was right");
        broker = Broker::dev(&directory, &[]);
        let found = stored(&broker);
        // One connection, one queue: what was sent later never comes first, and nothing comes twice.
        assert!(found.is_sorted_by(|a, b| a < b), "round {round}");
        let is_there = |number: &u64| found.binary_search(number).is_ok();
        let lost: Vec<&u64> = sender
            .acknowledged
            .iter()
            .filter(|n| !is_there(n))
            .collect();
        assert!(lost.is_empty(), "round {round}: lost {lost:?}");
        acknowledged = sender.acknowledged.len();
    }
    assert!(acknowledged > 0, "nothing was ever acknowledged");
}
