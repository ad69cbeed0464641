//! A connection to a name server: one request at a time, every step with a deadline.

use std::time::Duration;

use ringmq_wire::codes::{ErrorCode, Kind};
use ringmq_wire::native::{self, Decoded, FrameError, flags, schema};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Connecting, and each request with its answer.
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
    /// The name server understood and refused; the connection lives.
    #[error("{message}")]
    Refused {
        code: Option<ErrorCode>,
        message: String,
    },
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
            received: Vec::new(),
            correlation_id: 0,
        };
        connection.stream.write_all(&native::PREFACE).await?;
        let mut hello = schema::HelloRequestT::default();
        hello.version_min = native::VERSION;
        hello.version_max = native::VERSION;
        hello.client_id = client_id.to_owned();
        hello.software = Some(crate::SOFTWARE.to_owned());
        connection
            .request(Kind::Hello, |builder| hello.pack(builder))
            .await?;
        Ok(connection)
    }

    /// Sends a request and waits for its answer, of which only the refusal is of interest.
    pub async fn request<T>(
        &mut self,
        kind: Kind,
        pack: impl FnOnce(&mut flatbuffers::FlatBufferBuilder<'static>) -> flatbuffers::WIPOffset<T>,
    ) -> Result<(), ConnectionError> {
        self.correlation_id += 1;
        let frame = native::encode(kind, 0, self.correlation_id, 0, pack);
        timeout(STEP, async {
            self.stream.write_all(&frame).await?;
            self.answer().await
        })
        .await
        .map_err(|_| ConnectionError::Timeout)?
    }

    async fn answer(&mut self) -> Result<(), ConnectionError> {
        loop {
            match native::decode(&self.received)? {
                Decoded::Ready(prefix) if self.received.len() >= prefix.frame_bytes => {
                    let frame: Vec<u8> = self.received.drain(..prefix.frame_bytes).collect();
                    if prefix.correlation_id != self.correlation_id {
                        return Err(ConnectionError::OutOfOrder);
                    }
                    if prefix.flags & flags::ERROR == 0 {
                        return Ok(());
                    }
                    let error =
                        native::header::<schema::ErrorResponse<'_>>(&frame[prefix.header_range()])?;
                    return Err(ConnectionError::Refused {
                        code: ErrorCode::from_number(error.code()),
                        message: error.message().unwrap_or("refused").to_owned(),
                    });
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
