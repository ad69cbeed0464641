//! The native session fed whole, byte by byte, and with what it should not get.

use super::native::*;
use super::opening::Foreign;
use super::pace::Timeout;
use super::source::Receive;
use crate::limits::Limits;
use proptest::prelude::*;
use ringmq_wire::codes::{ErrorCode, Kind};
use ringmq_wire::limits::BATCH_BYTES_MAX;
use ringmq_wire::native::schema::{HelloRequestT, PingRequestT, ProduceRequestT};
use ringmq_wire::native::{self, PREFACE, flags};

fn hello(correlation_id: u64) -> Vec<u8> {
    let request = HelloRequestT {
        version_min: 1,
        version_max: 1,
        client_id: "test".to_owned(),
        ..HelloRequestT::default()
    };
    native::encode(Kind::Hello, 0, correlation_id, 0, |b| request.pack(b))
}

fn ping(correlation_id: u64) -> Vec<u8> {
    let request = PingRequestT::default();
    native::encode(Kind::Ping, 0, correlation_id, 0, |b| request.pack(b))
}

fn produce(correlation_id: u64, payload: &[u8]) -> Vec<u8> {
    let request = ProduceRequestT {
        topic: "orders".to_owned(),
        ..ProduceRequestT::default()
    };
    let mut frame = native::encode(Kind::Produce, 0, correlation_id, payload.len(), |b| {
        request.pack(b)
    });
    frame.extend_from_slice(payload);
    frame
}

/// What a session made of its input.
#[derive(Debug, Clone, PartialEq)]
enum Seen {
    Hello(u64),
    Request(Kind, u64, Vec<u8>),
    Refuse(u64, ErrorCode, bool),
    Foreign(Foreign),
}

struct Feeder {
    session: Session,
    seen: Vec<Seen>,
    reserved: usize,
}

impl Feeder {
    fn new() -> Self {
        Self {
            session: Session::new(Limits::DEFAULT, 0),
            seen: Vec::new(),
            reserved: 0,
        }
    }

    fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let space = self.session.unfilled();
            let count = space.len().min(bytes.len());
            space[..count].copy_from_slice(&bytes[..count]);
            bytes = &bytes[count..];
            self.session.filled(count, 0);
            self.steps();
        }
    }

    fn steps(&mut self) {
        loop {
            match self.session.step() {
                Step::Read => return,
                Step::Reserve(bytes) => {
                    assert!(bytes > 0);
                    self.reserved += 1;
                    self.session.reserved(0);
                }
                Step::Hello(prefix) => {
                    self.seen.push(Seen::Hello(prefix.correlation_id));
                    self.session.accepted();
                    self.session.consume(&prefix);
                }
                Step::Request(kind, prefix) => {
                    let payload = self.session.payload(&prefix).to_vec();
                    self.seen
                        .push(Seen::Request(kind, prefix.correlation_id, payload));
                    self.session.consume(&prefix);
                }
                Step::Refuse {
                    correlation_id,
                    refusal,
                    close,
                    ..
                } => self
                    .seen
                    .push(Seen::Refuse(correlation_id, refusal.code, close)),
                Step::Foreign(foreign) => self.seen.push(Seen::Foreign(foreign)),
                Step::Remoting => return,
            }
        }
    }

    fn run(chunks: &[&[u8]]) -> Vec<Seen> {
        let mut feeder = Self::new();
        for chunk in chunks {
            feeder.feed(chunk);
        }
        feeder.seen
    }
}

fn conversation() -> (Vec<u8>, Vec<Seen>) {
    let payloads = [vec![1; 10], vec![2; 300_000], Vec::new()];
    let bytes = [
        PREFACE.to_vec(),
        hello(1),
        produce(2, &payloads[0]),
        ping(3),
        produce(4, &payloads[1]),
        produce(5, &payloads[2]),
    ]
    .concat();
    let seen = vec![
        Seen::Hello(1),
        Seen::Request(Kind::Produce, 2, payloads[0].clone()),
        Seen::Request(Kind::Ping, 3, Vec::new()),
        Seen::Request(Kind::Produce, 4, payloads[1].clone()),
        Seen::Request(Kind::Produce, 5, Vec::new()),
    ];
    (bytes, seen)
}

#[test]
fn byte_by_byte_gives_what_the_whole_gives() {
    let (bytes, seen) = conversation();
    assert_eq!(Feeder::run(&[&bytes]), seen);
    let mut feeder = Feeder::new();
    bytes.chunks(1).for_each(|byte| feeder.feed(byte));
    assert_eq!(feeder.seen, seen);
    assert_eq!(feeder.reserved, seen.len(), "each frame is counted once");
}

#[test]
fn hello_comes_first() {
    let early = Feeder::run(&[&PREFACE, &ping(9), &hello(1)]);
    assert_eq!(early, [Seen::Refuse(9, ErrorCode::HelloRequired, true)]);
    let twice = Feeder::run(&[&PREFACE, &hello(1), &hello(2), &ping(3)]);
    let expected = [
        Seen::Hello(1),
        Seen::Refuse(2, ErrorCode::InvalidRequest, false),
        Seen::Request(Kind::Ping, 3, Vec::new()),
    ];
    assert_eq!(twice, expected);
}

#[test]
fn a_refused_payload_is_skipped_without_being_buffered() {
    let large = vec![0; BATCH_BYTES_MAX + 1];
    let mut feeder = Feeder::new();
    feeder.feed(&[&PREFACE[..], &hello(1), &produce(2, &large), &ping(3)].concat());
    let expected = [
        Seen::Hello(1),
        Seen::Refuse(2, ErrorCode::MessageTooLarge, false),
        Seen::Request(Kind::Ping, 3, Vec::new()),
    ];
    assert_eq!(feeder.seen, expected);
    assert!(feeder.session.buffer_bytes() <= 1 << 20);

    // A payload where none belongs, and a kind that does not exist.
    let mut odd = native::encode(Kind::Ping, 0, 7, 5, |b| PingRequestT::default().pack(b));
    odd.extend_from_slice(b"12345");
    let mut unknown = produce(8, b"x");
    unknown.truncate(0);
    let header = [0u8; 8];
    unknown.extend_from_slice(&native::encode_prefix(9999, 0, 8, &header, 3));
    unknown.extend_from_slice(&header);
    unknown.extend_from_slice(b"abc");
    let seen = Feeder::run(&[&PREFACE, &hello(1), &odd, &unknown, &ping(9)]);
    let expected = [
        Seen::Hello(1),
        Seen::Refuse(7, ErrorCode::InvalidRequest, false),
        Seen::Refuse(8, ErrorCode::UnsupportedKind, false),
        Seen::Request(Kind::Ping, 9, Vec::new()),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn what_cannot_be_read_ends_the_connection_with_an_answer() {
    let mut damaged = ping(77);
    *damaged.last_mut().expect("not empty") ^= 1;
    let answer = native::encode(Kind::Ping, flags::RESPONSE, 5, 0, |b| {
        PingRequestT::default().pack(b)
    });
    let huge = [0xff; 64];
    for (bytes, correlation_id) in [(damaged, 77), (answer, 5), (huge.to_vec(), u64::MAX)] {
        let seen = Feeder::run(&[&PREFACE, &hello(1), &bytes, &ping(3)]);
        let refused = Seen::Refuse(correlation_id, ErrorCode::Malformed, true);
        assert_eq!(seen, [Seen::Hello(1), refused]);
    }
    let foreign = Feeder::run(&[b"GET / HTTP/1.1\r\n\r\n", b"more"]);
    assert_eq!(foreign, [Seen::Foreign(Foreign::Http1)]);
}

#[test]
fn a_header_before_hello_is_small() {
    let request = HelloRequestT {
        client_id: "x".repeat(1 << 20),
        ..HelloRequestT::default()
    };
    let frame = native::encode(Kind::Hello, 0, 1, 0, |b| request.pack(b));
    let seen = Feeder::run(&[&PREFACE, &frame]);
    assert_eq!(seen, [Seen::Refuse(1, ErrorCode::Malformed, true)]);
}

#[test]
fn deadlines() {
    let limits = Limits::DEFAULT;
    let slow = |session: &mut Session, now| {
        matches!(session.check(now, true), Some(Timeout::SlowFrame(_)))
    };
    let put = |session: &mut Session, bytes: &[u8], now| {
        session.unfilled()[..bytes.len()].copy_from_slice(bytes);
        session.filled(bytes.len(), now);
        session.step()
    };

    // Silent from the start, and dribbling within a frame.
    let mut session = Session::new(limits, 0);
    assert!(!slow(&mut session, limits.frame_ms));
    assert!(slow(&mut session, limits.frame_ms + 1000));
    put(&mut session, &PREFACE, 10);
    let frame = hello(1);
    for (index, byte) in frame.iter().enumerate().take(20) {
        put(&mut session, &[*byte], 10 + 5000 * index as u64);
    }
    assert!(slow(&mut session, 10 + 5000 * 20));

    // Between frames only silence counts, and only when nothing is owed.
    let mut session = Session::new(limits, 0);
    put(&mut session, &PREFACE, 0);
    let step = put(&mut session, &hello(1), 0);
    let Step::Reserve(_) = step else {
        panic!("{step:?}")
    };
    assert_eq!(
        session.check(10 * limits.idle_ms, false),
        None,
        "waits for room"
    );
    session.reserved(5);
    let step = session.step();
    let Step::Hello(prefix) = step else {
        panic!("{step:?}")
    };
    session.accepted();
    session.consume(&prefix);
    assert_eq!(session.check(5 + limits.idle_ms, false), None);
    // A long poll is not silence, and silence begins when it is answered.
    let answered = 6 + limits.idle_ms;
    assert_eq!(session.check(answered, true), None);
    assert_eq!(session.check(answered + limits.idle_ms, false), None);
    assert!(matches!(
        session.check(answered + limits.idle_ms + 1, false),
        Some(Timeout::Idle(_))
    ));

    // Dribbling a payload that is being skipped.
    let large = produce(2, &vec![0; BATCH_BYTES_MAX + 1]);
    let step = put(&mut session, &large[..200], 1000);
    assert!(matches!(step, Step::Refuse { .. }), "{step:?}");
    let mut now = 1000;
    while !slow(&mut session, now) {
        now += 5000;
        assert!(now < 2_000_000, "dribbled for ever");
        assert_eq!(put(&mut session, &[0], now), Step::Read);
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic_and_chunks_do_not_matter(
        bytes in prop::collection::vec(any::<u8>(), 0..600),
        open in any::<bool>(),
        chunk in 1usize..50,
    ) {
        let mut all = Vec::new();
        if open {
            all.extend_from_slice(&PREFACE);
            all.extend_from_slice(&hello(1));
        }
        all.extend_from_slice(&bytes);
        let whole = Feeder::run(&[&all]);
        let mut feeder = Feeder::new();
        all.chunks(chunk).for_each(|part| feeder.feed(part));
        // A broken frame is told as soon as it shows, so its correlation id may not be there yet.
        let kinds = |seen: &[Seen]| seen.iter().map(std::mem::discriminant).collect::<Vec<_>>();
        prop_assert_eq!(kinds(&whole), kinds(&feeder.seen));
    }

    #[test]
    fn any_chunking_of_a_conversation_gives_the_same(cuts in prop::collection::vec(1usize..100_000, 1..40)) {
        let (bytes, seen) = conversation();
        let mut feeder = Feeder::new();
        let mut rest = &bytes[..];
        for cut in cuts {
            let (chunk, behind) = rest.split_at(cut.min(rest.len()));
            feeder.feed(chunk);
            rest = behind;
        }
        feeder.feed(rest);
        prop_assert_eq!(feeder.seen, seen);
    }

    #[test]
    fn flipped_bits_are_noticed_or_harmless(at in 0usize..100, bit in 0u8..8) {
        let frame = ping(3);
        let mut bytes = [PREFACE.to_vec(), hello(1)].concat();
        let from = bytes.len();
        bytes.extend_from_slice(&frame);
        let at = from + at % frame.len();
        bytes[at] ^= 1 << bit;
        bytes.extend_from_slice(&ping(4));
        let seen = Feeder::run(&[&bytes]);
        prop_assert!(!seen.contains(&Seen::Request(Kind::Ping, 3, Vec::new())));
    }
}
