//! Binary headers.
//!
//! ```text
//! code i16 | language u8 | version i16 | opaque i32 | flag i32
//! remark length i32 | remark | fields length i32 | fields: name length i16 | name | value length i32 | value
//! ```
//! An empty remark and an empty value are the same as none. A code has 16 bits only: those that are larger arrive
//! without their upper half, which [`request_code::restore`] puts back.

use super::{FieldArray, Header, HeaderError, request_code};
use crate::remoting::flag;
use crate::remoting::language::Language;
use crate::remoting::text::Text;

pub(super) fn parse(bytes: &[u8]) -> Result<Header<'_>, HeaderError> {
    let mut reader = Reader { rest: bytes };
    let code = reader.i16("code")?;
    let [language] = *reader.chunk("language")?;
    let version = reader.i16("version")?;
    let opaque = reader.i32("opaque")?;
    let flags = reader.i32("flag")?;
    let remark_length = reader.i32("remark length")?;
    let remark = reader.take("remark", i64::from(remark_length))?;
    let fields_length = reader.i32("fields length")?;
    let fields = reader.take("fields", i64::from(fields_length))?;
    if !reader.rest.is_empty() {
        return Err(HeaderError::TrailingBytes(reader.rest.len()));
    }
    let remark = std::str::from_utf8(remark).map_err(|_| HeaderError::NotUtf8)?;
    Ok(Header {
        code: if flags & flag::RESPONSE == 0 {
            request_code::restore(code)
        } else {
            i32::from(code)
        },
        language: Language::of_number(language),
        version: i32::from(version),
        opaque,
        flag: flags,
        remark: (!remark.is_empty()).then(|| Text::plain(remark)),
        fields: read_fields(fields)?,
    })
}

fn read_fields(bytes: &[u8]) -> Result<FieldArray<'_>, HeaderError> {
    let mut fields = FieldArray::new();
    let mut reader = Reader { rest: bytes };
    while !reader.rest.is_empty() {
        let name_length = reader.i16("name length")?;
        let name = reader.text("name", i64::from(name_length))?;
        let value_length = reader.i32("value length")?;
        let value = reader.text("value", i64::from(value_length))?;
        if !value.is_empty() {
            fields.push(Text::plain(name), Text::plain(value))?;
        }
    }
    Ok(fields)
}

/// What has not been read yet.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn chunk<const N: usize>(&mut self, what: &'static str) -> Result<&'a [u8; N], HeaderError> {
        let (chunk, rest) = self.rest.split_first_chunk().ok_or(HeaderError::Length {
            what,
            length: N as i64,
            left: self.rest.len(),
        })?;
        self.rest = rest;
        Ok(chunk)
    }

    fn i16(&mut self, what: &'static str) -> Result<i16, HeaderError> {
        self.chunk(what).map(|bytes| i16::from_be_bytes(*bytes))
    }

    fn i32(&mut self, what: &'static str) -> Result<i32, HeaderError> {
        self.chunk(what).map(|bytes| i32::from_be_bytes(*bytes))
    }

    fn take(&mut self, what: &'static str, length: i64) -> Result<&'a [u8], HeaderError> {
        let wrong = HeaderError::Length {
            what,
            length,
            left: self.rest.len(),
        };
        let length = usize::try_from(length).map_err(|_| wrong.clone())?;
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(wrong)?;
        self.rest = rest;
        Ok(taken)
    }

    fn text(&mut self, what: &'static str, length: i64) -> Result<&'a str, HeaderError> {
        let bytes = self.take(what, length)?;
        std::str::from_utf8(bytes).map_err(|_| HeaderError::NotUtf8)
    }
}
