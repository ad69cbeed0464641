//! Why a command failed, said so that the reader knows what to do.

use ringmq::{Error, ErrorCode, ErrorKind, SendError};

#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    #[error("{0}")]
    Client(#[from] Error),
    #[error("line {line}: {source}")]
    Send { line: u64, source: SendError },
    #[error("cannot {what}: {source}")]
    Local {
        what: String,
        source: std::io::Error,
    },
    #[error("{0}")]
    Failed(String),
    #[error("{0}")]
    Usage(String),
    /// Whoever read stdout has had enough. Not worth a message.
    #[error("stdout was closed")]
    ClosedPipe,
}

impl CliError {
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::ClosedPipe => 0,
            Self::Usage(_) => 2,
            _ => 1,
        }
    }

    /// What to do about it, where that is known.
    pub(crate) fn hint(&self) -> Option<String> {
        let error = match self {
            Self::Client(error) => error,
            Self::Send { source, .. } => source.error(),
            _ => return None,
        };
        match (error.code(), error.kind()) {
            (Some(ErrorCode::TopicNotFound), _) => {
                let topic = topic_in(error.object());
                Some(format!("create it with: ringmq topic create {topic} --queues 8"))
            }
            (Some(ErrorCode::LeaseHeld), _) => {
                Some("stop the group's consumers first, or use --force".to_string())
            }
            (Some(ErrorCode::GroupNotEmpty), _) => {
                Some("stop the group's consumers first".to_string())
            }
            _ if is_unreachable(error) => Some(
                "is the cluster running? Name servers are taken from --namesrv, RINGMQ_NAMESRV or NAMESRV_ADDR"
                    .to_string(),
            ),
            _ => None,
        }
    }
}

/// Whether it came down to a connection that could not be made or broke.
fn is_unreachable(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::Disconnected { .. } => true,
        ErrorKind::TimedOut { cause, .. } => cause.as_deref().is_some_and(is_unreachable),
        _ => false,
    }
}

/// Errors name a topic, or a queue of it.
fn topic_in(object: &str) -> &str {
    object.split_once('/').map_or(object, |(topic, _)| topic)
}
