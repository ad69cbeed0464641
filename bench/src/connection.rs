//! A lean native connection: frames in and out of one socket, nothing between.

use crate::BenchError;
use bytes::{Buf, BytesMut};
use ringmq_wire::codes::{ErrorCode, Kind};
use ringmq_wire::native::{
    Decoded, FramePrefix, PREFACE, VERSION, decode, encode, flags, header, schema,
};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::timeout;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
const READ_BYTES: usize = 256 << 10;

/// A connection after Hello.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) address: String,
    stream: TcpStream,
    input: BytesMut,
    last_id: u64,
}

/// Both directions at once.
#[derive(Debug)]
pub(crate) struct Halves<'a> {
    pub(crate) reader: FrameReader<'a>,
    pub(crate) writer: WriteHalf<'a>,
}

#[derive(Debug)]
pub(crate) struct FrameReader<'a> {
    address: &'a str,
    stream: ReadHalf<'a>,
    input: &'a mut BytesMut,
}

/// A whole frame.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) prefix: FramePrefix,
    bytes: BytesMut,
}

impl Frame {
    pub(crate) fn header(&self) -> &[u8] {
        &self.bytes[self.prefix.header_range()]
    }
    pub(crate) fn payload(&self) -> &[u8] {
        &self.bytes[self.prefix.payload_range()]
    }
    /// The refusal, if this is one: code, message, advice on when to retry.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        if self.prefix.flags & flags::ERROR == 0 {
            return None;
        }
        let error = header::<schema::ErrorResponse>(self.header());
        Some(match error {
            Ok(error) => Refusal {
                code: error.code(),
                message: error.message().unwrap_or_default().to_string(),
                retry_after_ms: error.retry_after_ms(),
            },
            Err(error) => Refusal {
                code: 0,
                message: error.to_string(),
                retry_after_ms: 0,
            },
        })
    }
}

#[derive(Debug)]
pub(crate) struct Refusal {
    code: u16,
    pub(crate) message: String,
    pub(crate) retry_after_ms: u32,
}

impl Refusal {
    pub(crate) fn name(&self) -> String {
        let known = ErrorCode::from_number(self.code);
        known.map_or_else(
            || format!("error {}", self.code),
            |code| code.name().to_string(),
        )
    }
    pub(crate) fn is_retryable(&self) -> bool {
        ErrorCode::from_number(self.code).is_some_and(ErrorCode::is_retryable)
    }
    pub(crate) fn into_error(self, operation: &'static str, address: &str) -> BenchError {
        BenchError::Refused {
            operation,
            address: address.to_string(),
            code: self.name(),
            message: self.message,
        }
    }
}

impl Connection {
    /// Connects and says Hello.
    pub(crate) async fn open(address: &str) -> Result<Self, BenchError> {
        let failed = |source| BenchError::Io {
            operation: "connect to",
            address: address.to_string(),
            source,
        };
        let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(address))
            .await
            .map_err(|_| failed(std::io::ErrorKind::TimedOut.into()))?
            .map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let mut connection = Self {
            address: address.to_string(),
            stream,
            input: BytesMut::new(),
            last_id: 0,
        };
        connection.write(&PREFACE).await?;
        let hello = schema::HelloRequestT {
            version_min: VERSION,
            version_max: VERSION,
            client_id: format!("ringmq-bench@{}", std::process::id()),
            software: Some(concat!("ringmq-bench/", env!("CARGO_PKG_VERSION")).to_string()),
            ..Default::default()
        };
        connection
            .call(Kind::Hello, |id| {
                encode(Kind::Hello, 0, id, 0, |b| hello.pack(b))
            })
            .await?;
        Ok(connection)
    }

    /// One request, one answer.
    pub(crate) async fn call(
        &mut self,
        kind: Kind,
        frame: impl FnOnce(u64) -> Vec<u8>,
    ) -> Result<Frame, BenchError> {
        self.last_id += 1;
        let id = self.last_id;
        self.write(&frame(id)).await?;
        let answer = timeout(CALL_TIMEOUT, self.halves().reader.next()).await;
        let late = std::io::ErrorKind::TimedOut;
        let answer = answer.unwrap_or_else(|_| Err(self.io(kind.name(), late.into())))?;
        if let Some(refusal) = answer.refusal() {
            return Err(refusal.into_error(kind.name(), &self.address));
        }
        if answer.prefix.correlation_id != id {
            return Err(self.protocol(kind.name(), "an answer to another request"));
        }
        Ok(answer)
    }

    /// Splits for pipelining.
    pub(crate) fn halves(&mut self) -> Halves<'_> {
        let (stream, writer) = self.stream.split();
        Halves {
            reader: FrameReader {
                address: &self.address,
                stream,
                input: &mut self.input,
            },
            writer,
        }
    }

    pub(crate) fn protocol(&self, operation: &'static str, what: impl ToString) -> BenchError {
        BenchError::Protocol {
            operation,
            address: self.address.clone(),
            what: what.to_string(),
        }
    }

    fn io(&self, operation: &'static str, source: std::io::Error) -> BenchError {
        BenchError::Io {
            operation,
            address: self.address.clone(),
            source,
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), BenchError> {
        let written = self.stream.write_all(bytes).await;
        written.map_err(|source| self.io("write to", source))
    }
}

impl FrameReader<'_> {
    /// The next frame. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Frame, BenchError> {
        loop {
            if let Some(frame) = self.buffered()? {
                return Ok(frame);
            }
            self.fill().await?;
        }
    }

    /// A frame that has already arrived.
    pub(crate) fn buffered(&mut self) -> Result<Option<Frame>, BenchError> {
        let protocol = |what: String| BenchError::Protocol {
            operation: "read from",
            address: self.address.to_string(),
            what,
        };
        match decode(self.input).map_err(|error| protocol(error.to_string()))? {
            Decoded::Ready(prefix) if self.input.len() >= prefix.frame_bytes => {
                let bytes = self.input.split_to(prefix.frame_bytes);
                Ok(Some(Frame { prefix, bytes }))
            }
            Decoded::Ready(prefix) => {
                self.input.reserve(prefix.frame_bytes - self.input.len());
                Ok(None)
            }
            Decoded::Incomplete(_) => {
                self.input.reserve(READ_BYTES);
                Ok(None)
            }
        }
    }

    async fn fill(&mut self) -> Result<(), BenchError> {
        let failed = |source| BenchError::Io {
            operation: "read from",
            address: self.address.to_string(),
            source,
        };
        match self.stream.read_buf(self.input).await {
            Ok(0) => Err(failed(std::io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }
}

/// Writes some of `output`.
pub(crate) async fn write_some(
    writer: &mut WriteHalf<'_>,
    output: &mut BytesMut,
) -> std::io::Result<()> {
    let written = writer.write(output).await?;
    output.advance(written);
    Ok(())
}
