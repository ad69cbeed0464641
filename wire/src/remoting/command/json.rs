//! The JSON form of a header that all clients read: every value among the fields a string, `extFields` and
//! `serializeTypeCurrentRPC` always there (the Rust client fails without them), names in the order of Java's.

use std::io::Write;

use super::Command;
use crate::remoting::Serialization;

pub(super) fn encode(command: &Command, out: &mut Vec<u8>) {
    number(out, "{\"code\":", command.code);
    out.extend_from_slice(b",\"extFields\":{");
    for (index, (name, value)) in command.fields.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        string(out, name);
        out.push(b':');
        string(out, value);
    }
    number(out, "},\"flag\":", command.flag);
    out.extend_from_slice(b",\"language\":");
    string(out, command.language.name());
    number(out, ",\"opaque\":", command.opaque);
    if let Some(remark) = &command.remark {
        out.extend_from_slice(b",\"remark\":");
        string(out, remark);
    }
    out.extend_from_slice(b",\"serializeTypeCurrentRPC\":");
    string(out, Serialization::Json.name());
    number(out, ",\"version\":", command.version);
    out.push(b'}');
}

fn number(out: &mut Vec<u8>, before: &str, value: i32) {
    write!(out, "{before}{value}").expect("memory takes everything");
}

/// Escapes what JSON demands and nothing more: text beyond ASCII goes out as UTF-8.
fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| must_escape(*byte)) {
        out.extend_from_slice(&rest[..at]);
        escape(out, rest[at]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

fn must_escape(byte: u8) -> bool {
    byte < b' ' || byte == b'"' || byte == b'\\'
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
