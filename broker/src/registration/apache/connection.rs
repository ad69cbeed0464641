//! A connection to a name server in the remoting protocol: one request at a time, every step with a deadline.

use std::time::Duration;

use ringmq_wire::remoting::{
    Command, FrameError, FramePrefix, Header, HeaderError, Serialization, response_code,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Connecting, and each request with its answer.
const STEP: Duration = Duration::from_secs(3);
/// Answers to registrations are small: the pairs of ordered topics at most.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Why a name server was not told.
#[derive(Debug, thiserror::Error)]
pub(in super::super) enum RemotingError {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("no answer within {} s", STEP.as_secs())]
    Timeout,
    #[error("the answer cannot be read: {0}")]
    Frame(#[from] FrameError),
    #[error("the answer cannot be read: {0}")]
    Header(#[from] HeaderError),
    #[error("an answer of {0} bytes")]
    AnswerTooLarge(usize),
    #[error("the shard's topics take {0} bytes, more than one registration may have")]
    TooLarge(usize),
    #[error("{remark} ({code} {})", response_code::name(*code))]
    Refused { code: i32, remark: String },
}

/// See the module.
#[derive(Debug)]
pub(super) struct RemotingConnection {
    stream: TcpStream,
    opaque: i32,
}

impl RemotingConnection {
    pub(super) async fn open(server: &str) -> Result<Self, RemotingError> {
        let stream = timeout(STEP, TcpStream::connect(server))
            .await
            .map_err(|_| RemotingError::Timeout)??;
        stream.set_nodelay(true)?;
        Ok(Self { stream, opaque: 0 })
    }

    /// Sends a request and waits for its answer.
    pub(super) async fn request(
        &mut self,
        mut command: Command,
        body: &[u8],
    ) -> Result<(Command, Vec<u8>), RemotingError> {
        self.opaque = self.opaque.wrapping_add(1);
        command.opaque = self.opaque;
        let frame = command.encode(Serialization::Json, body);
        timeout(STEP, async {
            self.stream.write_all(&frame).await?;
            loop {
                let (answer, body) = self.read().await?;
                // What it asks of us, such as news that only brokers of its own understand, needs no answer.
                if answer.is_response() && answer.opaque == self.opaque {
                    return Ok((answer, body));
                }
            }
        })
        .await
        .map_err(|_| RemotingError::Timeout)?
    }

    async fn read(&mut self) -> Result<(Command, Vec<u8>), RemotingError> {
        let mut head = [0; 8];
        self.stream.read_exact(&mut head).await?;
        let Some(prefix) = FramePrefix::parse(&head)? else {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        };
        if prefix.frame_bytes() > ANSWER_BYTES_MAX {
            return Err(RemotingError::AnswerTooLarge(prefix.frame_bytes()));
        }
        let mut rest = vec![0; prefix.frame_bytes() - head.len()];
        self.stream.read_exact(&mut rest).await?;
        let body = rest.split_off(prefix.header_bytes());
        let header = Header::parse(prefix.serialization(), &rest)?;
        Ok((Command::from_header(&header), body))
    }
}
