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
use crate::remoting::reader::Reader;
use crate::remoting::text::Text;

pub(super) fn parse(bytes: &[u8]) -> Result<Header<'_>, HeaderError> {
    let mut reader = Reader { rest: bytes };
    let code = reader.i16("code")?;
    let language = reader.u8("language")?;
    let version = reader.i16("version")?;
    let opaque = reader.i32("opaque")?;
    let flags = reader.i32("flag")?;
    let remark_length = reader.i32("remark length")?;
    let remark = reader.take("remark", remark_length)?;
    let fields_length = reader.i32("fields length")?;
    let fields = reader.take("fields", fields_length)?;
    if !reader.rest.is_empty() {
        return Err(HeaderError::TrailingBytes(reader.rest.len()));
    }
    let remark = text(remark)?;
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
        let name = text(reader.take("name", name_length)?)?;
        let value_length = reader.i32("value length")?;
        let value = text(reader.take("value", value_length)?)?;
        if !value.is_empty() {
            fields.push(Text::plain(name), Text::plain(value))?;
        }
    }
    Ok(fields)
}

fn text(bytes: &[u8]) -> Result<&str, HeaderError> {
    std::str::from_utf8(bytes).map_err(|_| HeaderError::NotUtf8)
}
