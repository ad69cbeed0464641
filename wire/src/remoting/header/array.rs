//! The fields of a header, in an array of fixed size, so that reading a header allocates nothing.

use super::HeaderError;
use crate::remoting::text::Text;

/// Most fields of a header. The fullest that clients send have about twenty.
pub const FIELDS_MAX: usize = 40;

/// Names and values in the order of the header.
#[derive(Debug, Clone)]
pub(super) struct FieldArray<'a> {
    count: usize,
    fields: [(Text<'a>, Text<'a>); FIELDS_MAX],
}

impl<'a> FieldArray<'a> {
    pub(super) fn new() -> Self {
        Self {
            count: 0,
            fields: [(Text::plain(""), Text::plain("")); FIELDS_MAX],
        }
    }

    #[inline(always)]
    pub(super) fn push(&mut self, name: Text<'a>, value: Text<'a>) -> Result<(), HeaderError> {
        let Some(free) = self.fields.get_mut(self.count) else {
            return Err(HeaderError::TooManyFields);
        };
        *free = (name, value);
        self.count += 1;
        Ok(())
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (Text<'a>, Text<'a>)> + '_ {
        self.fields[..self.count].iter().copied()
    }
}
