//! Frames of the remoting protocol on one socket.

use crate::BenchError;
use crate::protocol::Refusal;
use crate::socket::{Framing, Socket};
use bytes::BytesMut;
use ringmq_wire::remoting::frame::FRAME_PREFIX_BYTES;
use ringmq_wire::remoting::{Command, FramePrefix, Header, Serialization, response_code};

#[derive(Debug)]
pub(crate) struct Frames;

/// A whole frame.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) command: Command,
    pub(crate) body: BytesMut,
}

impl Framing for Frames {
    type Frame = Frame;

    fn cut(input: &mut BytesMut) -> Result<Option<Frame>, String> {
        let Some(prefix) = FramePrefix::parse(input).map_err(|error| error.to_string())? else {
            return Ok(None);
        };
        if input.len() < prefix.frame_bytes() {
            input.reserve(prefix.frame_bytes() - input.len());
            return Ok(None);
        }
        let mut frame = input.split_to(prefix.frame_bytes());
        let body = frame.split_off(FRAME_PREFIX_BYTES + prefix.header_bytes());
        let header = Header::parse(prefix.serialization(), &frame[FRAME_PREFIX_BYTES..])
            .map_err(|error| error.to_string())?;
        Ok(Some(Frame {
            command: Command::from_header(&header),
            body,
        }))
    }
}

impl Frame {
    /// The refusal, if this is one.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        let code = self.command.code;
        (code != response_code::SUCCESS).then(|| Refusal {
            code: response_code::name(code).to_string(),
            message: self.command.remark.clone().unwrap_or_default(),
            is_retryable: matches!(
                code,
                response_code::SYSTEM_BUSY | response_code::SERVICE_NOT_AVAILABLE
            ),
            retry_after_ms: 0,
        })
    }
}

/// One request, and its answer whatever its code is.
pub(crate) async fn ask(
    socket: &mut Socket<Frames>,
    operation: &'static str,
    request: Command,
    body: &[u8],
) -> Result<Frame, BenchError> {
    let opaque = request.opaque;
    socket
        .write(&request.encode(Serialization::Json, body))
        .await?;
    loop {
        let frame = socket.answer(operation).await?;
        // A server may ask us things, too; we are nobody's client and answer nothing.
        if frame.command.is_response() && frame.command.opaque == opaque {
            return Ok(frame);
        }
    }
}

/// One request that must succeed.
pub(crate) async fn call(
    socket: &mut Socket<Frames>,
    operation: &'static str,
    request: Command,
) -> Result<Frame, BenchError> {
    let frame = ask(socket, operation, request, &[]).await?;
    match frame.refusal() {
        None => Ok(frame),
        Some(refusal) => Err(refusal.into_error(operation, &socket.address)),
    }
}
