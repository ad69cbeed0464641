//! Fetch sessions over the wire.

use crate::broker::Broker;
use crate::client::*;
use ringmq_broker::limits::Limits;
use ringmq_wire::batch::{BatchOptions, BatchView};
use ringmq_wire::codes::ErrorCode;
use ringmq_wire::native::schema::*;

fn broker_with_topic(queues: u32) -> (Broker, Client) {
    let broker = Broker::new();
    let mut client = Client::connect(broker.address);
    client.create_topic("orders", queues);
    (broker, client)
}

/// Opens a session with the first queue as slot 0, and does not wait.
fn opening() -> FetchRequestT {
    FetchRequestT {
        max_wait_ms: 0,
        ..fetch_of(0, vec![add(0, "orders", 0, 0)])
    }
}

/// Takes what is there and does not wait.
fn at_once(session: u32) -> FetchRequestT {
    FetchRequestT {
        max_wait_ms: 0,
        ..fetch_of(session, Vec::new())
    }
}

#[test]
fn a_long_poll_wakes_when_something_is_visible() {
    let (broker, mut client) = broker_with_topic(2);
    let mut reader = Client::connect(broker.address);
    let empty = reader.fetch(&FetchRequestT {
        max_wait_ms: 1,
        ..fetch_of(0, vec![add(7, "orders", 1, 0)])
    });
    assert_eq!(empty.slots(), [0_u32; 0]);
    let id = reader.send_fetch(&fetch_of(empty.session, Vec::new()));
    client
        .produce("orders", 0, &batch(&[b"other queue"]))
        .produced();
    client.produce("orders", 1, &batch(&[b"mine"])).produced();
    // One that timed out would bring nothing.
    let fetched = reader.answer_to(id).fetched();
    assert_eq!(fetched.bodies(7), [b"mine".to_vec()]);
    let (queue, _) = &fetched.queues[0];
    assert_eq!(
        (queue.next_offset, queue.visible_offset, queue.min_offset),
        (1, 1, 0)
    );
    // min_bytes makes it wait for more.
    let id = reader.send_fetch(&FetchRequestT {
        min_bytes: 400,
        ..fetch_of(empty.session, Vec::new())
    });
    for _ in 0..3 {
        client.produce("orders", 1, &batch(&[&[0; 100]])).produced();
    }
    let fetched = reader.answer_to(id).fetched();
    assert!(
        fetched.queues[0].1.len() >= 2,
        "waited for more than one batch"
    );
}

#[test]
fn slots_seek_pause_resume_and_report_their_own_errors() {
    let (_broker, mut client) = broker_with_topic(3);
    for queue in 0..3 {
        for index in 0..4u8 {
            let body = [queue as u8, index];
            client.produce("orders", queue, &batch(&[&body])).produced();
        }
    }
    let adds = vec![
        add(0, "orders", 0, 2),
        add(1, "orders", 1, 0),
        add(2, "orders", 2, 0),
        add(3, "orders", 9, 0),
        add(4, "missing", 0, 0),
        add(5, "orders", 0, 99),
        add(1, "orders", 1, 0),
    ];
    let request = FetchRequestT {
        pause: Some(vec![2, 8]),
        ..fetch_of(0, adds)
    };
    // Pauses come before adds: slot 2 is new, so it cannot be paused yet.
    let fetched = client.fetch(&request);
    let session = fetched.session;
    let mut errors = fetched.errors();
    errors.sort_unstable();
    let expected = [
        (1, ErrorCode::BadSlot),
        (2, ErrorCode::BadSlot),
        (3, ErrorCode::QueueNotFound),
        (4, ErrorCode::TopicNotFound),
        (5, ErrorCode::OffsetOutOfRange),
        (8, ErrorCode::BadSlot),
    ];
    assert_eq!(errors, expected);
    assert_eq!(fetched.bodies(0), [[0, 2], [0, 3]]);
    assert_eq!(fetched.bodies(2).len(), 4);
    let out_of_range = fetched.queues.iter().find(|(queue, _)| queue.slot == 5);
    let bounds =
        out_of_range.map(|(queue, _)| (queue.next_offset, queue.min_offset, queue.visible_offset));
    assert_eq!(bounds, Some((4, 0, 4)), "where to go on, and what there is");

    // Seek back; the paused slot stays where it is; the failed one comes back by seek and resume.
    let fetched = client.fetch(&FetchRequestT {
        pause: Some(vec![1]),
        seek: Some(vec![
            FetchSeekT { slot: 0, offset: 3 },
            FetchSeekT { slot: 1, offset: 1 },
            FetchSeekT { slot: 5, offset: 1 },
        ]),
        resume: Some(vec![5]),
        remove: Some(vec![2, 77]),
        ..at_once(session)
    });
    assert_eq!(fetched.errors(), []);
    assert_eq!(fetched.bodies(0), [[0, 3]]);
    assert_eq!(fetched.bodies(1), Vec::<Vec<u8>>::new());
    assert_eq!(fetched.bodies(5), [[0, 1], [0, 2], [0, 3]]);
    client
        .produce("orders", 2, &batch(&[b"to a removed slot"]))
        .produced();
    let fetched = client.fetch(&FetchRequestT {
        resume: Some(vec![1]),
        ..at_once(session)
    });
    assert_eq!(fetched.slots(), [1]);
    assert_eq!(fetched.bodies(1), [[1, 1], [1, 2], [1, 3]]);

    let unknown = client.send_fetch(&at_once(session + 50));
    assert_eq!(client.answer_to(unknown).code(), ErrorCode::UnknownSession);
}

#[test]
fn two_fetches_of_a_session_at_a_time_and_deleted_topics_are_told() {
    let (broker, mut client) = broker_with_topic(1);
    let mut reader = Client::connect(broker.address);
    let session = reader.fetch(&opening()).session;
    let waiting = reader.send_fetch(&fetch_of(session, Vec::new()));
    let behind = reader.send_fetch(&at_once(session));
    let third = reader.send_fetch(&at_once(session));
    assert_eq!(reader.answer_to(third).code(), ErrorCode::SessionBusy);
    // Another session of the connection is not held up, nor are other requests.
    let other = reader.fetch(&opening());
    assert_ne!(other.session, session);
    reader.ping();
    client.delete_topic("orders");
    let fetched = reader.answer_to(waiting).fetched();
    assert_eq!(fetched.errors(), [(0, ErrorCode::TopicNotFound)]);
    let fetched = reader.answer_to(behind).fetched();
    assert_eq!(fetched.slots(), [0_u32; 0], "the slot is paused");
}

#[test]
fn fetches_of_a_session_are_served_and_take_effect_in_order() {
    let (broker, mut client) = broker_with_topic(1);
    let mut reader = Client::connect(broker.address);
    let session = reader.fetch(&opening()).session;
    let waiting = reader.send_fetch(&fetch_of(session, Vec::new()));
    // Taken at once, this would leave nothing to wait for.
    let behind = reader.send_fetch(&FetchRequestT {
        remove: Some(vec![0]),
        ..at_once(session)
    });
    reader.ping();
    client.produce("orders", 0, &batch(&[b"first"])).produced();
    let fetched = reader.answer_to(waiting).fetched();
    assert_eq!(fetched.bodies(0), [b"first".to_vec()]);
    let fetched = reader.answer_to(behind).fetched();
    assert_eq!(fetched.slots(), [0_u32; 0]);

    // Answers that are under way at a time go on where the one before ends.
    let body = [5u8; 10_000];
    for _ in 0..8 {
        client.produce("orders", 0, &batch(&[&body])).produced();
    }
    let some = FetchRequestT {
        max_bytes: 30_000,
        ..at_once(session)
    };
    let first = reader.send_fetch(&FetchRequestT {
        add: Some(vec![add(0, "orders", 0, 1)]),
        ..some.clone()
    });
    let mut second = reader.send_fetch(&some);
    let next_offset = |fetched: &Fetched| fetched.queues[0].0.next_offset;
    let mut next = vec![next_offset(&reader.answer_to(first).fetched())];
    for _ in 0..2 {
        let third = reader.send_fetch(&some);
        next.push(next_offset(&reader.answer_to(second).fetched()));
        second = third;
    }
    assert_eq!(next, [3, 5, 7]);
}

#[test]
fn a_closed_session_makes_room_for_another() {
    let limits = Limits {
        fetch_sessions_max: 2,
        ..Limits::DEFAULT
    };
    let broker = Broker::with(limits);
    let mut client = Client::connect(broker.address);
    client.create_topic("orders", 1);
    let open = opening();
    let close = |session| FetchRequestT {
        close: true,
        ..fetch_of(session, Vec::new())
    };
    let kept = client.fetch(&open).session;
    for _ in 0..5 {
        let session = client.fetch(&open).session;
        let refused = client.send_fetch(&open);
        assert_eq!(client.answer_to(refused).code(), ErrorCode::Busy);
        // However long it would wait: there is nothing to wait for.
        assert_eq!(client.fetch(&close(session)).slots(), [0_u32; 0]);
        let closed = client.send_fetch(&at_once(session));
        assert_eq!(client.answer_to(closed).code(), ErrorCode::UnknownSession);
    }
    // Behind a long poll it has its turn, like any other change.
    let waiting = client.send_fetch(&fetch_of(kept, Vec::new()));
    let closing = client.send_fetch(&close(kept));
    client.produce("orders", 0, &batch(&[b"wakes"])).produced();
    assert_eq!(client.answer_to(waiting).fetched().slots(), [0]);
    assert_eq!(client.answer_to(closing).fetched().slots(), [0_u32; 0]);
    client.fetch(&open);
    client.fetch(&open);
}

#[test]
fn queues_take_turns_within_the_bounds() {
    let (_broker, mut client) = broker_with_topic(4);
    let body = [5u8; 10_000];
    for queue in 0..4 {
        for _ in 0..8 {
            client.produce("orders", queue, &batch(&[&body])).produced();
        }
    }
    let adds = (0..4).map(|queue| add(queue, "orders", queue, 0)).collect();
    let mut request = FetchRequestT {
        max_bytes: 50_000,
        max_bytes_queue: 15_000,
        ..fetch_of(0, adds)
    };
    let mut seen = [0usize; 4];
    for round in 1..=8 {
        let fetched = client.fetch(&request);
        let payload: usize = fetched
            .queues
            .iter()
            .flat_map(|(_, b)| b)
            .map(|(_, b)| b.len())
            .sum();
        assert!(payload <= 50_000, "{payload} bytes");
        for slot in fetched.slots() {
            seen[slot as usize] += fetched.bodies(slot).len();
        }
        let (least, most) = (seen.iter().min(), seen.iter().max());
        let spread = most.expect("four") - least.expect("four");
        assert!(spread <= 1, "round {round}: {seen:?}");
        request = FetchRequestT {
            add: None,
            session: fetched.session,
            ..request
        };
    }
    assert_eq!(seen, [8; 4]);
    // A batch larger than the bound comes alone.
    let fetched = client.fetch(&FetchRequestT {
        max_bytes: 10,
        ..fetch_of(0, vec![add(0, "orders", 0, 0)])
    });
    assert_eq!(fetched.bodies(0), [body.to_vec()]);
}

#[test]
fn filters_send_matching_messages_only() {
    let (_broker, mut client) = broker_with_topic(1);
    let message = |body, tag| Message {
        body,
        tag,
        ..Message::default()
    };
    let batches = [
        vec![message(b"g1", "green"), message(b"g2", "green")],
        vec![message(b"r1", "red"), message(b"r2", "red")],
        vec![
            message(b"g3", "green"),
            message(b"r3", "red"),
            message(b"n1", ""),
        ],
    ];
    let sent = batches.map(|messages| batch_with(&messages, BatchOptions::default()));
    for batch in &sent {
        client.produce("orders", 0, batch).produced();
    }
    let tagged = FetchAddT {
        tags: Some(vec!["red".to_owned(), "blue".to_owned()]),
        ..add(0, "orders", 0, 0)
    };
    let fetched = client.fetch(&fetch_of(0, vec![tagged]));
    assert_eq!(fetched.bodies(0), [b"r1", b"r2", b"r3"]);
    let (queue, batches) = &fetched.queues[0];
    assert_eq!(queue.next_offset, 7);
    let sparse = BatchView::parse_placed(&batches[1].1).expect("placed");
    assert_eq!(sparse.header().base_offset, 4);
    // Nothing matches: progress is told when the wait is over.
    client.produce("orders", 0, &sent[0]).produced();
    let fetched = client.fetch(&FetchRequestT {
        max_wait_ms: 50,
        ..fetch_of(fetched.session, Vec::new())
    });
    let (queue, batches) = &fetched.queues[0];
    assert_eq!((queue.next_offset, batches.len()), (9, 0));
}

#[test]
fn one_of_ten_thousand_idle_queues_is_served() {
    const QUEUES: u32 = 10_000;
    let (broker, mut client) = broker_with_topic(QUEUES);
    let mut reader = Client::connect(broker.address);
    let adds = (0..QUEUES)
        .map(|queue| add(queue, "orders", queue, 0))
        .collect();
    let session = reader
        .fetch(&FetchRequestT {
            max_wait_ms: 0,
            ..fetch_of(0, adds)
        })
        .session;
    // A queue among ten thousand is found at once; what an idle one costs is for the benchmarks to say.
    for round in 0..200u32 {
        let queue = (round * 7919) % QUEUES;
        let id = reader.send_fetch(&fetch_of(session, Vec::new()));
        client.produce("orders", queue, &batch(&[b"x"])).produced();
        assert_eq!(reader.answer_to(id).fetched().slots(), [queue]);
    }
}
