//! Registrations of RocketMQ brokers, plain and compressed.

use std::io::Write;

use ringmq_wire::remoting::body::registration::{
    RegisterBody, RegistrationError, UNFOLDED_BYTES_MAX, checksum,
};
use ringmq_wire::remoting::body::topics::{DataVersion, TopicConfig, TopicFilterType};
use ringmq_wire::remoting::body::{decode, dialect, encode};

use crate::captures::{Frame, frames};

fn registrations() -> Vec<Frame> {
    let mut frames = frames();
    frames.retain(|frame| frame.code == 103 && frame.kind != "response");
    assert!(frames.len() >= 4);
    frames
}

fn read(frame: &Frame) -> RegisterBody {
    let header = frame.header();
    let compressed = header.required("compressed").unwrap();
    let crc = header.required("bodyCrc32").unwrap();
    RegisterBody::decode(frame.body(), compressed, crc, header.version).unwrap()
}

#[test]
fn every_captured_registration_is_read_and_written_again() {
    for frame in registrations() {
        let body = read(&frame);
        assert!(!body.topics.topics.is_empty());
        for (name, topic) in &body.topics.topics {
            assert_eq!(*name, topic.name);
            assert!(topic.perm > 0 && topic.read_queues > 0);
        }
        let again: RegisterBody = decode(&encode(&body)).unwrap();
        assert_eq!(again, body);
        let theirs = dialect::parse(frame.body()).unwrap();
        let table = &theirs["topicConfigSerializeWrapper"]["topicConfigTable"];
        assert_eq!(table.as_object().unwrap().len(), body.topics.topics.len());
    }
}

#[test]
fn a_wrong_checksum_is_told_from_none() {
    let frames = registrations();
    let body = frames[0].body();
    let wrong = RegisterBody::decode(body, false, checksum(body) ^ 1, 479);
    assert!(matches!(wrong, Err(RegistrationError::Checksum { .. })));
    assert!(RegisterBody::decode(body, false, 0, 479).is_ok());
}

fn counted(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as i32).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut stream = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    stream.write_all(bytes).unwrap();
    stream.finish().unwrap()
}

/// As brokers of either age fold their topics.
fn folded(topics: &[&str], with_mappings: bool) -> Vec<u8> {
    let mut out = Vec::new();
    counted(&mut out, r#"{"counter":3,"timestamp":5}"#);
    out.extend_from_slice(&(topics.len() as i32).to_be_bytes());
    for topic in topics {
        counted(&mut out, topic);
    }
    counted(&mut out, "[]");
    if with_mappings {
        out.extend_from_slice(&1_i32.to_be_bytes());
        counted(&mut out, r#"{"topic":"x"}"#);
    }
    out
}

#[test]
fn compressed_registrations_of_both_ages() {
    let plain = TopicConfig {
        name: "T".into(),
        read_queues: 4,
        write_queues: 2,
        perm: 6,
        ..TopicConfig::default()
    };
    let data_version = DataVersion {
        counter: 3,
        state_version: 0,
        timestamp: 5,
    };
    let old = zlib(&folded(&["T 4 2 6 SINGLE_TAG", "U 1 1 4 MULTI_TAG"], false));
    let body = RegisterBody::decode(&old, true, checksum(&old), 409).unwrap();
    assert_eq!(body.topics.data_version, data_version);
    assert_eq!(body.topics.topics["T"], plain);
    assert_eq!(
        body.topics.topics["U"].topic_filter_type,
        TopicFilterType::MultiTag
    );
    let attributes = r#"{"+message.type":"FIFO"}"#;
    let with = format!("U 1 1 4 SINGLE_TAG {attributes}");
    let new = zlib(&folded(&["T 4 2 6 SINGLE_TAG ", &with], true));
    let body = RegisterBody::decode(&new, true, 0, 479).unwrap();
    assert_eq!(body.topics.topics["T"], plain);
    assert_eq!(body.topics.topics["U"].attributes["+message.type"], "FIFO");
}

#[test]
fn broken_and_exploding_registrations_are_refused() {
    let bad = [
        zlib(&folded(&["T 4 2"], false)),
        zlib(&folded(&["T four 2 6 SINGLE_TAG"], false)),
        zlib(&folded(&["T 4 2 6 SINGLE_TAG"], false)[..20]),
        b"no zlib".to_vec(),
        zlib(&(-1_i32).to_be_bytes()),
    ];
    for body in &bad {
        assert!(RegisterBody::decode(body, true, 0, 409).is_err());
    }
    let bomb = zlib(&vec![0; UNFOLDED_BYTES_MAX + 1]);
    assert!(bomb.len() < 100_000);
    let refused = RegisterBody::decode(&bomb, true, 0, 409);
    assert!(matches!(refused, Err(RegistrationError::TooLarge)));
}
