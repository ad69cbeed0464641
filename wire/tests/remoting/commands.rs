//! Golden bytes, and commands through both forms.

use proptest::prelude::*;
use ringmq_wire::remoting::command::{Head, Value};
use ringmq_wire::remoting::{
    Command, FramePrefix, Header, Language, Serialization, request_code, response_code,
};

use crate::captures::unhex;

const BINARY: &str = "0000002f01000029006900019700000007000000000000000000000014\
                      0005746f70696300000009546f706963546573746869";
const JSON: &str = r#"{"code":105,"extFields":{"topic":"TopicTest"},"flag":0,"language":"JAVA","opaque":7,"serializeTypeCurrentRPC":"JSON","version":407}"#;

fn route_query() -> Command {
    let mut command =
        Command::request(request_code::GET_ROUTEINFO_BY_TOPIC, 7).field("topic", "TopicTest");
    command.version = 407;
    command
}

#[test]
fn the_same_command_in_both_forms() {
    let binary = route_query().encode(Serialization::Binary, b"hi");
    assert_eq!(binary, unhex(&BINARY.replace(' ', "")));
    let json = route_query().encode(Serialization::Json, b"hi");
    let mut expected = unhex("0000008900000083");
    expected.extend_from_slice(JSON.as_bytes());
    expected.extend_from_slice(b"hi");
    assert_eq!(json, expected);
}

#[test]
fn an_answer_of_ours_has_all_that_clients_look_for() {
    let answer = Command::response(response_code::SYSTEM_ERROR, -5).remark("why\n\u{1}\"ü");
    let bytes = answer.encode(Serialization::Json, b"");
    assert_eq!(
        std::str::from_utf8(&bytes[8..]).unwrap(),
        r#"{"code":1,"extFields":{},"flag":1,"language":"JAVA","opaque":-5,"remark":"why\n\u0001\"ü","serializeTypeCurrentRPC":"JSON","version":479}"#
    );
}

#[test]
fn a_head_is_appended_with_its_numbers_as_text() {
    for form in [Serialization::Json, Serialization::Binary] {
        let owned = Command::response(0, 7)
            .field("queueOffset", i64::MIN)
            .field("msgId", "7F\u{1}");
        let fields = [
            ("queueOffset", Value::Number(i64::MIN)),
            ("msgId", Value::Text("7F\u{1}")),
        ];
        let mut out = b"before".to_vec();
        Head::response(0, 7).append_to(&mut out, form, fields.into_iter(), 3);
        assert_eq!(out, [&b"before"[..], &owned.encode_head(form, 3)].concat());
    }
}

/// A code over 16 bits loses its upper half in a binary header; a request gets it back, an answer has no such codes.
#[test]
fn large_request_codes_survive_the_binary_form() {
    for code in request_code::ALL {
        let bytes = Command::request(*code, 1).encode(Serialization::Binary, b"");
        let header = Header::parse(Serialization::Binary, &bytes[8..]).unwrap();
        assert_eq!(header.code, *code);
    }
    let answer = Command::response(3442, 1).encode(Serialization::Binary, b"");
    let header = Header::parse(Serialization::Binary, &answer[8..]).unwrap();
    assert_eq!(header.code, 3442);
}

#[test]
fn codes_rise_and_have_names() {
    assert!(request_code::ALL.is_sorted_by(|a, b| a < b));
    assert_eq!(request_code::name(310), "SEND_MESSAGE_V2");
    assert_eq!(request_code::name(99), "UNKNOWN");
    assert_eq!(response_code::name(26), "SUBSCRIPTION_GROUP_NOT_EXIST");
}

fn any_command() -> impl Strategy<Value = Command> {
    let fields = prop::collection::vec((".{0,20}", ".{0,40}"), 0..20);
    let numbers = (any::<i32>(), any::<i32>(), any::<i16>(), any::<i32>());
    (numbers, 0..14_u8, prop::option::of(any::<String>()), fields).prop_map(
        |((code, opaque, version, flag), language, remark, fields)| Command {
            code,
            language: Language::of_number(language),
            version: i32::from(version),
            opaque,
            flag,
            remark,
            fields: fields
                .into_iter()
                .map(|(name, value)| (name.into(), value))
                .collect(),
        },
    )
}

proptest! {
    #[test]
    fn a_command_is_read_from_json_as_it_was_written(command in any_command(), body: Vec<u8>) {
        let bytes = command.encode(Serialization::Json, &body);
        let prefix = FramePrefix::parse(&bytes).unwrap().unwrap();
        let header = Header::parse(Serialization::Json, &bytes[prefix.header_range()]).unwrap();
        prop_assert_eq!(Command::from_header(&header), command);
        prop_assert_eq!(&bytes[prefix.body_range()], &body[..]);
        serde_json::from_slice::<serde_json::Value>(&bytes[prefix.header_range()]).unwrap();
    }

    #[test]
    fn a_command_is_read_from_binary_as_it_was_written(mut command in any_command()) {
        command.code = i32::from(command.code as i16);
        command.flag |= 1;
        command.remark.take_if(|remark| remark.is_empty());
        command.fields.retain(|(_, value)| !value.is_empty());
        let bytes = command.encode(Serialization::Binary, b"");
        let header = Header::parse(Serialization::Binary, &bytes[8..]).unwrap();
        prop_assert_eq!(Command::from_header(&header), command);
    }
}
