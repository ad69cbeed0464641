//! Produce: order, acknowledgements, refusals, duplicates.

use crate::broker::Broker;
use crate::client::*;
use ringmq_broker::limits::Limits;
use ringmq_storage_engine::store::StoreOptions;
use ringmq_wire::batch::BatchOptions;
use ringmq_wire::codes::ErrorCode;
use ringmq_wire::native::schema::Acks;
use std::io::Write;

#[test]
fn what_goes_in_comes_out_also_after_a_restart() {
    let broker = Broker::new();
    let mut client = Client::connect(broker.address);
    client.create_topic("orders", 2);
    let sizes = [0, 1, 100, 5_000, 70_000, 300_000, 3_500_000];
    let sent: Vec<Vec<u8>> = sizes
        .iter()
        .enumerate()
        .map(|(index, size)| vec![b'a' + index as u8; *size])
        .collect();
    for body in &sent {
        let answer = client.produce("orders", 1, &batch(&[body, b"tail"]));
        assert!(!answer.produced().duplicate);
    }
    let expected: Vec<Vec<u8>> = sent
        .iter()
        .flat_map(|body| [body.clone(), b"tail".to_vec()])
        .collect();
    assert_eq!(read_all(&mut client, "orders", 1, expected.len()), expected);
    let broker = broker.restart(Limits::DEFAULT);
    let mut client = Client::connect(broker.address);
    assert_eq!(read_all(&mut client, "orders", 1, expected.len()), expected);
}

/// Reads a queue from its start until that many messages have come.
pub fn read_all(client: &mut Client, topic: &str, queue: u32, messages: usize) -> Vec<Vec<u8>> {
    let mut got = Vec::new();
    let mut fetched = client.fetch(&fetch_of(0, vec![add(0, topic, queue, 0)]));
    loop {
        assert_eq!(fetched.errors(), []);
        got.extend(fetched.bodies(0));
        if got.len() >= messages {
            return got;
        }
        fetched = client.fetch(&fetch_of(fetched.session, Vec::new()));
    }
}

#[test]
fn pipelined_batches_keep_their_order() {
    let broker = Broker::new();
    let mut client = Client::connect(broker.address);
    client.create_topic("orders", 4);
    const COUNT: u64 = 300;
    let mut stream = client.stream.try_clone().expect("cloned");
    let writer = std::thread::spawn(move || {
        for index in 0..COUNT {
            let body = index.to_le_bytes();
            let frame = produce_frame(index, "orders", 3, Acks::Durable, &batch(&[&body]));
            stream.write_all(&frame).expect("sent");
        }
    });
    for _ in 0..COUNT {
        let answer = client.receive();
        let produced = answer.produced();
        assert_eq!(produced.base_offset, answer.prefix.correlation_id);
    }
    writer.join().expect("all sent");
    let got = read_all(&mut client, "orders", 3, COUNT as usize);
    let expected: Vec<Vec<u8>> = (0..COUNT).map(|i| i.to_le_bytes().to_vec()).collect();
    assert_eq!(got, expected);
    assert!(
        broker.metrics().store.frames_written < COUNT,
        "group commit"
    );
}

#[test]
fn a_full_log_slows_producers_down_and_refuses_nothing() {
    // Room for one large frame at a time, and a new segment every few batches.
    let store = StoreOptions {
        segment_bytes: 8 << 20,
        frame_bytes_max: 4 << 20,
        in_flight_bytes_max: 4 << 20,
        ..StoreOptions::default()
    };
    let broker = Broker::with_store(Limits::DEFAULT, store);
    Client::connect(broker.address).create_topic("orders", 4);
    const COUNT: u64 = 12;
    let address = broker.address;
    let producers: Vec<_> = (0..4)
        .map(|queue| {
            std::thread::spawn(move || {
                let mut client = Client::connect(address);
                let mut stream = client.stream.try_clone().expect("cloned");
                let writer = std::thread::spawn(move || {
                    let body = vec![queue as u8; 1 << 20];
                    for id in 0..COUNT {
                        let batch = batch(&[&body]);
                        let frame = produce_frame(id, "orders", queue, Acks::Durable, &batch);
                        stream.write_all(&frame).expect("sent");
                    }
                });
                for expected in 0..COUNT {
                    let answer = client.receive();
                    assert_eq!(answer.produced().base_offset, expected);
                    assert_eq!(answer.prefix.correlation_id, expected);
                }
                writer.join().expect("all sent");
            })
        })
        .collect();
    for producer in producers {
        producer.join().expect("all acknowledged");
    }
    let metrics = broker.metrics();
    assert!(metrics.store.segments_sealed >= 4, "segments were rolled");
    assert_eq!(metrics.sessions.refusals, []);
}

#[test]
fn one_way_batches_have_no_answer_and_received_ones_an_early_one() {
    let broker = Broker::new();
    let mut client = Client::connect(broker.address);
    client.create_topic("orders", 1);
    for index in 0..10u8 {
        client.send_produce("orders", 0, Acks::None, &batch(&[&[index]]));
    }
    client.send_produce("missing", 0, Acks::None, &batch(&[b"x"]));
    client.ping();
    let id = client.send_produce("orders", 0, Acks::Received, &batch(&[&[10]]));
    assert_eq!(client.answer_to(id).produced().base_offset, 10);
    let expected: Vec<Vec<u8>> = (0..=10u8).map(|index| vec![index]).collect();
    assert_eq!(read_all(&mut client, "orders", 0, 11), expected);
}

#[test]
fn refusals_say_why_and_change_nothing() {
    let broker = Broker::new();
    let mut client = Client::connect(broker.address);
    client.create_topic("orders", 1);
    let good = batch(&[b"x"]);
    assert_eq!(
        client.produce("missing", 0, &good).code(),
        ErrorCode::TopicNotFound
    );
    assert_eq!(
        client.produce("orders", 1, &good).code(),
        ErrorCode::QueueNotFound
    );
    let mut bad = good.clone();
    *bad.last_mut().expect("not empty") ^= 1;
    assert_eq!(
        client.produce("orders", 0, &bad).code(),
        ErrorCode::BadBatch
    );
    assert_eq!(client.produce("orders", 0, b"").code(), ErrorCode::BadBatch);
    let large = vec![0; 5 << 20];
    let answer = client.produce("orders", 0, &batch(&[&large]));
    assert_eq!(answer.code(), ErrorCode::MessageTooLarge);
    let id = client.send_produce("orders", 0, Acks(9), &good);
    assert_eq!(client.answer_to(id).code(), ErrorCode::InvalidRequest);
    broker.set_writable(false);
    assert_eq!(
        client.produce("orders", 0, &good).code(),
        ErrorCode::Stopping
    );
    broker.set_writable(true);
    assert_eq!(client.produce("orders", 0, &good).produced().base_offset, 0);
}

#[test]
fn a_repeated_batch_gets_its_first_result_also_after_a_restart() {
    let broker = Broker::new();
    let mut client = Client::connect(broker.address);
    client.create_topic("orders", 1);
    let numbered = |sequence| {
        let options = BatchOptions {
            producer_id: 42,
            base_sequence: sequence,
            ..BatchOptions::default()
        };
        let message = Message {
            body: b"once",
            ..Message::default()
        };
        batch_with(&[message.clone(), message], options)
    };
    let first = client.produce("orders", 0, &numbered(0)).produced();
    let second = client.produce("orders", 0, &numbered(2)).produced();
    assert_eq!(second.base_offset, 2);
    let check = |client: &mut Client| {
        let again = client.produce("orders", 0, &numbered(2)).produced();
        assert!(again.duplicate);
        assert_eq!(again.base_offset, second.base_offset);
        assert_eq!(again.position, second.position);
        assert_eq!(again.store_time_ms, second.store_time_ms);
        let gap = client.produce("orders", 0, &numbered(6));
        let (code, table) = gap.error().expect("a gap");
        assert_eq!((code, table.sequence), (ErrorCode::OutOfOrderSequence, 4));
    };
    assert!(!first.duplicate);
    check(&mut client);
    let broker = broker.restart(Limits::DEFAULT);
    let mut client = Client::connect(broker.address);
    check(&mut client);
    assert_eq!(
        client
            .produce("orders", 0, &numbered(4))
            .produced()
            .base_offset,
        4
    );
}

#[test]
fn a_stop_answers_what_is_under_way() {
    let mut broker = Broker::new();
    let mut client = Client::connect(broker.address);
    client.create_topic("orders", 1);
    let ids: Vec<u64> = (0..50u8)
        .map(|index| client.send_produce("orders", 0, Acks::Durable, &batch(&[&[index]])))
        .collect();
    let mut waiting = Client::connect(broker.address);
    waiting.send_fetch(&fetch_of(0, vec![add(0, "orders", 0, 1000)]));
    broker.stop().expect("a clean stop");
    for id in ids {
        let answer = client.answer_to(id);
        let refused = answer.error().map(|(code, _)| code);
        assert!(refused.is_none() || refused == Some(ErrorCode::Stopping));
    }
    assert!(client.is_closed());
    waiting.receive();
    assert!(waiting.is_closed());
}
