//! The body of a batch: several messages of one topic and queue in one request.
//!
//! ```text
//! total i32 | magic i32 | body crc i32 | flag i32 | body length i32 | body | properties length i16 | properties
//! ```
//! Magic and checksum are not used; clients write zeros. What the messages share is in the fields of the request.

use super::message::{MessageError, PROPERTIES_BYTES_MAX, TooLong};
use super::reader::Reader;

/// Bytes of a message beside its body and properties.
const FIXED_BYTES: usize = 22;

/// One message of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InnerMessage<'a> {
    /// The user's flag.
    pub flag: i32,
    pub body: &'a [u8],
    /// See [`super::properties`].
    pub properties: &'a str,
}

impl InnerMessage<'_> {
    /// Appends the encoding; nothing is appended if the message is too long.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        if self.properties.len() > PROPERTIES_BYTES_MAX {
            return Err(TooLong::Properties(self.properties.len()));
        }
        let total = FIXED_BYTES + self.body.len() + self.properties.len();
        let total = i32::try_from(total).map_err(|_| TooLong::Body(self.body.len()))?;
        out.extend_from_slice(&total.to_be_bytes());
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&self.flag.to_be_bytes());
        out.extend_from_slice(&(self.body.len() as i32).to_be_bytes());
        out.extend_from_slice(self.body);
        out.extend_from_slice(&(self.properties.len() as i16).to_be_bytes());
        out.extend_from_slice(self.properties.as_bytes());
        Ok(())
    }
}

/// The messages of a body. Nothing follows an error: what came before it must not be stored either.
#[derive(Debug, Clone)]
pub struct InnerMessages<'a> {
    reader: Reader<'a>,
}

impl<'a> InnerMessages<'a> {
    pub fn new(body: &'a [u8]) -> Self {
        Self {
            reader: Reader { rest: body },
        }
    }

    fn read(&mut self) -> Result<InnerMessage<'a>, MessageError> {
        let mut ahead = self.reader;
        let total = ahead.i32("total length")?;
        let whole = self.reader.take("message", total)?;
        let mut reader = Reader { rest: whole };
        reader.i32("total length")?;
        reader.array::<8>("magic and crc")?;
        let flag = reader.i32("flag")?;
        let body_length = reader.i32("body length")?;
        let body = reader.take("body", body_length)?;
        let properties_length = reader.i16("properties length")?;
        let properties = reader.take("properties", properties_length)?;
        if !reader.rest.is_empty() {
            return Err(MessageError::LeftOver(reader.rest.len()));
        }
        let properties =
            std::str::from_utf8(properties).map_err(|_| MessageError::NotUtf8("properties"))?;
        Ok(InnerMessage {
            flag,
            body,
            properties,
        })
    }
}

impl<'a> Iterator for InnerMessages<'a> {
    type Item = Result<InnerMessage<'a>, MessageError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.rest.is_empty() {
            return None;
        }
        let message = self.read();
        if message.is_err() {
            self.reader.rest = &[];
        }
        Some(message)
    }
}
