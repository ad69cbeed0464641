//! The binary form of a header; see [`crate::remoting::header`] for the layout.

use super::{Head, Value};

/// Longest field name: its length has 16 bits and a sign.
const NAME_BYTES_MAX: usize = i16::MAX as usize;

/// Empty values and an empty remark are not told from none, as the format has it.
///
/// # Panics
/// If a name is over its limit: names are those of the protocol, or have been read from this form.
pub(super) fn encode<'f>(
    head: &Head<'_>,
    fields: impl Iterator<Item = (&'f str, Value<'f>)>,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(&(head.code as i16).to_be_bytes());
    out.push(head.language.number());
    out.extend_from_slice(&(head.version as i16).to_be_bytes());
    out.extend_from_slice(&head.opaque.to_be_bytes());
    out.extend_from_slice(&head.flag.to_be_bytes());
    text(out, head.remark.unwrap_or(""));
    let length_at = out.len();
    out.extend_from_slice(&[0; 4]);
    for (name, value) in fields {
        assert!(
            name.len() <= NAME_BYTES_MAX,
            "a field name is over its limit"
        );
        out.extend_from_slice(&(name.len() as i16).to_be_bytes());
        out.extend_from_slice(name.as_bytes());
        match value {
            Value::Text(value) => text(out, value),
            Value::Number(value) => text(out, itoa::Buffer::new().format(value)),
        }
    }
    let length = (out.len() - length_at - 4) as i32;
    out[length_at..length_at + 4].copy_from_slice(&length.to_be_bytes());
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as i32).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}
