//! Stored messages, batches and message ids.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use ringmq_wire::remoting::batch::{InnerMessage, InnerMessages};
use ringmq_wire::remoting::message::{
    Host, MessageError, StoredMessage, StoredMessages, TooLong, body_crc, sys_flag,
};
use ringmq_wire::remoting::message_id::MessageId;
use ringmq_wire::remoting::properties;

use crate::captures::{frames, unhex};

/// As RocketMQ 4.9.7 stored and delivered it.
const PLAIN: &str = "000000d6daa320a73610a68600000001000000000000000000000000000000000000000000000000000001a1fc45d07e7f0000010000d126000001a1fc45d0cd7f00000100002a9f0000000000000000000000000000000568656c6c6f09546f70696354657374006d4b455953016b31206b3202554e49515f4b455901464430303030303030303030303030303030303030303030303030303030303237323745333039343645303936374444453837423030303002434c55535445520144656661756c74436c757374657202544147530154616741";
const COMPRESSED: &str = "000000eadaa320a7600f00650000000200000000000000000000000000000000000000d600000301000001a1fc45d12a7f0000010000d126000001a1fc45d1387f00000100002a9f0000000000000000000000000000001c785eedc13101000000c2a0f54f6d0a3fa00000000080b7011388000109546f70696354657374006a4b455953016b3302554e49515f4b455901464430303030303030303030303030303030303030303030303030303030303237323745333039343645303936374444453932393030303102434c55535445520144656661756c74436c757374657202544147530154616742";
const INNER: &str = "0000007900000000000000000000000000000006626174636830005d4b45595301623002554e49515f4b45590146443030303030303030303030303030303030303030303030303030303030323732374533303934364530393637444445393431303030320257414954017472756502544147530154616743";

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn encoded(message: &StoredMessage<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes).unwrap();
    assert_eq!(bytes.len(), message.encoded_bytes());
    bytes
}

#[test]
fn a_message_that_rocketmq_stored() {
    let bytes = unhex(PLAIN);
    let message = StoredMessage::decode(&bytes).unwrap();
    assert_eq!(message.body, b"hello");
    assert_eq!(message.topic, "TopicTest");
    assert_eq!(message.queue_id, 1);
    assert_eq!(message.born_timestamp, 0x01a1_fc45_d07e);
    assert_eq!(message.store_timestamp, 0x01a1_fc45_d0cd);
    assert_eq!(message.born_host, Host::new(LOCALHOST, 53_542));
    assert_eq!(message.store_host, Host::new(LOCALHOST, 10_911));
    assert_eq!(message.body_crc, 0x3610_A686);
    assert_eq!(message.body_crc, body_crc(message.body));
    assert_eq!(properties::get(message.properties, "KEYS"), Some("k1 k2"));
    assert_eq!(properties::get(message.properties, "TAGS"), Some("TagA"));
    assert_eq!(encoded(&message), bytes);
}

#[test]
fn a_compressed_message_is_kept_as_it_is() {
    let bytes = unhex(COMPRESSED);
    let message = StoredMessage::decode(&bytes).unwrap();
    assert_eq!(message.sys_flag, 0x301);
    assert_ne!(message.sys_flag & sys_flag::COMPRESSED, 0);
    assert_eq!(message.body_crc, body_crc(message.body));
    assert_eq!(message.physical_offset, 0xd6);
    assert_eq!(encoded(&message), bytes);
}

/// Answers to pulls, queries and views, and what brokers push: 11, 361, 12, 33, 39.
#[test]
fn every_captured_message_is_written_again_byte_for_byte() {
    let mut count = 0;
    for frame in frames() {
        let answer = [11, 12, 33, 361, 200_050]
            .iter()
            .any(|code| frame.is("broker>client", *code) && frame.code == 0);
        if !answer && !frame.is("broker>client", 39) {
            continue;
        }
        let mut again = Vec::new();
        for message in StoredMessages::new(frame.body()) {
            let message = message.unwrap();
            assert_eq!(message.body_crc, body_crc(message.body));
            message.encode(&mut again).unwrap();
            count += 1;
        }
        assert_eq!(again, frame.body(), "{} {}", frame.program, frame.code);
    }
    assert!(count > 20, "only {count} messages found");
}

#[test]
fn every_captured_batch_is_written_again_byte_for_byte() {
    let mut count = 0;
    for frame in frames().iter().filter(|f| f.is("client>broker", 320)) {
        let mut again = Vec::new();
        for message in InnerMessages::new(frame.body()) {
            message.unwrap().encode(&mut again).unwrap();
            count += 1;
        }
        assert_eq!(again, frame.body());
    }
    assert!(count >= 4, "only {count} messages found");
}

#[test]
fn an_inner_message_of_a_java_batch() {
    let bytes = unhex(INNER);
    let messages: Vec<_> = InnerMessages::new(&bytes).map(Result::unwrap).collect();
    let [message] = messages[..] else {
        panic!("one message expected: {messages:?}")
    };
    assert_eq!((message.flag, message.body), (0, &b"batch0"[..]));
    assert_eq!(properties::get(message.properties, "TAGS"), Some("TagC"));
}

fn message<'a>(topic: &'a str, properties: &'a str, body: &'a [u8]) -> StoredMessage<'a> {
    StoredMessage {
        queue_id: 3,
        flag: -7,
        queue_offset: 1 << 40,
        physical_offset: 1 << 50,
        sys_flag: 0,
        born_timestamp: 5,
        born_host: Host::new(LOCALHOST, 1),
        store_timestamp: 6,
        store_host: Host::new(LOCALHOST, 2),
        reconsume_times: 2,
        prepared_transaction_offset: 9,
        body,
        body_crc: body_crc(body),
        topic,
        properties,
    }
}

#[test]
fn a_long_topic_takes_version_two_and_only_that_one() {
    for (bytes, magic) in [(127, 0xa7), (128, 0xab), (255, 0xab)] {
        let topic = "t".repeat(bytes);
        let message = message(&topic, "", b"x");
        let bytes = encoded(&message);
        assert_eq!(bytes[7], magic);
        assert_eq!(StoredMessage::decode(&bytes).unwrap(), message);
    }
    let topic = "t".repeat(256);
    let mut out = vec![1];
    let too_long = message(&topic, "", b"").encode(&mut out);
    assert_eq!((too_long, out), (Err(TooLong::Topic(256)), vec![1]));
    let text = "p".repeat(32_768);
    let too_long = message("t", &text, b"").encode(&mut Vec::new());
    assert_eq!(too_long, Err(TooLong::Properties(32_768)));
}

#[test]
fn ipv6_hosts_are_marked_and_mapped_ones_are_ipv4() {
    let v6 = Host::new(Ipv6Addr::LOCALHOST.into(), 80);
    let mut message = message("t", "a\u{1}b\u{2}", b"body");
    message.born_host = v6;
    message.sys_flag = sys_flag::BORN_HOST_V6;
    assert_eq!(StoredMessage::decode(&encoded(&message)).unwrap(), message);
    message.store_host = v6;
    message.sys_flag |= sys_flag::STORE_HOST_V6;
    assert_eq!(StoredMessage::decode(&encoded(&message)).unwrap(), message);
    message.born_host = Host::new(Ipv4Addr::LOCALHOST.to_ipv6_mapped().into(), 80);
    let bytes = encoded(&message);
    let read = StoredMessage::decode(&bytes).unwrap();
    assert_eq!(read.sys_flag, sys_flag::STORE_HOST_V6);
    assert_eq!(read.born_host, Host::new(LOCALHOST, 80));
}

#[test]
fn what_is_no_message_ends_the_list() {
    let good = encoded(&message("t", "", b"x"));
    let filler = [0, 0, 0, 8, 0xcb, 0xd4, 0x31, 0x94];
    let body = [&good[..], &filler, &good].concat();
    let found: Vec<_> = StoredMessages::new(&body).collect();
    assert_eq!(found.len(), 2);
    assert!(found[0].is_ok());
    assert_eq!(found[1], Err(MessageError::Magic(0xcbd4_3194)));
    for total in [-1, 0, 3, i32::MAX] {
        let mut cut = good.clone();
        cut[..4].copy_from_slice(&i32::to_be_bytes(total));
        assert!(StoredMessages::new(&cut).next().unwrap().is_err());
        assert_eq!(StoredMessages::new(&cut).count(), 1);
        assert_eq!(InnerMessages::new(&cut).count(), 1);
    }
}

#[test]
fn message_ids_are_upper_case_hex_and_read_in_any_case() {
    let id = MessageId {
        host: Host::new(LOCALHOST, 10_911),
        offset: 0x1C0,
    };
    assert_eq!(id.to_string(), "7F00000100002A9F00000000000001C0");
    assert_eq!("7f00000100002a9f00000000000001c0".parse(), Ok(id));
    let v6 = MessageId {
        host: Host::new(Ipv6Addr::LOCALHOST.into(), 1),
        offset: -1,
    };
    assert_eq!(v6.to_string().len(), 56);
    assert_eq!(v6.to_string().parse(), Ok(v6));
    let not = ["", "7F", &"G".repeat(32), &"ü".repeat(16), &"1".repeat(34)];
    for text in not {
        assert!(text.parse::<MessageId>().is_err(), "{text}");
    }
}

fn any_host() -> impl Strategy<Value = Host> {
    let address = prop_oneof![
        any::<[u8; 4]>().prop_map(IpAddr::from),
        any::<[u8; 16]>().prop_map(IpAddr::from),
    ];
    (address, any::<u32>()).prop_map(|(address, port)| Host::new(address, port))
}

proptest! {
    #[test]
    fn messages_are_read_as_they_were_written(
        numbers: (i32, i32, i64, i64, i32, i64, i64, i32, i64), born in any_host(), store in any_host(),
        body: Vec<u8>, topic in ".{0,60}", text in ".{0,100}",
    ) {
        let hosts = sys_flag::BORN_HOST_V6 | sys_flag::STORE_HOST_V6;
        let mut message = StoredMessage {
            queue_id: numbers.0, flag: numbers.1, queue_offset: numbers.2, physical_offset: numbers.3,
            sys_flag: numbers.4 & !hosts, born_timestamp: numbers.5, born_host: born, store_timestamp: numbers.6,
            store_host: store, reconsume_times: numbers.7, prepared_transaction_offset: numbers.8,
            ..message(&topic, &text, &body)
        };
        let bytes = encoded(&message);
        for host in [(born, sys_flag::BORN_HOST_V6), (store, sys_flag::STORE_HOST_V6)] {
            message.sys_flag |= if host.0.address.is_ipv6() { host.1 } else { 0 };
        }
        let twice = [&bytes[..], &bytes].concat();
        let read: Vec<_> = StoredMessages::new(&twice).map(Result::unwrap).collect();
        prop_assert_eq!(read, vec![message.clone(), message]);
    }

    #[test]
    fn batches_are_read_as_they_were_written(
        messages in prop::collection::vec((any::<i32>(), any::<Vec<u8>>(), ".{0,50}"), 0..5),
    ) {
        let mut body = Vec::new();
        let messages: Vec<_> = messages
            .iter()
            .map(|(flag, body, properties)| InnerMessage { flag: *flag, body, properties })
            .collect();
        for message in &messages {
            message.encode(&mut body).unwrap();
        }
        let read: Vec<_> = InnerMessages::new(&body).map(Result::unwrap).collect();
        prop_assert_eq!(read, messages);
    }

    #[test]
    fn a_damaged_message_is_a_message_or_an_error(at in 0..214_usize, to: u8, cut in 0..214_usize) {
        let mut bytes = unhex(PLAIN);
        bytes[at] = to;
        for bytes in [&bytes[..], &bytes[..cut]] {
            StoredMessages::new(bytes).for_each(drop);
            InnerMessages::new(bytes).for_each(drop);
        }
    }

    #[test]
    fn any_bytes_are_messages_or_errors(bytes: Vec<u8>) {
        StoredMessages::new(&bytes).for_each(drop);
        InnerMessages::new(&bytes).for_each(drop);
    }
}
