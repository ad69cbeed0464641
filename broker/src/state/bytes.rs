//! Reading and writing the little-endian fields of control records and snapshot chunks.
//!
//! Reading never panics and never allocates more than the input justifies.

use ringmq_wire::limits::is_valid_name;

/// Why bytes are not a control record or a snapshot chunk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("cut short in {field}: {needed} bytes needed, {available} there")]
    Truncated {
        field: &'static str,
        needed: usize,
        available: usize,
    },
    #[error("{what} of version {version}; this release knows version 1")]
    Version { what: &'static str, version: u8 },
    #[error("control record of kind {0}, which this release does not know")]
    UnknownKind(u8),
    #[error("field {field} is {value}: {expected}")]
    Field {
        field: &'static str,
        value: u64,
        expected: &'static str,
    },
    #[error("field {field} is not a valid name")]
    Name { field: &'static str },
    #[error("{0} bytes behind the last field")]
    Trailing(usize),
}

/// A cursor over bytes from the disk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub fn take(&mut self, len: usize, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let Some((taken, rest)) = self.rest.split_at_checked(len) else {
            return Err(DecodeError::Truncated {
                field,
                needed: len,
                available: self.rest.len(),
            });
        };
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, field)?);
        Ok(array)
    }

    pub fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        Ok(self.array::<1>(field)?[0])
    }
    pub fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        Ok(u16::from_le_bytes(self.array(field)?))
    }
    pub fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.array(field)?))
    }
    pub fn u64(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.array(field)?))
    }
    pub fn i64(&mut self, field: &'static str) -> Result<i64, DecodeError> {
        Ok(i64::from_le_bytes(self.array(field)?))
    }
    pub fn u128(&mut self, field: &'static str) -> Result<u128, DecodeError> {
        Ok(u128::from_le_bytes(self.array(field)?))
    }

    /// A u32 count of entries of at least `entry_bytes_min` bytes each, bounded by `max` and by what is there.
    pub fn count(
        &mut self,
        field: &'static str,
        entry_bytes_min: usize,
        max: usize,
    ) -> Result<usize, DecodeError> {
        let count = self.u32(field)? as usize;
        require(count <= max, field, count as u64, "over the limit")?;
        let needed = count * entry_bytes_min;
        if needed > self.rest.len() {
            return Err(DecodeError::Truncated {
                field,
                needed,
                available: self.rest.len(),
            });
        }
        Ok(count)
    }

    /// u16 length, then UTF-8, non-empty and at most `max` bytes.
    pub fn text(&mut self, field: &'static str, max: usize) -> Result<&'a str, DecodeError> {
        let len = usize::from(self.u16(field)?);
        require((1..=max).contains(&len), field, len as u64, "bad length")?;
        std::str::from_utf8(self.take(len, field)?).map_err(|_| DecodeError::Name { field })
    }

    /// A topic or group name.
    pub fn name(&mut self, field: &'static str) -> Result<&'a str, DecodeError> {
        let name = self.text(field, ringmq_wire::limits::NAME_BYTES_MAX)?;
        if is_valid_name(name) {
            Ok(name)
        } else {
            Err(DecodeError::Name { field })
        }
    }

    pub fn finish(self) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            more => Err(DecodeError::Trailing(more)),
        }
    }
}

pub(super) fn require(
    holds: bool,
    field: &'static str,
    value: u64,
    expected: &'static str,
) -> Result<(), DecodeError> {
    if holds {
        Ok(())
    } else {
        Err(DecodeError::Field {
            field,
            value,
            expected,
        })
    }
}

pub(super) fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_le_bytes());
}
pub(super) fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}
pub(super) fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}
pub(super) fn put_i64(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(&value.to_le_bytes());
}
/// Names are bounded far below 64 KiB before they get here.
pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    debug_assert!(text.len() <= usize::from(u16::MAX));
    put_u16(out, text.len() as u16);
    out.extend_from_slice(text.as_bytes());
}
pub(super) fn put_count(out: &mut Vec<u8>, count: usize) {
    debug_assert!(u32::try_from(count).is_ok());
    put_u32(out, count as u32);
}
