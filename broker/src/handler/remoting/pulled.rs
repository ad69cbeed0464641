//! How a pull ended.

use super::Answer;
use crate::session::budget::Permit;
use crate::state::offsets::QueueRange;
use ringmq_storage_engine::position::QueueOffset;
use ringmq_wire::remoting::response_code;

/// What is at the offset that was asked for. The names in remarks are RocketMQ's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Found,
    /// Nothing of it matches.
    NoneMatched,
    /// The queue never had a message; whether the offset was 0.
    Empty(bool),
    TooSmall,
    /// The next message gets this offset.
    AtEnd,
    TooLarge,
    /// An operator moved the group.
    Reset,
}

impl Status {
    fn code(self) -> i32 {
        match self {
            Self::Found => response_code::SUCCESS,
            Self::NoneMatched => response_code::PULL_RETRY_IMMEDIATELY,
            Self::Empty(true) | Self::AtEnd => response_code::PULL_NOT_FOUND,
            Self::Empty(false) | Self::TooSmall | Self::TooLarge | Self::Reset => {
                response_code::PULL_OFFSET_MOVED
            }
        }
    }

    fn remark(self) -> &'static str {
        match self {
            Self::Found => "FOUND",
            Self::NoneMatched => "NO_MATCHED_MESSAGE",
            Self::Empty(_) => "NO_MESSAGE_IN_QUEUE",
            Self::TooSmall => "OFFSET_TOO_SMALL",
            Self::AtEnd => "OFFSET_OVERFLOW_ONE",
            Self::TooLarge => "OFFSET_OVERFLOW_BADLY",
            Self::Reset => "OFFSET_RESET",
        }
    }

    /// Whether a message may still come for it. `moved`: it waited already.
    pub fn may_wait(self, moved: bool) -> bool {
        matches!(self, Self::Empty(true) | Self::AtEnd) || (moved && self == Self::NoneMatched)
    }

    /// Where to go on.
    pub fn next(self, offset: i64, range: QueueRange) -> QueueOffset {
        let asked = QueueOffset(u64::try_from(offset).unwrap_or(0));
        match self {
            Self::Found | Self::NoneMatched | Self::AtEnd | Self::Reset => asked,
            Self::Empty(_) => QueueOffset(0),
            Self::TooSmall => range.min,
            Self::TooLarge => range.visible,
        }
    }
}

/// An answer to a pull.
pub struct Pulled {
    pub answer: Answer,
    /// Counts the body until it is sent.
    pub permit: Option<Permit>,
}

impl Pulled {
    pub fn found(body: Vec<u8>, permit: Permit, next: QueueOffset, range: QueueRange) -> Self {
        Self {
            permit: Some(permit),
            ..Self::new(Status::Found, body, next, range)
        }
    }

    pub fn empty(status: Status, next: QueueOffset, range: QueueRange) -> Self {
        Self::new(status, Vec::new(), next, range)
    }

    fn new(status: Status, body: Vec<u8>, next: QueueOffset, range: QueueRange) -> Self {
        let answer = Answer {
            remark: Some(status.remark().to_owned()),
            code: status.code(),
            ..Answer::ok()
        };
        let answer = answer
            .field("suggestWhichBrokerId", 0)
            .field("nextBeginOffset", next.0)
            .field("minOffset", range.min.0)
            .field("maxOffset", range.visible.0)
            .body(body);
        Self {
            answer,
            permit: None,
        }
    }
}
