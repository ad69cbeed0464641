//! What a header reader accepts, refuses, and says about fields.

use std::borrow::Cow;

use proptest::prelude::*;
use ringmq_wire::remoting::header::{FIELDS_MAX, Problem};
use ringmq_wire::remoting::{Header, HeaderError, Language, LengthError, Serialization};

fn json(text: &str) -> Result<Header<'_>, HeaderError> {
    Header::parse(Serialization::Json, text.as_bytes())
}

#[test]
fn values_that_are_no_strings_count_as_their_text() {
    let header = json(
        r#"{"code":"10","extFields":{"queueId":3,"unit":true,"gone":null,"deep":{"a":[1]},"f":-1.5e3},"language":12,"flag":null}"#,
    )
    .unwrap();
    assert_eq!((header.code, header.flag), (10, 0));
    assert_eq!(header.language, Language::Rust);
    assert_eq!(header.required::<i32>("queueId"), Ok(3));
    assert_eq!(header.required::<bool>("unit"), Ok(true));
    assert_eq!(header.field("f").as_deref(), Some("-1.5e3"));
    assert_eq!(header.optional::<i32>("gone"), Ok(None));
    assert_eq!(header.field("deep"), None);
}

#[test]
fn unknown_members_space_and_a_last_newline_are_passed_over() {
    let header = json(
        " {\"code\" : 1 ,\t\"x\":[1,{\"y\":[]},\"]\"],\"serializeTypeCurrentRPC\":\"JSON\"\r\n}\n",
    );
    assert_eq!(header.unwrap().code, 1);
}

#[test]
fn strings_may_hold_raw_control_characters_and_every_escape() {
    let header = json(
        "{\"code\":1,\"extFields\":{\"i\":\"A\u{1}b\u{2}\\u0001\\u00fc\\uD83D\\uDE00\\uD83D\\n\\/\\'\"}}",
    );
    let header = header.unwrap();
    assert_eq!(
        header.field("i").unwrap(),
        "A\u{1}b\u{2}\u{1}ü😀\u{FFFD}\n/'"
    );
    let mut out = String::from("kept ");
    header.text("i").unwrap().append_to(&mut out);
    assert_eq!(out, "kept A\u{1}b\u{2}\u{1}ü😀\u{FFFD}\n/'");
}

#[test]
fn a_plain_string_is_borrowed_and_an_escaped_name_is_found() {
    let header = json(r#"{"code":1,"extFields":{"to\u0070ic":"T"}}"#).unwrap();
    assert!(matches!(header.field("topic"), Some(Cow::Borrowed("T"))));
}

#[test]
fn of_two_fields_with_one_name_the_later_counts() {
    let header = json(r#"{"code":1,"extFields":{"a":"1","a":"2"}}"#).unwrap();
    assert_eq!(header.required::<i32>("a"), Ok(2));
}

#[test]
fn fields_that_cannot_be_read_are_named_with_what_was_expected() {
    let header = json(r#"{"code":1,"extFields":{"queueId":"x"}}"#).unwrap();
    let missing = header.required::<i64>("queueOffset").unwrap_err();
    assert_eq!(missing.to_string(), "field `queueOffset` is missing");
    assert_eq!(missing.problem, Problem::Missing);
    let invalid = header.optional::<i32>("queueId").unwrap_err();
    assert_eq!(
        invalid.to_string(),
        "field `queueId` is `x`, a 32-bit number expected"
    );
}

#[test]
fn broken_json_is_refused_at_its_place() {
    let refused = [
        "",
        "{",
        "[]",
        "{\"code\":1",
        "{\"code\":1}x",
        "{\"code\" 1}",
        "{code:1}",
        "{\"code\":1,}",
        "{\"code\":}",
        "{\"code\":1,\"remark\":\"\\x\"}",
        "{\"code\":1,\"remark\":\"\\u00g0\"}",
        "{\"code\":1,\"remark\":\"never closed}",
        "{\"code\":1,\"a\":[1 2]}",
        "{\"code\":1,\"extFields\":{\"a\":\"b\"",
    ];
    for text in refused {
        let error = json(text).unwrap_err();
        assert!(
            matches!(error, HeaderError::Syntax { .. }),
            "{text}: {error}"
        );
    }
    assert_eq!(
        json("{\"code\":1,\"remark\":\"\\x\"}").unwrap_err(),
        HeaderError::Syntax {
            expected: "a known escape",
            at: 20
        }
    );
    assert_eq!(json("{}").unwrap_err(), HeaderError::NoCode);
    assert_eq!(json("{\"code\":null}").unwrap_err(), HeaderError::NoCode);
    assert_eq!(
        json("{\"code\":5000000000}").unwrap_err(),
        HeaderError::Number { name: "code" }
    );
    let not_utf8 = Header::parse(Serialization::Json, b"{\"code\":1,\"remark\":\"\xff\"}");
    assert_eq!(not_utf8.unwrap_err(), HeaderError::NotUtf8);
}

#[test]
fn nesting_and_the_number_of_fields_are_bounded() {
    let deep = format!(
        "{{\"code\":1,\"x\":{}{}}}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    assert_eq!(json(&deep).unwrap_err(), HeaderError::Depth);
    let fields = |count: usize| {
        let fields: Vec<String> = (0..count).map(|n| format!("\"{n}\":\"\"")).collect();
        format!("{{\"code\":1,\"extFields\":{{{}}}}}", fields.join(","))
    };
    assert!(json(&fields(FIELDS_MAX)).is_ok());
    assert_eq!(
        json(&fields(FIELDS_MAX + 1)).unwrap_err(),
        HeaderError::TooManyFields
    );
}

/// code 1, language 0, version 0, opaque 0, flag 0, then remark and fields.
fn binary(tail: &[u8]) -> Result<(), HeaderError> {
    let mut bytes = vec![0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend_from_slice(tail);
    Header::parse(Serialization::Binary, &bytes).map(drop)
}

#[test]
fn lengths_of_binary_headers_are_checked_against_what_is_left() {
    let length = |what, length, left| Err(HeaderError::Length(LengthError { what, length, left }));
    assert_eq!(binary(&[]), length("remark length", 4, 0));
    assert_eq!(binary(&[0xff; 8]), length("remark", -1, 4));
    assert_eq!(binary(&[0, 0, 0, 9, 0]), length("remark", 9, 1));
    let negative_fields = [0, 0, 0, 0, 0xff, 0xff, 0xff, 0xfe];
    assert_eq!(binary(&negative_fields), length("fields", -2, 0));
    let negative_name = [0, 0, 0, 0, 0, 0, 0, 2, 0xff, 0xff];
    assert_eq!(binary(&negative_name), length("name", -1, 0));
    let negative_value = [0, 0, 0, 0, 0, 0, 0, 7, 0, 1, b'a', 0xff, 0xff, 0xff, 0xff];
    assert_eq!(binary(&negative_value), length("value", -1, 0));
    assert_eq!(binary(&[0; 8]), Ok(()));
    assert_eq!(binary(&[0; 9]), Err(HeaderError::TrailingBytes(1)));
}

proptest! {
    #[test]
    fn any_bytes_are_a_header_or_an_error(bytes: Vec<u8>, binary: bool) {
        let serialization = if binary { Serialization::Binary } else { Serialization::Json };
        if let Ok(header) = Header::parse(serialization, &bytes) {
            header.fields().for_each(drop);
        }
    }

    /// Pieces of JSON in any order reach far deeper into the reader than bytes do.
    #[test]
    fn any_pieces_of_json_are_a_header_or_an_error(
        pieces in prop::collection::vec(prop::sample::select(vec![
            "{", "}", "[", "]", ":", ",", "\"", "\"code\":1", "\"extFields\":{", "\"a\":\"b\"", "\\u00e9", "\\", "1", "null",
            "\"extFields\"", "\"x\":", "\"remark\":\"\\ud800\"", " ", "é",
        ]), 0..30),
    ) {
        if let Ok(header) = json(&pieces.concat()) {
            header.fields().for_each(drop);
            let _ = header.remark();
        }
    }

    #[test]
    fn any_string_written_by_a_general_json_writer_is_read(text: String) {
        let mut value = serde_json::json!({"code": 1, "extFields": {}});
        value["extFields"][&text] = text.clone().into();
        let written = value.to_string();
        let header = json(&written).unwrap();
        prop_assert_eq!(header.field(&text).unwrap(), text);
    }
}
