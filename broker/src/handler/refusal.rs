//! A request that is answered with an error.

use ringmq_wire::{codes::ErrorCode, native::schema::ErrorResponseT};

/// What goes into an `ErrorResponse`. Fields that a code does not use stay 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub code: ErrorCode,
    /// What happened, to what, and what to do.
    pub message: String,
    pub retry_after_ms: u32,
    pub position: u64,
    pub next_offset: u64,
    pub epoch: u32,
    pub sequence: u32,
}

impl Refusal {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            retry_after_ms: 0,
            position: 0,
            next_offset: 0,
            epoch: 0,
            sequence: 0,
        }
    }

    /// A limit is reached; the client should wait that long.
    pub fn busy(message: impl Into<String>, retry_after_ms: u32) -> Self {
        Self {
            retry_after_ms,
            ..Self::new(ErrorCode::Busy, message)
        }
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidRequest, message)
    }

    /// The table on the wire.
    pub fn to_response(&self) -> ErrorResponseT {
        let mut table = ErrorResponseT::default();
        table.code = self.code.number();
        table.message = Some(self.message.clone());
        table.retry_after_ms = self.retry_after_ms;
        table.position = self.position;
        table.next_offset = self.next_offset;
        table.epoch = self.epoch;
        table.sequence = self.sequence;
        table
    }
}
