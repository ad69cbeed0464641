//! Reading big-endian numbers and counted bytes from what a peer sent.

/// A field that does not fit into what is left, or has a negative length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} of {length} bytes, where {left} bytes are left")]
pub struct LengthError {
    pub what: &'static str,
    pub length: i64,
    pub left: usize,
}

/// What has not been read yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn array<const N: usize>(
        &mut self,
        what: &'static str,
    ) -> Result<[u8; N], LengthError> {
        let (chunk, rest) = self.rest.split_first_chunk().ok_or(LengthError {
            what,
            length: N as i64,
            left: self.rest.len(),
        })?;
        self.rest = rest;
        Ok(*chunk)
    }

    pub(super) fn u8(&mut self, what: &'static str) -> Result<u8, LengthError> {
        self.array(what).map(|[byte]| byte)
    }

    pub(super) fn i16(&mut self, what: &'static str) -> Result<i16, LengthError> {
        self.array(what).map(i16::from_be_bytes)
    }

    pub(super) fn i32(&mut self, what: &'static str) -> Result<i32, LengthError> {
        self.array(what).map(i32::from_be_bytes)
    }

    pub(super) fn u32(&mut self, what: &'static str) -> Result<u32, LengthError> {
        self.array(what).map(u32::from_be_bytes)
    }

    pub(super) fn i64(&mut self, what: &'static str) -> Result<i64, LengthError> {
        self.array(what).map(i64::from_be_bytes)
    }

    /// Takes `length` bytes, which a peer named.
    pub(super) fn take(
        &mut self,
        what: &'static str,
        length: impl Into<i64>,
    ) -> Result<&'a [u8], LengthError> {
        let length = length.into();
        let wrong = LengthError {
            what,
            length,
            left: self.rest.len(),
        };
        let bytes = usize::try_from(length).map_err(|_| wrong)?;
        let (taken, rest) = self.rest.split_at_checked(bytes).ok_or(wrong)?;
        self.rest = rest;
        Ok(taken)
    }
}
