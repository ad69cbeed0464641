//! Fields of the requests on the hot path, each read in one pass over a header, without allocation.

mod pull;
mod send;

pub use pull::{PullFields, pull_flag};
pub use send::SendFields;

use super::header::{FieldError, FieldValue, optional, required};
use super::text::Text;

/// Texts of known fields, picked from a header in one pass, to be read in any order.
struct Picked<'a, const N: usize> {
    names: &'static [&'static str; N],
    texts: [Option<Text<'a>>; N],
}

impl<'a, const N: usize> Picked<'a, N> {
    fn new(names: &'static [&'static str; N]) -> Self {
        Self {
            names,
            texts: [None; N],
        }
    }
    fn required<T: FieldValue<'a>>(&self, index: usize) -> Result<T, FieldError> {
        required(self.names[index], self.texts[index])
    }
    fn optional<T: FieldValue<'a>>(&self, index: usize) -> Result<Option<T>, FieldError> {
        optional(self.names[index], self.texts[index])
    }
    fn or_default<T: FieldValue<'a> + Default>(&self, index: usize) -> Result<T, FieldError> {
        Ok(self.optional(index)?.unwrap_or_default())
    }
}
