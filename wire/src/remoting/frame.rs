//! The fixed part of a remoting frame.
//!
//! ```text
//!  0              4               5                8            8 + H
//!  +--------------+---------------+----------------+------------+----------+
//!  | total length | serialization | header length H| header     | body     |
//!  | i32          | u8            | u24            | H bytes    |          |
//!  +--------------+---------------+----------------+------------+----------+
//!  total length counts everything behind itself: 4 + H + body
//! ```

/// Bytes before the header.
pub const FRAME_PREFIX_BYTES: usize = 8;
/// Largest total length; RocketMQ's peers close a connection on a larger one.
pub const FRAME_BYTES_MAX: usize = 16 << 20;
/// Largest header that is read. The largest that a client makes carries 32,767 bytes of properties, each escaped to six.
pub const HEADER_BYTES_MAX: usize = 1 << 20;

/// How a header is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Serialization {
    /// An object of JSON; every client reads it.
    Json,
    /// RocketMQ's binary form.
    Binary,
}

impl Serialization {
    /// The number in the frame.
    pub fn number(self) -> u8 {
        match self {
            Self::Json => 0,
            Self::Binary => 1,
        }
    }
    /// The name in `serializeTypeCurrentRPC`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::Binary => "ROCKETMQ",
        }
    }
}

/// The lengths of a frame and the form of its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FramePrefix {
    header_bytes: u32,
    body_bytes: u32,
    serialization: Serialization,
}

/// Why bytes are not a frame. The stream cannot be read further: the connection must be closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("total length {0} is not between 4 and {FRAME_BYTES_MAX}")]
    TotalLength(i32),
    #[error(
        "a header of {header_bytes} bytes (limit {HEADER_BYTES_MAX}) in a frame of total length {total}"
    )]
    HeaderLength { header_bytes: u32, total: u32 },
    #[error("unknown serialization {0}")]
    Serialization(u8),
}

impl FramePrefix {
    /// Reads the prefix at the start of `bytes`; `None`: more bytes are needed. A wrong length is refused as soon as
    /// its four bytes are there, so that nobody waits for, or allocates, what will not come.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, FrameError> {
        let Some(total) = bytes.first_chunk::<4>() else {
            return Ok(None);
        };
        let total = i32::from_be_bytes(*total);
        if !(4..=FRAME_BYTES_MAX as i32).contains(&total) {
            return Err(FrameError::TotalLength(total));
        }
        let total = total as u32;
        let Some(&[kind, high, middle, low]) = bytes.get(4..FRAME_PREFIX_BYTES) else {
            return Ok(None);
        };
        let serialization = match kind {
            0 => Serialization::Json,
            1 => Serialization::Binary,
            other => return Err(FrameError::Serialization(other)),
        };
        let header_bytes = u32::from_be_bytes([0, high, middle, low]);
        if header_bytes > total - 4 || header_bytes as usize > HEADER_BYTES_MAX {
            return Err(FrameError::HeaderLength {
                header_bytes,
                total,
            });
        }
        Ok(Some(Self {
            header_bytes,
            body_bytes: total - 4 - header_bytes,
            serialization,
        }))
    }

    /// The prefix of a frame with a header and a body of these sizes.
    ///
    /// # Panics
    /// If the frame would be over the limits: callers bound what they send.
    pub fn new(serialization: Serialization, header_bytes: usize, body_bytes: usize) -> Self {
        assert!(
            header_bytes < 1 << 24 && 4 + header_bytes + body_bytes <= FRAME_BYTES_MAX,
            "a frame with {header_bytes} bytes of header and {body_bytes} of body is over the limits"
        );
        Self {
            header_bytes: header_bytes as u32,
            body_bytes: body_bytes as u32,
            serialization,
        }
    }

    /// The eight bytes.
    pub fn encode(&self) -> [u8; FRAME_PREFIX_BYTES] {
        let [a, b, c, d] = (4 + self.header_bytes + self.body_bytes).to_be_bytes();
        let [_, high, middle, low] = self.header_bytes.to_be_bytes();
        [a, b, c, d, self.serialization.number(), high, middle, low]
    }

    /// The whole frame, prefix included.
    pub fn frame_bytes(&self) -> usize {
        FRAME_PREFIX_BYTES + self.header_bytes() + self.body_bytes()
    }
    pub fn header_bytes(&self) -> usize {
        self.header_bytes as usize
    }
    pub fn body_bytes(&self) -> usize {
        self.body_bytes as usize
    }
    /// How the header is written.
    pub fn serialization(&self) -> Serialization {
        self.serialization
    }
    /// Where the header is in the frame.
    pub fn header_range(&self) -> std::ops::Range<usize> {
        FRAME_PREFIX_BYTES..FRAME_PREFIX_BYTES + self.header_bytes()
    }
    /// Where the body is in the frame.
    pub fn body_range(&self) -> std::ops::Range<usize> {
        FRAME_PREFIX_BYTES + self.header_bytes()..self.frame_bytes()
    }
}
