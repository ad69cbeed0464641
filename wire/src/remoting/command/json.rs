//! The JSON form of a header that all clients read: every value among the fields a string, `extFields` and
//! `serializeTypeCurrentRPC` always there (the Rust client fails without them), names in the order of Java's.

use std::io::Write;

use super::{Head, Value};
use crate::remoting::Serialization;

pub(super) fn encode<'f>(
    head: &Head<'_>,
    fields: impl Iterator<Item = (&'f str, Value<'f>)>,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(b"{\"code\":");
    number(out, head.code.into());
    out.extend_from_slice(b",\"extFields\":{");
    for (index, (name, value)) in fields.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        string(out, name);
        out.push(b':');
        match value {
            Value::Text(value) => string(out, value),
            Value::Number(value) => {
                out.push(b'"');
                number(out, value);
                out.push(b'"');
            }
        }
    }
    out.extend_from_slice(b"},\"flag\":");
    number(out, head.flag.into());
    out.extend_from_slice(b",\"language\":");
    string(out, head.language.name());
    out.extend_from_slice(b",\"opaque\":");
    number(out, head.opaque.into());
    if let Some(remark) = head.remark {
        out.extend_from_slice(b",\"remark\":");
        string(out, remark);
    }
    out.extend_from_slice(b",\"serializeTypeCurrentRPC\":");
    string(out, Serialization::Json.name());
    out.extend_from_slice(b",\"version\":");
    number(out, head.version.into());
    out.push(b'}');
}

fn number(out: &mut Vec<u8>, number: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Escapes what JSON demands and nothing more: text beyond ASCII goes out as UTF-8.
fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    // Most texts need no escape, which is found out many bytes at a time.
    if rest
        .iter()
        .fold(false, |any, byte| any | must_escape(*byte))
    {
        while let Some(at) = rest.iter().position(|byte| must_escape(*byte)) {
            out.extend_from_slice(&rest[..at]);
            escape(out, rest[at]);
            rest = &rest[at + 1..];
        }
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

fn must_escape(byte: u8) -> bool {
    (byte < b' ') | (byte == b'"') | (byte == b'\\')
}

fn escape(out: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            write!(out, "\\u{byte:04X}").expect("memory takes everything");
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}
