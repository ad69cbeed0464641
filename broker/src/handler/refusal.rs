//! A request that is answered with an error.

use crate::node::ControlError;
use crate::state::Refuse;
use ringmq_storage_engine::store::{AppendError, LogStopped, ReadError};
use ringmq_wire::codes::ErrorCode;
use ringmq_wire::native::{FrameError, schema::ErrorResponseT};

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
        ErrorResponseT {
            code: self.code.number(),
            message: Some(self.message.clone()),
            retry_after_ms: self.retry_after_ms,
            position: self.position,
            next_offset: self.next_offset,
            epoch: self.epoch,
            sequence: self.sequence,
        }
    }
}

impl From<FrameError> for Refusal {
    fn from(error: FrameError) -> Self {
        Self::new(ErrorCode::Malformed, error.to_string())
    }
}

impl From<Refuse> for Refusal {
    fn from(refuse: Refuse) -> Self {
        Self {
            epoch: refuse.epoch,
            sequence: refuse.sequence,
            ..Self::new(refuse.code, refuse.message)
        }
    }
}

impl From<LogStopped> for Refusal {
    fn from(stopped: LogStopped) -> Self {
        let code = match stopped {
            LogStopped::Failed(_) => ErrorCode::LogFailed,
            LogStopped::ReadOnly(_) => ErrorCode::ReadOnly,
            LogStopped::Stopped => ErrorCode::Stopping,
        };
        Self::new(code, stopped.to_string())
    }
}

impl From<AppendError> for Refusal {
    fn from(error: AppendError) -> Self {
        let message = error.to_string();
        match error {
            AppendError::Busy => Self::busy(message, BUSY_RETRY_MS),
            AppendError::NoSpace => Self {
                retry_after_ms: NO_SPACE_RETRY_MS,
                ..Self::new(ErrorCode::NoSpace, message)
            },
            AppendError::Failed(stopped) | AppendError::ReadOnly(stopped) => stopped.into(),
            AppendError::TooLarge { .. } => Self::new(ErrorCode::MessageTooLarge, message),
            AppendError::Stopping => Self::new(ErrorCode::Stopping, message),
        }
    }
}

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Self {
        let message = error.to_string();
        match error {
            ReadError::OffsetOutOfRange {
                offset,
                min,
                visible,
            } => Self {
                // The nearest offset that can be read.
                next_offset: if offset < min { min.0 } else { visible.0 },
                ..Self::new(ErrorCode::OffsetOutOfRange, message)
            },
            ReadError::Corrupt {
                position,
                next_readable,
            } => Self {
                position: position.0,
                next_offset: next_readable.0,
                ..Self::new(ErrorCode::Corrupt, message)
            },
            ReadError::QueueNotFound(_) => {
                Self::new(ErrorCode::TopicNotFound, "the topic was deleted")
            }
            ReadError::PositionNotFound(_) => Self::new(ErrorCode::MessageNotFound, message),
            ReadError::Disk(_) | ReadError::Index(_) => Self::new(ErrorCode::Internal, message),
        }
    }
}

impl From<ControlError> for Refusal {
    fn from(error: ControlError) -> Self {
        let retry_after_ms = if error.code == ErrorCode::Busy {
            BUSY_RETRY_MS
        } else {
            0
        };
        Self {
            retry_after_ms,
            ..Self::new(error.code, error.message)
        }
    }
}

/// Advice with `Busy`: the disk frees megabytes in this time.
const BUSY_RETRY_MS: u32 = 20;
/// Advice with `NoSpace`: retention looks for space every ten seconds.
const NO_SPACE_RETRY_MS: u32 = 5_000;
