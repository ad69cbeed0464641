//! A received header, borrowed from the connection's buffer.
//!
//! Reading takes one pass and allocates nothing: fields are kept as pairs of ranges in an array of fixed size. A string
//! is copied only when it is asked for and has JSON escapes.

mod array;
mod binary;
mod field;
mod json;

use std::borrow::Cow;

pub use array::FIELDS_MAX;
pub use field::{FieldError, FieldValue, Problem};

pub(super) use field::{optional, required};

use self::array::FieldArray;
use super::frame::Serialization;
use super::language::Language;
use super::reader::LengthError;
use super::text::Text;
use super::{flag, request_code};

/// What a header says.
#[derive(Debug, Clone)]
pub struct Header<'a> {
    /// A [`request_code`], or a [`super::response_code`] in an answer.
    pub code: i32,
    /// Language of the sender.
    pub language: Language,
    /// Version of the sender, a number that grows with RocketMQ's releases.
    pub version: i32,
    /// Chosen by the requester, repeated in the answer.
    pub opaque: i32,
    /// See [`flag`].
    pub flag: i32,
    remark: Option<Text<'a>>,
    fields: FieldArray<'a>,
}

/// Why bytes are not a header. Nobody can be answered: the connection must be closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    #[error("the header is not UTF-8")]
    NotUtf8,
    #[error("JSON header: {expected} expected at byte {at}")]
    Syntax { expected: &'static str, at: usize },
    #[error("JSON header: `{name}` is not a number that fits into 32 bits")]
    Number { name: &'static str },
    #[error("JSON header: values are nested deeper than {}", json::DEPTH_MAX)]
    Depth,
    #[error("the header has no `code`")]
    NoCode,
    #[error("the header has more than {FIELDS_MAX} fields")]
    TooManyFields,
    #[error("binary header: {0}")]
    Length(#[from] LengthError),
    #[error("binary header: {0} bytes behind the end")]
    TrailingBytes(usize),
}

impl<'a> Header<'a> {
    /// Reads the header that is exactly `bytes`.
    pub fn parse(serialization: Serialization, bytes: &'a [u8]) -> Result<Self, HeaderError> {
        match serialization {
            Serialization::Json => json::parse(bytes),
            Serialization::Binary => binary::parse(bytes),
        }
    }

    pub fn is_response(&self) -> bool {
        self.flag & flag::RESPONSE != 0
    }

    /// Whether the sender does not want to be answered.
    pub fn is_oneway(&self) -> bool {
        self.flag & flag::ONEWAY != 0
    }

    /// Human text, such as the reason of an error.
    pub fn remark(&self) -> Option<Cow<'a, str>> {
        self.remark.as_ref().map(Text::to_str)
    }

    /// The fields in the order of the header. A name may come twice: the later one counts.
    pub fn texts(&self) -> impl DoubleEndedIterator<Item = (Text<'a>, Text<'a>)> + '_ {
        self.fields.iter()
    }

    /// As [`Self::texts`], with escapes resolved.
    pub fn fields(&self) -> impl DoubleEndedIterator<Item = (Cow<'a, str>, Cow<'a, str>)> + '_ {
        self.texts()
            .map(|(name, value)| (name.to_str(), value.to_str()))
    }

    /// The value of a field as it lies in the header.
    pub fn text(&self, name: &str) -> Option<Text<'a>> {
        let mut last_first = self.texts().rev();
        last_first.find_map(|(found, value)| found.is(name).then_some(value))
    }

    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<Cow<'a, str>> {
        self.text(name).map(|value| value.to_str())
    }

    /// The value of a field that the request cannot do without.
    pub fn required<T: FieldValue<'a>>(&self, name: &'static str) -> Result<T, FieldError> {
        required(name, self.text(name))
    }

    /// The value of a field, if it is there; an error if it is there and cannot be read.
    pub fn optional<T: FieldValue<'a>>(&self, name: &'static str) -> Result<Option<T>, FieldError> {
        optional(name, self.text(name))
    }
}
