//! Frames of the remoting protocol on one socket.

use crate::BenchError;
use crate::protocol::Refusal;
use crate::socket::{Framing, Socket};
use bytes::BytesMut;
use ringmq_wire::remoting::frame::FRAME_PREFIX_BYTES;
use ringmq_wire::remoting::{Command, FramePrefix, Header, Serialization, response_code};
use std::borrow::Cow;

#[derive(Debug)]
pub(crate) struct Frames;

/// A whole frame.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) command: Command,
    pub(crate) body: BytesMut,
}

/// Frames of which only the outcome is wanted: answers to sends, of which there are many.
#[derive(Debug)]
pub(crate) struct Outcomes;

/// What one of them says.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) is_response: bool,
    pub(crate) code: i32,
    pub(crate) opaque: i32,
    remark: Option<String>,
}

impl Framing for Frames {
    type Frame = Frame;

    fn cut(input: &mut BytesMut) -> Result<Option<Frame>, String> {
        let Some((prefix, mut frame)) = cut_whole(input)? else {
            return Ok(None);
        };
        let body = frame.split_off(FRAME_PREFIX_BYTES + prefix.header_bytes());
        let command = Command::from_header(&header(&prefix, &frame)?);
        Ok(Some(Frame { command, body }))
    }
}

impl Framing for Outcomes {
    type Frame = Outcome;

    fn cut(input: &mut BytesMut) -> Result<Option<Outcome>, String> {
        let Some((prefix, frame)) = cut_whole(input)? else {
            return Ok(None);
        };
        let header = header(&prefix, &frame)?;
        Ok(Some(Outcome {
            is_response: header.is_response(),
            code: header.code,
            opaque: header.opaque,
            remark: header.remark().map(Cow::into_owned),
        }))
    }
}

/// The first frame, if it is whole.
fn cut_whole(input: &mut BytesMut) -> Result<Option<(FramePrefix, BytesMut)>, String> {
    let Some(prefix) = FramePrefix::parse(input).map_err(|error| error.to_string())? else {
        return Ok(None);
    };
    if input.len() < prefix.frame_bytes() {
        input.reserve(prefix.frame_bytes() - input.len());
        return Ok(None);
    }
    let frame = input.split_to(prefix.frame_bytes());
    Ok(Some((prefix, frame)))
}

fn header<'a>(prefix: &FramePrefix, frame: &'a [u8]) -> Result<Header<'a>, String> {
    let header = &frame[prefix.header_range()];
    Header::parse(prefix.serialization(), header).map_err(|error| error.to_string())
}

impl Frame {
    /// The refusal, if this is one.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        refusal(self.command.code, self.command.remark.as_deref())
    }
}

impl Outcome {
    /// The refusal, if this is one.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        refusal(self.code, self.remark.as_deref())
    }
}

fn refusal(code: i32, remark: Option<&str>) -> Option<Refusal> {
    (code != response_code::SUCCESS).then(|| Refusal {
        code: response_code::name(code).to_string(),
        message: remark.unwrap_or_default().to_owned(),
        is_retryable: matches!(
            code,
            response_code::SYSTEM_BUSY | response_code::SERVICE_NOT_AVAILABLE
        ),
        retry_after_ms: 0,
    })
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
