//! The broker's own work: filters, and RocketMQ's messages in and out.

use super::{BODY_BYTES, Path, RECORDS, placed};
use ringmq_broker::handler::filter::{Filtered, filter, wanted_codes};
use ringmq_broker::handler::remoting::delivered::Place;
use ringmq_broker::handler::remoting::incoming::Incoming;
use ringmq_storage_engine::position::Position;
use ringmq_wire::batch::BatchView;
use ringmq_wire::remoting::fields::SendFields;
use ringmq_wire::remoting::message::Host;
use ringmq_wire::remoting::{Command, FramePrefix, Header, Serialization, request_code};
use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};

const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 40_000);

pub(super) fn paths() -> Vec<Path> {
    vec![
        filter_all(),
        filter_some(),
        remoting_send(),
        remoting_pull(),
    ]
}

fn filter_all() -> Path {
    let (stored, wanted) = (placed(1, 0), wanted_codes(["even", "odd"].into_iter()));
    Path::new("filter a batch, all wanted", move || {
        let filtered = filter(black_box(&stored), &wanted);
        assert_eq!(filtered, Ok(Filtered::All));
    })
}

fn filter_some() -> Path {
    let (stored, wanted) = (placed(1, 0), wanted_codes(["even"].into_iter()));
    Path::new("filter a batch, half wanted", move || {
        let filtered = filter(black_box(&stored), &wanted);
        assert!(matches!(filtered, Ok(Filtered::Some(_))));
    })
}

/// A frame of a RocketMQ producer becomes a batch of one.
fn remoting_send() -> Path {
    let body = [b'x'; BODY_BYTES];
    let frame = Command::request(request_code::SEND_MESSAGE_V2, 7)
        .field("a", "producers")
        .field("b", "orders")
        .field("c", "TBW102")
        .field("d", 4)
        .field("e", 3)
        .field("f", 0)
        .field("g", 1_700_000_000_000_i64)
        .field("h", 0)
        .field("i", "KEYS\u{1}order-7\u{2}TAGS\u{1}even\u{2}UNIQ_KEY\u{1}7F00000100002A139A9C7D8B0A1B0000\u{2}")
        .field("j", 0)
        .encode(Serialization::Json, &body);
    Path::new("transcode a RocketMQ send", move || {
        let prefix = FramePrefix::parse(black_box(&frame));
        let prefix = prefix.expect("it is a frame").expect("it is whole");
        let header = Header::parse(prefix.serialization(), &frame[prefix.header_range()]);
        let header = header.expect("it was just encoded");
        let fields = SendFields::parse_v2(&header).expect("all are there");
        let new_key = || unreachable!("the message has one");
        let incoming = Incoming::read(
            PEER,
            "cluster",
            &fields,
            &frame[prefix.body_range()],
            new_key,
        );
        let incoming = incoming.expect("it can be stored");
        let bytes = incoming.batch(|pieces| pieces.iter().map(|piece| piece.len()).sum::<usize>());
        black_box(bytes.expect("it is small"));
    })
}

/// The messages of a stored batch become the body of a pull's answer.
fn remoting_pull() -> Path {
    let stored = placed(1, 0);
    let place = Place {
        topic: "orders",
        queue_id: 3,
        store_host: Host::from(PEER),
    };
    Path::new("transcode a RocketMQ pull", move || {
        let view = BatchView::parse_unverified(black_box(&stored)).expect("it was just built");
        let section = view.section().expect("it is not compressed");
        let mut body = Vec::with_capacity(RECORDS * 4 * BODY_BYTES);
        for (index, record) in (0..).zip(view.records(&section)) {
            let record = record.expect("it was just built");
            let encoded = place.encode(&mut body, view.header(), Position(index), &record);
            encoded.expect("its properties are short");
        }
        black_box(body);
    })
}
