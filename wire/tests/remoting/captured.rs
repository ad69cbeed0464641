//! Every captured frame is read, written and read again.

use std::collections::BTreeMap;

use ringmq_wire::remoting::{Command, FramePrefix, Header, Language, Serialization};

use crate::captures::{Frame, frames};

/// The header as a general JSON reader sees it.
fn by_serde(frame: &Frame) -> (serde_json::Value, BTreeMap<String, String>) {
    let value: serde_json::Value = serde_json::from_slice(frame.header_bytes()).unwrap();
    let fields = value["extFields"].as_object().into_iter().flatten();
    let fields = fields.map(|(name, value)| match value {
        serde_json::Value::String(text) => (name.clone(), text.clone()),
        other => (name.clone(), other.to_string()),
    });
    let fields = fields.collect();
    (value, fields)
}

fn sorted(command: &Command) -> BTreeMap<String, String> {
    let fields = command.fields.iter();
    fields
        .map(|(name, value)| (name.to_string(), value.clone()))
        .collect()
}

#[test]
fn every_captured_header_says_what_a_general_json_reader_finds() {
    for frame in frames() {
        let (value, fields) = by_serde(&frame);
        let header = frame.header();
        assert_eq!(header.code, frame.code);
        assert_eq!(
            header.is_response(),
            frame.kind == "response",
            "{} {}",
            frame.program,
            frame.direction
        );
        assert_eq!(header.is_response(), frame.request_code.is_some());
        assert_eq!(header.is_oneway(), frame.kind == "oneway");
        assert_eq!(i64::from(header.opaque), value["opaque"].as_i64().unwrap());
        assert_eq!(
            i64::from(header.version),
            value["version"].as_i64().unwrap()
        );
        assert_eq!(header.language.name(), value["language"].as_str().unwrap());
        assert_eq!(header.remark().as_deref(), value["remark"].as_str());
        assert_eq!(sorted(&Command::from_header(&header)), fields);
    }
}

#[test]
fn every_captured_frame_written_again_in_either_form_says_the_same() {
    for frame in frames() {
        let command = Command::from_header(&frame.header());
        for serialization in [Serialization::Json, Serialization::Binary] {
            let again = command.encode(serialization, frame.body());
            let prefix = FramePrefix::parse(&again).unwrap().unwrap();
            assert_eq!(prefix.frame_bytes(), again.len());
            assert_eq!(&again[prefix.body_range()], frame.body());
            let header = Header::parse(serialization, &again[prefix.header_range()]).unwrap();
            let mut expected = command.clone();
            if serialization == Serialization::Binary {
                expected.fields.retain(|(_, value)| !value.is_empty());
                expected.remark.take_if(|remark| remark.is_empty());
            }
            assert_eq!(Command::from_header(&header), expected);
        }
    }
}

/// Where a header has all members that we always write, our bytes are Java's bytes.
#[test]
fn headers_of_java_with_fields_are_written_byte_for_byte() {
    let mut compared = 0;
    for frame in frames() {
        let header = frame.header();
        if header.language != Language::Java || header.texts().next().is_none() {
            continue;
        }
        let again = Command::from_header(&header).encode(Serialization::Json, frame.body());
        assert_eq!(
            String::from_utf8_lossy(&again),
            String::from_utf8_lossy(&frame.bytes)
        );
        compared += 1;
    }
    assert!(compared > 80, "only {compared} frames compared");
}
