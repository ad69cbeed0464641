//! Frame prefix and header, written straight to where they are sent from.

use super::{binary, json};
use crate::remoting::frame::{FRAME_PREFIX_BYTES, FramePrefix, Serialization};
use crate::remoting::language::Language;
use crate::remoting::{VERSION, flag};

/// A header to send but for its fields, borrowed: what answers on the hot path are made from.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// A [`crate::remoting::request_code`], or a [`crate::remoting::response_code`] in an answer.
    pub code: i32,
    pub language: Language,
    pub version: i32,
    pub opaque: i32,
    /// See [`flag`].
    pub flag: i32,
    pub remark: Option<&'a str>,
}

/// The value of a field; numbers travel as their text.
#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    Text(&'a str),
    Number(i64),
}

impl Head<'_> {
    /// Our answer to the request with that `opaque`.
    pub fn response(code: i32, opaque: i32) -> Self {
        Self {
            code,
            language: Language::Java,
            version: VERSION,
            opaque,
            flag: flag::RESPONSE,
            remark: None,
        }
    }

    /// Appends frame prefix and header, with these fields, of a frame whose body of `body_bytes` follows as it is.
    ///
    /// # Panics
    /// If the frame would be over the limits: callers bound what they send.
    pub fn append_to<'f>(
        &self,
        out: &mut Vec<u8>,
        serialization: Serialization,
        fields: impl Iterator<Item = (&'f str, Value<'f>)>,
        body_bytes: usize,
    ) {
        let start = out.len();
        out.extend_from_slice(&[0; FRAME_PREFIX_BYTES]);
        match serialization {
            Serialization::Json => json::encode(self, fields, out),
            Serialization::Binary => binary::encode(self, fields, out),
        }
        let header_bytes = out.len() - start - FRAME_PREFIX_BYTES;
        let prefix = FramePrefix::new(serialization, header_bytes, body_bytes);
        out[start..start + FRAME_PREFIX_BYTES].copy_from_slice(&prefix.encode());
    }
}
