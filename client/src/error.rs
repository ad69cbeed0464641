//! What can go wrong, and what to do about it.

use ringmq_wire::codes::ErrorCode;
use std::fmt;

/// A failed operation: what was tried, on what, and why it failed.
///
/// Clones are cheap enough to hand one cause to every message of a failed batch.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{operation}{}{object}: {kind}", if object.is_empty() { "" } else { " " })]
pub struct Error {
    operation: &'static str,
    object: String,
    #[source]
    kind: ErrorKind,
}

/// Why an operation failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The server answered with a refusal.
    #[error("{0}")]
    Refused(Refusal),
    /// The deadline passed. A request that changes something may have been done.
    #[error("the deadline passed after {waited_ms} ms{}", cause.as_ref().map(|c| format!(" (last: {c})")).unwrap_or_default())]
    TimedOut {
        /// How long the operation was tried.
        waited_ms: u64,
        /// What went wrong last, if anything did.
        cause: Option<Box<Error>>,
    },
    /// No connection, or it broke before the answer came.
    #[error("connection to {address}: {cause}")]
    Disconnected {
        /// Who was addressed.
        address: String,
        /// What the system said.
        cause: String,
    },
    /// No live shard serves what was asked for.
    #[error("no live shard serves it")]
    NoRoute,
    /// The topic does not exist.
    #[error("the topic does not exist")]
    TopicNotFound,
    /// The arguments cannot be right; the text says why.
    #[error("{0}")]
    InvalidInput(String),
    /// The server sent what this client cannot understand.
    #[error("unexpected answer: {0}")]
    Protocol(String),
    /// A stored batch does not match its checksum.
    #[error("damaged batch at offset {offset}: {cause}")]
    Damaged {
        /// First queue offset that is not served.
        offset: u64,
        /// What is wrong with it.
        cause: String,
    },
    /// The handle was closed.
    #[error("closed")]
    Closed,
    /// A local file could not be read or written.
    #[error("{0}")]
    Local(String),
}

/// A server's refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The registered reason; `None` when it is newer than this client.
    pub code: Option<ErrorCode>,
    /// The number on the wire.
    pub code_number: u16,
    /// What happened, to what, and what to do.
    pub message: String,
    /// The server's advice on when to try again; 0: none.
    pub retry_after_ms: u32,
    /// Damage: the first damaged log position.
    pub position: u64,
    /// Damage and out-of-range offsets: the next readable queue offset.
    pub next_offset: u64,
    /// Producer errors: the epoch that the shard knows.
    pub(crate) epoch: u32,
    /// Producer errors: the sequence that the shard expects.
    pub(crate) sequence: u32,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => write!(f, "{}", code.name())?,
            None => write!(f, "error {}", self.code_number)?,
        }
        if self.message.is_empty() {
            Ok(())
        } else {
            write!(f, ": {}", self.message)
        }
    }
}

impl std::error::Error for Refusal {}

impl Refusal {
    /// A refusal that came as a bare number within a larger answer.
    pub(crate) fn from_number(code_number: u16, message: impl Into<String>) -> Self {
        Self {
            code: ErrorCode::from_number(code_number),
            code_number,
            message: message.into(),
            retry_after_ms: 0,
            position: 0,
            next_offset: 0,
            epoch: 0,
            sequence: 0,
        }
    }
}

impl Error {
    pub(crate) fn new(
        operation: &'static str,
        object: impl Into<String>,
        kind: impl Into<ErrorKind>,
    ) -> Self {
        Self {
            operation,
            object: object.into(),
            kind: kind.into(),
        }
    }

    pub(crate) fn invalid(operation: &'static str, object: &str, why: impl Into<String>) -> Self {
        Self::new(operation, object, ErrorKind::InvalidInput(why.into()))
    }

    pub(crate) fn closed(operation: &'static str, object: impl Into<String>) -> Self {
        Self::new(operation, object, ErrorKind::Closed)
    }

    /// The same failure under the name of the operation that the caller knows.
    pub(crate) fn during(self, operation: &'static str, object: impl Into<String>) -> Self {
        Self {
            operation,
            object: object.into(),
            kind: self.kind,
        }
    }

    /// What was tried.
    pub fn operation(&self) -> &'static str {
        self.operation
    }

    /// On what it was tried: a topic, a group, an address.
    pub fn object(&self) -> &str {
        &self.object
    }

    /// Why it failed.
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// The server's reason, if a server refused.
    pub fn code(&self) -> Option<ErrorCode> {
        match &self.kind {
            ErrorKind::Refused(refusal) => refusal.code,
            ErrorKind::TopicNotFound => Some(ErrorCode::TopicNotFound),
            _ => None,
        }
    }

    pub(crate) fn refusal(&self) -> Option<&Refusal> {
        match &self.kind {
            ErrorKind::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// Whether the topic was missing.
    pub fn is_topic_not_found(&self) -> bool {
        self.code() == Some(ErrorCode::TopicNotFound)
    }

    /// Whether the same call may succeed later without anyone changing anything.
    pub fn is_retryable(&self) -> bool {
        match &self.kind {
            ErrorKind::Refused(refusal) => refusal.code.is_some_and(ErrorCode::is_retryable),
            ErrorKind::TimedOut { .. } | ErrorKind::Disconnected { .. } | ErrorKind::NoRoute => {
                true
            }
            _ => false,
        }
    }
}

impl From<Refusal> for ErrorKind {
    fn from(refusal: Refusal) -> Self {
        if refusal.code == Some(ErrorCode::TopicNotFound) {
            Self::TopicNotFound
        } else {
            Self::Refused(refusal)
        }
    }
}
