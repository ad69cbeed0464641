//! An owned header: what is sent, and what is received off the hot path.

mod binary;
mod head;
mod json;

pub use head::{Head, Value};

use std::borrow::Cow;

use super::frame::Serialization;
use super::header::{self, FieldError, FieldValue, Header};
use super::language::Language;
use super::text::Text;
use super::{VERSION, flag};

/// What most heads fit into.
const HEAD_BYTES_USUAL: usize = 512;

/// What a frame says beside its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// A [`super::request_code`], or a [`super::response_code`] in an answer.
    pub code: i32,
    pub language: Language,
    pub version: i32,
    pub opaque: i32,
    /// See [`flag`].
    pub flag: i32,
    pub remark: Option<String>,
    /// In the order in which they are sent. A name should not come twice; if it does, the later one counts.
    pub fields: Vec<(Cow<'static, str>, String)>,
}

impl Command {
    /// A request of ours, to be answered.
    pub fn request(code: i32, opaque: i32) -> Self {
        Self {
            code,
            language: Language::Java,
            version: VERSION,
            opaque,
            flag: 0,
            remark: None,
            fields: Vec::new(),
        }
    }

    /// Our answer to the request with that `opaque`.
    pub fn response(code: i32, opaque: i32) -> Self {
        Self {
            flag: flag::RESPONSE,
            ..Self::request(code, opaque)
        }
    }

    /// The same, not to be answered.
    #[must_use]
    pub fn oneway(mut self) -> Self {
        self.flag |= flag::ONEWAY;
        self
    }

    /// The same with one more field.
    #[must_use]
    pub fn field(mut self, name: impl Into<Cow<'static, str>>, value: impl ToString) -> Self {
        self.fields.push((name.into(), value.to_string()));
        self
    }

    /// The same with a text for people.
    #[must_use]
    pub fn remark(mut self, remark: impl Into<String>) -> Self {
        self.remark = Some(remark.into());
        self
    }

    /// A copy of a received header.
    pub fn from_header(header: &Header<'_>) -> Self {
        Self {
            code: header.code,
            language: header.language,
            version: header.version,
            opaque: header.opaque,
            flag: header.flag,
            remark: header.remark().map(Cow::into_owned),
            fields: header
                .fields()
                .map(|(name, value)| (Cow::Owned(name.into_owned()), value.into_owned()))
                .collect(),
        }
    }

    pub fn is_response(&self) -> bool {
        self.flag & flag::RESPONSE != 0
    }

    /// Whether the sender does not want to be answered.
    pub fn is_oneway(&self) -> bool {
        self.flag & flag::ONEWAY != 0
    }

    /// The value of a field.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut last_first = self.fields.iter().rev();
        last_first.find_map(|(found, value)| (found == name).then_some(value.as_str()))
    }

    /// The value of a field that the request cannot do without.
    pub fn required<'a, T: FieldValue<'a>>(&'a self, name: &'static str) -> Result<T, FieldError> {
        header::required(name, self.get(name).map(Text::plain))
    }

    /// The value of a field, if it is there; an error if it is there and cannot be read.
    pub fn optional<'a, T: FieldValue<'a>>(
        &'a self,
        name: &'static str,
    ) -> Result<Option<T>, FieldError> {
        header::optional(name, self.get(name).map(Text::plain))
    }

    /// Frame prefix and header of a frame whose body of `body_bytes` follows as it is.
    ///
    /// # Panics
    /// As [`Head::append_to`].
    pub fn encode_head(&self, serialization: Serialization, body_bytes: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD_BYTES_USUAL);
        self.head()
            .append_to(&mut out, serialization, self.values(), body_bytes);
        out
    }

    /// The fields as they are written.
    fn values(&self) -> impl Iterator<Item = (&str, Value<'_>)> {
        let fields = self.fields.iter();
        fields.map(|(name, value)| (&**name, Value::Text(value)))
    }

    /// Everything but the fields.
    fn head(&self) -> Head<'_> {
        Head {
            code: self.code,
            language: self.language,
            version: self.version,
            opaque: self.opaque,
            flag: self.flag,
            remark: self.remark.as_deref(),
        }
    }

    /// A whole frame.
    ///
    /// # Panics
    /// As [`Self::encode_head`].
    pub fn encode(&self, serialization: Serialization, body: &[u8]) -> Vec<u8> {
        let mut out = self.encode_head(serialization, body.len());
        out.extend_from_slice(body);
        out
    }
}
