//! Why a remoting request was not done, in RocketMQ's codes.

use crate::handler::Refusal;
use crate::node::ControlError;
use crate::state::Refuse;
use ringmq_storage_engine::store::{AppendError, LogStopped, ReadError};
use ringmq_wire::codes::ErrorCode;
use ringmq_wire::remoting::{FieldError, response_code};
use std::borrow::Cow;

/// An error answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// A [`response_code`].
    pub code: i32,
    pub remark: String,
    /// Clients read some fields of errors, too.
    pub fields: Vec<(Cow<'static, str>, String)>,
}

impl Refused {
    pub fn new(code: i32, remark: impl Into<String>) -> Self {
        Self {
            code,
            remark: remark.into(),
            fields: Vec::new(),
        }
    }

    /// The same with one more field.
    #[must_use]
    pub fn field(mut self, name: &'static str, value: impl ToString) -> Self {
        self.fields.push((Cow::Borrowed(name), value.to_string()));
        self
    }
}

/// The code of RocketMQ that makes its clients do what ours do on `code`: producers try another broker on 1, 2, 14,
/// 16 and 17, consumers pull again later. 10, 11 and 12 are never used: producers count them as sent.
fn remoting_code(code: ErrorCode) -> i32 {
    use response_code::*;
    match code {
        ErrorCode::Busy | ErrorCode::TimedOut => SYSTEM_BUSY,
        ErrorCode::Stopping | ErrorCode::NoSpace | ErrorCode::LogFailed | ErrorCode::ReadOnly => {
            SERVICE_NOT_AVAILABLE
        }
        ErrorCode::UnsupportedKind => REQUEST_CODE_NOT_SUPPORTED,
        ErrorCode::UnsupportedVersion => VERSION_NOT_SUPPORTED,
        ErrorCode::TopicNotFound | ErrorCode::AutoCreateDisabled => TOPIC_NOT_EXIST,
        ErrorCode::TopicExists => TOPIC_EXIST_ALREADY,
        ErrorCode::QueueNotFound
        | ErrorCode::WrongShard
        | ErrorCode::InvalidName
        | ErrorCode::InvalidRequest => INVALID_PARAMETER,
        ErrorCode::TopicNotWritable
        | ErrorCode::TopicNotReadable
        | ErrorCode::GroupOfOtherProtocol => NO_PERMISSION,
        ErrorCode::BadBatch | ErrorCode::MessageTooLarge | ErrorCode::NotCarryable => {
            MESSAGE_ILLEGAL
        }
        ErrorCode::MessageNotFound => QUERY_NOT_FOUND,
        ErrorCode::GroupNotFound => SUBSCRIPTION_GROUP_NOT_EXIST,
        _ => SYSTEM_ERROR,
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let mut remark = refusal.message;
        if refusal.code == ErrorCode::Corrupt && refusal.next_offset > 0 {
            remark.push_str(&format!(
                "; the next readable offset is {}",
                refusal.next_offset
            ));
        }
        Self::new(remoting_code(refusal.code), remark)
    }
}

impl From<FieldError> for Refused {
    fn from(error: FieldError) -> Self {
        Self::new(response_code::SYSTEM_ERROR, error.to_string())
    }
}

macro_rules! through_refusal {
    ($($error:ty),*) => {
        $(impl From<$error> for Refused {
            fn from(error: $error) -> Self {
                Refusal::from(error).into()
            }
        })*
    };
}

through_refusal!(Refuse, ControlError, AppendError, ReadError, LogStopped);
