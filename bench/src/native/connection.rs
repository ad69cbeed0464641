//! A lean native connection: frames in and out of one socket, nothing between.

use crate::BenchError;
use crate::protocol::Refusal;
use crate::socket::{Framing, Socket};
use bytes::BytesMut;
use ringmq_wire::codes::{ErrorCode, Kind};
use ringmq_wire::native::{
    Decoded, FramePrefix, PREFACE, VERSION, decode, encode, flags, header, schema,
};

/// A connection after Hello, for requests that are answered one after the other.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) socket: Socket<Frames>,
    last_id: u64,
}

#[derive(Debug)]
pub(crate) struct Frames;

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
            Ok(error) => refusal(
                error.code(),
                error.message().unwrap_or_default(),
                error.retry_after_ms(),
            ),
            Err(error) => refusal(0, &error.to_string(), 0),
        })
    }
}

fn refusal(number: u16, message: &str, retry_after_ms: u32) -> Refusal {
    let code = ErrorCode::from_number(number);
    Refusal {
        code: code.map_or_else(|| format!("error {number}"), |code| code.name().to_string()),
        message: message.to_string(),
        is_retryable: code.is_some_and(ErrorCode::is_retryable),
        retry_after_ms,
    }
}

impl Framing for Frames {
    type Frame = Frame;

    fn cut(input: &mut BytesMut) -> Result<Option<Frame>, String> {
        match decode(input).map_err(|error| error.to_string())? {
            Decoded::Ready(prefix) if input.len() >= prefix.frame_bytes => {
                let bytes = input.split_to(prefix.frame_bytes);
                Ok(Some(Frame { prefix, bytes }))
            }
            Decoded::Ready(prefix) => {
                input.reserve(prefix.frame_bytes - input.len());
                Ok(None)
            }
            Decoded::Incomplete(_) => Ok(None),
        }
    }
}

impl Connection {
    /// Connects and says Hello.
    pub(crate) async fn open(address: &str) -> Result<Self, BenchError> {
        let mut connection = Self {
            socket: Socket::connect(address).await?,
            last_id: 0,
        };
        connection.socket.write(&PREFACE).await?;
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
        let id = self.ask(frame).await?;
        self.answer(kind, id).await
    }

    /// Sends a request and says under which id it will be answered.
    pub(crate) async fn ask(
        &mut self,
        frame: impl FnOnce(u64) -> Vec<u8>,
    ) -> Result<u64, BenchError> {
        self.last_id += 1;
        self.socket.write(&frame(self.last_id)).await?;
        Ok(self.last_id)
    }

    /// The next answer, which is that to request `id`.
    pub(crate) async fn answer(&mut self, kind: Kind, id: u64) -> Result<Frame, BenchError> {
        let answer = self.socket.answer(kind.name()).await?;
        if let Some(refusal) = answer.refusal() {
            return Err(refusal.into_error(kind.name(), &self.socket.address));
        }
        if answer.prefix.correlation_id != id {
            return Err(self
                .socket
                .protocol(kind.name(), "an answer to another request"));
        }
        Ok(answer)
    }
}
