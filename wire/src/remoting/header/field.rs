//! Fields travel as strings; handlers want numbers.

use std::borrow::Cow;

use crate::remoting::text::Text;

/// A field of a request that is missing or cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("field `{name}` {problem}")]
pub struct FieldError {
    pub name: &'static str,
    pub problem: Problem,
}

/// What is wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("is missing")]
    Missing,
    #[error("is `{value}`, {expected} expected")]
    Invalid {
        value: String,
        expected: &'static str,
    },
}

/// A type that the text of a field can be read as.
pub trait FieldValue<'a>: Sized {
    /// For the error, such as `a 32-bit number`.
    const EXPECTED: &'static str;
    fn read(text: Text<'a>) -> Option<Self>;
}

macro_rules! number {
    ($type:ty, $expected:literal) => {
        impl FieldValue<'_> for $type {
            const EXPECTED: &'static str = $expected;
            fn read(text: Text<'_>) -> Option<Self> {
                match text.as_plain() {
                    Some(plain) => plain.parse().ok(),
                    None => text.to_str().parse().ok(),
                }
            }
        }
    };
}
number!(i32, "a 32-bit number");
number!(i64, "a 64-bit number");
number!(u32, "a 32-bit number of 0 or more");
number!(u64, "a 64-bit number of 0 or more");

/// As Java reads it: `true` in any case, and everything else is false.
impl FieldValue<'_> for bool {
    const EXPECTED: &'static str = "true or false";
    fn read(text: Text<'_>) -> Option<Self> {
        Some(text.to_str().eq_ignore_ascii_case("true"))
    }
}

impl<'a> FieldValue<'a> for Cow<'a, str> {
    const EXPECTED: &'static str = "a string";
    fn read(text: Text<'a>) -> Option<Self> {
        Some(text.to_str())
    }
}

impl FieldValue<'_> for String {
    const EXPECTED: &'static str = "a string";
    fn read(text: Text<'_>) -> Option<Self> {
        Some(text.to_str().into_owned())
    }
}

impl<'a> FieldValue<'a> for Text<'a> {
    const EXPECTED: &'static str = "a string";
    fn read(text: Text<'a>) -> Option<Self> {
        Some(text)
    }
}

#[inline]
pub(crate) fn required<'a, T: FieldValue<'a>>(
    name: &'static str,
    value: Option<Text<'a>>,
) -> Result<T, FieldError> {
    optional(name, value)?.ok_or(FieldError {
        name,
        problem: Problem::Missing,
    })
}

#[inline]
pub(crate) fn optional<'a, T: FieldValue<'a>>(
    name: &'static str,
    value: Option<Text<'a>>,
) -> Result<Option<T>, FieldError> {
    let Some(text) = value else {
        return Ok(None);
    };
    let read = T::read(text).ok_or_else(|| invalid(name, text, T::EXPECTED))?;
    Ok(Some(read))
}

/// Most characters of a refused value that an error repeats.
const VALUE_CHARS_SHOWN: usize = 64;

#[cold]
fn invalid(name: &'static str, text: Text<'_>, expected: &'static str) -> FieldError {
    let value = text.to_str().chars().take(VALUE_CHARS_SHOWN).collect();
    FieldError {
        name,
        problem: Problem::Invalid { value, expected },
    }
}
