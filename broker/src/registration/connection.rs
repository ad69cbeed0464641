//! A connection to a name server: requests in rounds, answered in order, every step with a deadline.

use std::time::Duration;

use ringmq_wire::codes::{ErrorCode, Kind};
use ringmq_wire::native::{self, Decoded, FrameError, flags, schema};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Connecting, sending a round of requests, and each answer.
const STEP: Duration = Duration::from_secs(3);
/// Answers of a name server to registrations are small.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Why there is no answer. The connection is of no use any more, unless it was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("no answer within {} s", STEP.as_secs())]
    Timeout,
    #[error("the connection was closed")]
    Closed,
    #[error("the answer cannot be read: {0}")]
    Frame(#[from] FrameError),
    #[error("the answer belongs to another request")]
    OutOfOrder,
    /// It will not talk to us.
    #[error("{0}")]
    Refused(String),
}

/// The name server understood a request and refused; the connection lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotTaken {
    pub code: Option<ErrorCode>,
    pub message: String,
}

impl ConnectionError {
    /// Whether the other side ended the connection without a word, as one that does not know the protocol does.
    pub(super) fn is_hang_up(&self) -> bool {
        match self {
            Self::Closed => true,
            Self::Io(error) => matches!(
                error.kind(),
                std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe
            ),
            _ => false,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    /// Requests to be sent together.
    begun: Vec<u8>,
    received: Vec<u8>,
    correlation_id: u64,
}

impl Connection {
    /// Connects and says hello.
    pub async fn open(server: &str, client_id: &str) -> Result<Self, ConnectionError> {
        let stream = timeout(STEP, TcpStream::connect(server))
            .await
            .map_err(|_| ConnectionError::Timeout)??;
        stream.set_nodelay(true)?;
        let mut connection = Self {
            stream,
            begun: Vec::new(),
            received: Vec::new(),
            correlation_id: 0,
        };
        connection.stream.write_all(&native::PREFACE).await?;
        let mut hello = schema::HelloRequestT::default();
        hello.version_min = native::VERSION;
        hello.version_max = native::VERSION;
        hello.client_id = client_id.to_owned();
        hello.software = Some(crate::SOFTWARE.to_owned());
        connection.begin(Kind::Hello, |builder| hello.pack(builder));
        let answer = connection.exchange(1).await?.pop();
        if let Some(Err(refused)) = answer {
            return Err(ConnectionError::Refused(refused.message));
        }
        Ok(connection)
    }

    /// Bytes of the requests that are begun and not sent.
    pub fn begun_bytes(&self) -> usize {
        self.begun.len()
    }

    /// Adds a request to the next [`Self::exchange`].
    pub fn begin<T>(
        &mut self,
        kind: Kind,
        pack: impl FnOnce(&mut flatbuffers::FlatBufferBuilder<'static>) -> flatbuffers::WIPOffset<T>,
    ) {
        self.correlation_id += 1;
        let frame = native::encode(kind, 0, self.correlation_id, 0, pack);
        self.begun.extend_from_slice(&frame);
    }

    /// Sends the `count` requests that are begun and waits for their answers, of which only refusals are of interest.
    pub async fn exchange(
        &mut self,
        count: usize,
    ) -> Result<Vec<Result<(), NotTaken>>, ConnectionError> {
        let frames = std::mem::take(&mut self.begun);
        in_time(async { Ok(self.stream.write_all(&frames).await?) }).await?;
        let first = self.correlation_id + 1 - count as u64;
        let mut answers = Vec::with_capacity(count);
        for correlation_id in first..=self.correlation_id {
            answers.push(in_time(self.answer(correlation_id)).await?);
        }
        Ok(answers)
    }

    async fn answer(
        &mut self,
        correlation_id: u64,
    ) -> Result<Result<(), NotTaken>, ConnectionError> {
        loop {
            match native::decode(&self.received)? {
                Decoded::Ready(prefix) if self.received.len() >= prefix.frame_bytes => {
                    let frame: Vec<u8> = self.received.drain(..prefix.frame_bytes).collect();
                    if prefix.correlation_id != correlation_id {
                        return Err(ConnectionError::OutOfOrder);
                    }
                    if prefix.flags & flags::ERROR == 0 {
                        return Ok(Ok(()));
                    }
                    let error =
                        native::header::<schema::ErrorResponse<'_>>(&frame[prefix.header_range()])?;
                    return Ok(Err(NotTaken {
                        code: ErrorCode::from_number(error.code()),
                        message: error.message().unwrap_or("refused").to_owned(),
                    }));
                }
                _ => {}
            }
            if self.received.len() > ANSWER_BYTES_MAX {
                return Err(ConnectionError::Frame(FrameError::TooLarge {
                    bytes: self.received.len(),
                }));
            }
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err(ConnectionError::Closed);
            }
        }
    }
}

/// One step, which may take [`STEP`].
async fn in_time<T>(
    step: impl Future<Output = Result<T, ConnectionError>>,
) -> Result<T, ConnectionError> {
    timeout(STEP, step)
        .await
        .map_err(|_| ConnectionError::Timeout)?
}
