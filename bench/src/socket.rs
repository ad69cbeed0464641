//! A socket and the frames that come out of it, for either protocol.

use crate::BenchError;
use bytes::BytesMut;
use std::marker::PhantomData;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::timeout;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
const READ_BYTES: usize = 256 << 10;

/// Cuts frames out of bytes.
pub(crate) trait Framing: Send + Sync + 'static {
    type Frame: Send + Sync;
    /// Takes the first frame out of `input`, or says that it is not whole yet. Room for the rest of it is reserved.
    fn cut(input: &mut BytesMut) -> Result<Option<Self::Frame>, String>;
}

/// A connected socket.
#[derive(Debug)]
pub(crate) struct Socket<F> {
    pub(crate) address: String,
    stream: TcpStream,
    input: BytesMut,
    framing: PhantomData<F>,
}

/// Both directions at once.
#[derive(Debug)]
pub(crate) struct Halves<'a, F> {
    pub(crate) reader: FrameReader<'a, F>,
    pub(crate) writer: WriteHalf<'a>,
}

#[derive(Debug)]
pub(crate) struct FrameReader<'a, F> {
    address: &'a str,
    stream: ReadHalf<'a>,
    input: &'a mut BytesMut,
    framing: PhantomData<F>,
}

impl<F: Framing> Socket<F> {
    pub(crate) async fn connect(address: &str) -> Result<Self, BenchError> {
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
        Ok(Self {
            address: address.to_string(),
            stream,
            input: BytesMut::new(),
            framing: PhantomData,
        })
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), BenchError> {
        let written = self.stream.write_all(bytes).await;
        written.map_err(|source| self.io("write to", source))
    }

    /// The next frame, or an error if it does not come in time.
    pub(crate) async fn answer(&mut self, operation: &'static str) -> Result<F::Frame, BenchError> {
        let answer = timeout(CALL_TIMEOUT, self.halves().reader.next()).await;
        let late = std::io::ErrorKind::TimedOut;
        answer.unwrap_or_else(|_| Err(self.io(operation, late.into())))
    }

    /// Splits for pipelining.
    pub(crate) fn halves(&mut self) -> Halves<'_, F> {
        let (stream, writer) = self.stream.split();
        Halves {
            reader: FrameReader {
                address: &self.address,
                stream,
                input: &mut self.input,
                framing: PhantomData,
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
}

impl<F: Framing> FrameReader<'_, F> {
    /// The next frame. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<F::Frame, BenchError> {
        loop {
            if let Some(frame) = self.buffered()? {
                return Ok(frame);
            }
            self.fill().await?;
        }
    }

    /// A frame that has already arrived.
    pub(crate) fn buffered(&mut self) -> Result<Option<F::Frame>, BenchError> {
        F::cut(self.input).map_err(|what| BenchError::Protocol {
            operation: "read from",
            address: self.address.to_string(),
            what,
        })
    }

    async fn fill(&mut self) -> Result<(), BenchError> {
        let failed = |source| BenchError::Io {
            operation: "read from",
            address: self.address.to_string(),
            source,
        };
        self.input.reserve(READ_BYTES);
        match self.stream.read_buf(self.input).await {
            Ok(0) => Err(failed(std::io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }
}
